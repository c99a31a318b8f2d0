"""The contrastive loss of IPT: by loops over patches, on what the transformer makes, in the loop that trains."""

import math

import numpy as np
import pytest
import torch
from addax.models.data.augment import Patch
from addax.models.data.bicubic import shrink
from addax.models.data.pairs import PicturePair, PicturePairs
from addax.models.data.tiles import TileExamples
from addax.models.layers.contrast import Contrast, contrast_loss, patch_contrast, set_contrast
from addax.models.nets.transformers.ipt import IPT
from addax.models.nets.transformers.patches import patches_of
from addax.models.training.loop import train_by
from addax.models.training.schedule import AdamW
from addax.models.training.tasks import Enlarging
from hypothesis import given
from hypothesis import strategies as st
from image_files import refused
from torch import nn

TASK = Enlarging(scale=2, channels=1)
RECIPE = TASK.recipe.changed(
    epochs=2, batch=4, augment=(Patch(size=6),), optimiser=AdamW(learning_rate=1e-3, weight_decay=0.0)
)


def naive(features, temperature):
    """Patch by patch, in floats of Python."""
    patches = [(image, [float(v) for v in patch]) for image, own in enumerate(features) for patch in own]

    def counted(one, other):
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        return math.exp(dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other)) / temperature)

    total = 0.0
    for k, (image, anchor) in enumerate(patches):
        counts = {n: counted(anchor, other) for n, (_, other) in enumerate(patches) if n != k}
        mates = [n for n in counts if patches[n][0] == image]
        total -= sum(math.log(counts[n] / sum(counts.values())) for n in mates) / len(mates)
    return total / len(patches)


def tiny():
    torch.manual_seed(0)
    return IPT(tasks=("x2",), shape=(1, 6, 6), features=2, heads=2, blocks=1, pixels=6, overlap=0)


@given(
    st.integers(1, 4), st.integers(2, 5), st.integers(1, 6), st.sampled_from((0.07, 0.5, 2.0)), st.integers(0, 1 << 20)
)
def test_the_loss_is_that_of_the_loops(images, patches, width, temperature, seed):
    features = torch.randn(images, patches, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    assert float(patch_contrast(features, temperature)) == pytest.approx(naive(features, temperature), rel=1e-4)


def test_equal_patches_are_as_likely_as_chance_and_parted_images_cost_nothing():
    """Of B images with P equal patches each: log(BP - 1) where all images are equal, and log(P - 1) where they point
    away from each other."""
    equal = patch_contrast(torch.ones(3, 4, 5), 0.07)
    parted = patch_contrast(torch.eye(3)[:, None].expand(3, 4, 3) * 7.0, 0.07)

    assert float(equal) == pytest.approx(math.log(11))
    assert float(parted) == pytest.approx(math.log(3), abs=1e-4)


def test_its_gradient_is_that_of_small_changes():
    """Finite everywhere: a patch's likeness to itself is left out, not subtracted."""
    features = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    patch_contrast(features, 0.5).backward()

    step = 1e-3
    for at in ((0, 0, 0), (1, 2, 3)):
        values = []
        for sign in (1, -1):
            moved = features.detach().clone()
            moved[at] += sign * step
            values.append(naive(moved, 0.5))
        assert float(features.grad[at]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-5)


def test_it_is_of_what_the_transformer_makes():
    """Not of what the head makes; once after each training pass, and never in evaluation."""
    net, x = tiny(), torch.rand(3, 1, 6, 6)
    assert contrast_loss(net) is None
    set_contrast(net, Contrast(weight=0.3, temperature=0.2))
    kept = []
    net.body.register_forward_hook(lambda module, given, result: kept.append(result))
    net.train()(x)
    loss = contrast_loss(net)

    assert float(loss.detach()) == pytest.approx(0.3 * naive(patches_of(kept[0], 3).flatten(2).detach(), 0.2), rel=1e-4)
    assert contrast_loss(net) is None
    net.eval()(x)
    assert contrast_loss(net) is None
    assert not [name for name in net.state_dict() if "contrast" in name]


def pictures():
    """Two of grey squares."""
    made = []
    for seed in range(2):
        high = np.random.default_rng(seed).integers(0, 256, (1, 8, 8)).repeat(6, 1).repeat(6, 2).astype(np.uint8)
        made.append(PicturePair(name=f"p{seed}", low=shrink(high, 2), high=high))
    return PicturePairs(pairs=tuple(made), scale=2, said="squares")


def trained(contrast):
    net = tiny()
    rows = train_by(
        RECIPE.changed(contrast=contrast), net, TileExamples(pairs=pictures(), patch=6), metric=TASK.metric
    )  # fmt: skip
    return net, rows


def test_training_makes_patches_of_an_image_alike():
    """The loss of an epoch has it in it, and a run that learns by it ends with less of it than one that does not."""
    free, plain = trained(None)
    taught, rows = trained(Contrast(weight=1.0, temperature=0.5))

    assert rows[0].loss > plain[0].loss + 0.5
    costs = []
    for net in (free, taught):
        set_contrast(net, Contrast(weight=1.0, temperature=0.5))
        low = torch.from_numpy(np.stack([pair.low[:, :6, :6] for pair in pictures().pairs]) / np.float32(255))
        net.train()(low)
        costs.append(float(contrast_loss(net).detach()))
    assert costs[1] < costs[0] - 0.01


def test_mistakes_are_one_line():
    with refused("contrast is for image processing transformers; this network is none"):
        set_contrast(nn.Linear(2, 2), Contrast())
    with refused("contrast compares patches of an image, and here each image is a single one"):
        patch_contrast(torch.ones(4, 1, 3), 0.07)
    with refused("temperature must be a number in 0.01..100, not 0"):
        Contrast(temperature=0)
