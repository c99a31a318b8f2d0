"""Frequency-aware networks and clustered GhostSRs by the one loop: their own losses arrive, runs resume to the bit."""

import numpy as np
import pytest
import torch
from addax.models.data.augment import Flip, Patch
from addax.models.data.bicubic import shrink
from addax.models.data.pairs import PicturePair, PicturePairs
from addax.models.data.tiles import TileExamples
from addax.models.files.checkpoint import Recipe, save_checkpoint
from addax.models.layers.bands import band_masks
from addax.models.layers.ghost import GhostConv2d
from addax.models.layers.routing import Routing, relative_costs
from addax.models.nets import zoo
from addax.models.nets.clustering import cluster_from_dense
from addax.models.nets.edsr import EDSR
from addax.models.nets.fadn import FADN, routed
from addax.models.training.loop import train_by
from addax.models.training.outset import Clustered
from addax.models.training.run import Files, train_network
from addax.models.training.schedule import AdamW
from addax.models.training.state import Keeping
from addax.models.training.tasks import Enlarging
from image_files import refused
from training_runs import StoppedError, same, stop_after, weights

TASK = Enlarging(scale=2, channels=1)
RECIPE = TASK.recipe.changed(epochs=6, batch=4, augment=(Patch(size=12), Flip()))


def pictures():
    """Two: the left half of each is smooth, the right half noise."""
    made = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        ramp = np.broadcast_to(np.linspace(60, 90, 96), (96, 96)).copy()
        ramp[:, 48:] = random.integers(0, 256, (48, 24)).repeat(2, 0).repeat(2, 1)
        high = ramp.astype(np.uint8)[None]
        made.append(PicturePair(name=f"p{seed}", low=shrink(high, 2), high=high))
    return PicturePairs(pairs=tuple(made), scale=2, said="halves")


def run(keeping=None, recipe=RECIPE, **how):
    torch.manual_seed(0)
    net = FADN(shape=(1, 12, 12), blocks=2, features=8)
    rows = train_by(
        recipe, net, TileExamples(pairs=pictures(), patch=12), metric=TASK.metric, keeping=keeping, **how
    )  # fmt: skip
    return net, rows


def low():
    return torch.from_numpy(pictures().pairs[0].low / np.float32(255))


@pytest.mark.slow
def test_masks_guide_the_predictor():
    """Smooth pixels come to be low and noise high where the guide is all that counts; chance is a third."""
    fast = RECIPE.changed(optimiser=AdamW(learning_rate=0.01, weight_decay=0.0), epochs=12)
    net, _ = run(recipe=fast.changed(routing=Routing(guide=10.0, sparsity=0.0)))
    free, _ = run(recipe=fast.changed(routing=Routing(guide=0.0, sparsity=0.0)))

    image = low()
    wanted = band_masks(image[None], net.bands)[0]

    def agreement(module):
        x = module.head(module.sub_mean(image[None]))
        return float((module.body[0].router.choice(x)[0, 0] == wanted).float().mean())

    assert {int(k) for k in wanted.unique()} >= {0, 2}
    assert agreement(net) > 0.8 and agreement(net) > agreement(free) + 0.2


@pytest.mark.slow
def test_the_price_of_costs_makes_images_cheaper():
    """A network that pays for what it computes ends with fewer terms than one that does not."""
    fast = RECIPE.changed(optimiser=AdamW(learning_rate=0.01, weight_decay=0.0), epochs=12)
    free, paid = (
        run(recipe=fast.changed(routing=Routing(guide=0.0, sparsity=price, budget=0.1)))[0] for price in (0.0, 10.0)
    )

    def share(net):
        pixels = torch.tensor(routed(net, low()).pixels).float()
        return float((pixels @ torch.tensor(relative_costs(8))).sum() / pixels.sum())

    assert share(paid) < 0.6 * share(free)


def test_the_losses_of_layers_are_part_of_the_loss_that_is_told():
    (plain, first), (guided, second) = (
        run(recipe=RECIPE.changed(epochs=1, routing=Routing(guide=guide, sparsity=0.0))) for guide in (0.0, 1.0)
    )

    assert second[0].loss - first[0].loss == pytest.approx(np.log(3), abs=0.6)
    assert not same(weights(plain), weights(guided))


def test_a_run_that_stopped_goes_on_to_the_same_weights(tmp_path):
    """What is drawn for each pixel, and the guide that fades, go on where they were."""

    def keeping(name):
        return Keeping(path=tmp_path / name, told={"recipe": RECIPE.values()})

    few = RECIPE.changed(epochs=3, routing=Routing(guide=1.0))
    whole, rows = run(keeping("a"), few)
    with pytest.raises(StoppedError):
        run(keeping("b"), few, watch=stop_after(2))
    torch.rand(3)
    again, more = run(keeping("b"), few, resume=True)

    assert same(weights(whole), weights(again)) and [row.loss for row in rows] == [row.loss for row in more]


def test_routing_is_refused_where_nothing_is_routed():
    with refused("routing is for frequency-aware networks; this one has no routers"):
        train_by(
            RECIPE.changed(routing=Routing()), EDSR(shape=(1, 12, 12), blocks=1, features=4),
            TileExamples(pairs=pictures(), patch=12), metric=TASK.metric,
        )  # fmt: skip


def dense(path, name="edsr-small-x2"):
    torch.manual_seed(1)
    net = zoo.build(name, kernel="mult", shape=(3, 12, 12))
    made = Recipe(network=name, kernel="mult", shape=(3, 12, 12), classes=None, data="d", seed=0, epochs=1)
    save_checkpoint(path, net, made)
    return net


def test_a_ghost_begins_with_clusters_of_a_checkpoint(tmp_path):
    """The same as by hand, by the seed of the recipe; the moves are fresh."""
    given = dense(tmp_path / "d.safetensors")
    start = Clustered(checkpoint=str(tmp_path / "d.safetensors"))

    def begun(seed):
        torch.manual_seed(2)
        net = zoo.build("ghostsr-small-x2", kernel="mult", shape=(3, 12, 12))
        return net, start.begin(net, seed=seed)

    torch.manual_seed(2)
    by_hand = zoo.build("ghostsr-small-x2", kernel="mult", shape=(3, 12, 12))
    cluster_from_dense(by_hand, given, seed=5)
    assert same(weights(begun(5)[0]), weights(by_hand)) and not same(weights(begun(6)[0]), weights(by_hand))
    assert sum(isinstance(layer, GhostConv2d) for layer in by_hand.modules()) == 16


@pytest.mark.parametrize(
    ("network", "given", "message"),
    [
        ("ghostsr-small-x2", "edsr-small-x3", "d.safetensors holds edsr-small-x3 (mult): 'tail.0.0.weight' is (288,"),
        ("edsr-small-x2", "edsr-small-x2", "only a network with ghost convolutions starts from clusters of filters"),
        ("ghostsr-small-x2", None, "d.safetensors; expected an addax checkpoint"),
    ],
)  # fmt: skip
def test_a_start_that_does_not_fit_is_one_line(tmp_path, network, given, message):
    if given is not None:
        dense(tmp_path / "d.safetensors", given)
    recipe = RECIPE.changed(start=Clustered(checkpoint=str(tmp_path / "d.safetensors")))

    with refused(message):
        train_network(
            network, kernel="mult", source="photographs", recipe=recipe, files=Files(out=tmp_path / "o.safetensors")
        )
