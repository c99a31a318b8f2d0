"""Networks that enlarge pictures, trained by the one loop: they resume to the bit, refuse what does not fit."""

import numpy as np
import pytest
import torch
from addax.models.data.augment import Flip, Patch, QuarterTurn
from addax.models.data.bicubic import shrink
from addax.models.data.pairs import PicturePair, PicturePairs
from addax.models.data.quality import psnr
from addax.models.data.tiles import TileExamples, WholeExamples
from addax.models.nets.edsr import EDSR
from addax.models.nets.zoo import NETWORKS
from addax.models.training.distil import Pkkd
from addax.models.training.loop import measured, train_by
from addax.models.training.objective import CrossEntropy, L1Loss, peak_ratio
from addax.models.training.tasks import Classifying, Enlarging, task_of
from image_files import pixels, refused
from training_runs import StoppedError, same, stop_after, weights

TASK = Enlarging(scale=2, channels=1)
RECIPE = TASK.recipe.changed(epochs=4, batch=4, augment=(Patch(size=6), Flip(), QuarterTurn()))


def pictures():
    """Two, of unlike sizes, of few grey squares."""
    high = [pixels(1, h, w, 1, seed=h)[0].repeat(8, 0).repeat(8, 1).transpose(2, 0, 1) for h, w in ((4, 6), (5, 4))]
    made = tuple(PicturePair(name=f"p{k}", low=shrink(image, 2), high=image) for k, image in enumerate(high))
    return PicturePairs(pairs=made, scale=2, said="squares")


def run(keeping=None, recipe=RECIPE, share=0.5, **how):
    torch.manual_seed(0)
    net = EDSR(shape=(1, 12, 12), blocks=1, features=4, share=share)
    rows = train_by(
        recipe, net, TileExamples(pairs=pictures(), patch=6), metric=TASK.metric, keeping=keeping, **how
    )  # fmt: skip
    return net, rows


def test_a_run_that_stopped_goes_on_to_the_same_weights(tmp_path):
    """Patches, mirrors, turns and the noise of moves are drawn again as they would have been."""
    from addax.models.training.state import Keeping

    def keeping(name):
        return Keeping(path=tmp_path / name, told={"recipe": RECIPE.values()})

    whole, rows = run(keeping("a"))
    with pytest.raises(StoppedError):
        run(keeping("b"), watch=stop_after(2))
    torch.rand(3)
    again, more = run(keeping("b"), resume=True)

    assert same(weights(whole), weights(again))
    assert [(row.loss, row.metric) for row in rows] == [(row.loss, row.metric) for row in more]


def test_the_figure_is_the_mean_over_whole_pictures():
    """Of bytes, without a border of two pixels."""
    net, found = run(recipe=RECIPE.changed(epochs=1))[0].eval(), WholeExamples(pairs=pictures())

    figure = measured(net, found, peak_ratio(2).total, batch=1)

    by_hand = []
    for pair in found.pairs.pairs:
        with torch.no_grad():
            made = net(torch.from_numpy(pair.low / np.float32(255))[None])
        made = (made * 255).round().clamp(0, 255)
        by_hand.append(float(psnr(made, torch.from_numpy(pair.high)[None], 2)))
    assert figure == pytest.approx(np.mean(by_hand))


def test_what_a_network_is_trained_for_follows_from_the_zoo():
    assert task_of(NETWORKS["ghostsr-small-x3"]) == Enlarging(scale=3, channels=3)
    assert task_of(NETWORKS["lenet5"]) == Classifying(shape=(1, 16, 16))
    assert (TASK.metric.name, TASK.metric.form.format(31.234)) == ("psnr", "31.23 dB")
    assert (TASK.recipe.loss, TASK.recipe.augment[0]) == (L1Loss(), Patch(size=24))


def test_losses_and_targets_that_do_not_fit_are_refused():
    with refused("cross entropy compares scores with classes; targets are of shape (4, 1, 12, 12)"):
        run(recipe=RECIPE.changed(loss=CrossEntropy()))
    with refused("the network gives (1, 12, 12) for each image, and what it should give is (1, 18, 18)"):
        L1Loss().check(torch.zeros(2, 1, 12, 12), torch.zeros(2, 1, 18, 18))
    with refused("distillation compares class scores"):
        TASK.material("photographs", RECIPE.changed(distil=Pkkd()), workers=0)
