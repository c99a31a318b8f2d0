"""EDSR and GhostSR: the derived numbers, what they compute, that they become Programs, what they refuse."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.nets import zoo
from addax.models.nets.edsr import EDSR
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.program import PixelShuffle, SpatialShift

COUNTS = {
    "edsr-x2": (40.730, 9384.7), "edsr-x3": (43.680, 4476.5), "edsr-x4": (43.090, 2894.5),
    "ghostsr-x2": (21.848, 5036.1), "ghostsr-x3": (24.798, 2543.8), "ghostsr-x4": (24.208, 1807.4),
    "edsr-small-x2": (0.196, 45.6), "ghostsr-small-x2": (0.122, 28.6),
    "edsr-baseline-x2": (1.370, 316.2), "edsr-baseline-x3": (1.554, 160.3), "edsr-baseline-x4": (1.518, 114.2),
}  # fmt: skip
"""Millions of parameters, billions of terms for a result of 1280 x 720."""


@pytest.mark.parametrize("name", COUNTS)
def test_the_derived_numbers(name):
    """A third of 1280 is no whole number: there the terms of a pixel count, for a third of it."""
    parameters, macs = COUNTS[name]
    found, shape, scale = zoo.counts_of(name), zoo.NETWORKS[name].shape, int(name[-1])
    pixels = shape[1] * shape[2]

    assert found.parameters / 1e6 == pytest.approx(parameters, abs=5e-4)
    assert found.macs / pixels * (1280 * 720 / scale**2) / 1e9 == pytest.approx(macs, abs=0.06)
    assert shape == (3, 720 // scale, 1280 // scale)


def test_half_of_the_body_of_ghostsr_moves():
    """Of 64 convolutions in blocks; those around the blocks are ordinary."""
    with torch.device("meta"):
        ghost, dense = (zoo.build(name, kernel="mult") for name in ("ghostsr-x2", "edsr-x2"))

    moves = [path for path, m in ghost.named_modules() if path.endswith(".shift")]
    assert len(moves) == 64 and all(path.startswith("body.") for path in moves)
    assert {"head.0.weight", "body.0.body.2.bias", "body.32.weight", "tail.0.0.weight", "tail.1.bias"} <= set(
        dense.state_dict()
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"share": 0.5, "factor": 0.1}], ids=["dense", "ghost"])
def test_an_image_comes_out_larger(scale, options):
    """Of any size; an untrained network of zeros gives the mean of the pictures."""
    net = EDSR(shape=(3, 5, 7), scale=scale, blocks=2, features=4, **options).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        image = net(torch.rand(2, 3, 5, 7))

    torch.testing.assert_close(image, torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1).expand(image.shape))
    assert image.shape == (2, 3, 5 * scale, 7 * scale)


def test_a_block_adds_a_share_of_what_it_computes():
    torch.manual_seed(0)
    block = EDSR(shape=(3, 4, 4), blocks=1, features=4, factor=0.1).body[0]
    x = torch.randn(1, 4, 4, 4)

    torch.testing.assert_close(block(x), x + 0.1 * block.body(x))


@pytest.mark.parametrize("share", [None, 0.5])
def test_it_becomes_a_program_near_it(share):
    """Protects biases, shares of sums, moves and shuffles on their way to integers: 12 bits, 1 % of the range."""
    torch.manual_seed(3)
    net = EDSR(shape=(1, 6, 8), blocks=2, features=4, factor=0.5, share=share).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 8), np.uint8)

    program = lower(net, pixels, bits=12)

    kinds = [type(op) for op in program.ops]
    assert kinds.count(SpatialShift) == (4 if share else 0) and kinds.count(PixelShuffle) == 1
    with torch.no_grad():
        exact = net(torch.from_numpy(pixels / 255.0).float()).numpy()
    found = golden.run(program, pixels).output * program.steps[program.output]
    assert np.quantile(np.abs(found - exact), 0.99) < 1e-2 * np.abs(exact).max()


def test_adders_stand_where_they_are_asked_for():
    net = EDSR(kernel="adder,body.1.*=mult", shape=(3, 4, 4), blocks=2, features=4)

    adders = {path for path, m in net.named_modules() if isinstance(m, AdderConv2d)}
    assert adders == {"body.0.body.0.0", "body.0.body.2.0", "body.2.0", "tail.0.0.0"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "xnor"}, "layer 'body.0.body.0' of edsr: the xnor kernel has no bias"),
        ({"kernel": "mult", "classes": 10}, "edsr makes an image, which has no classes"),
        ({"kernel": "mult", "scale": 5}, "edsr enlarges by 2, 3, 4, not by 5"),
        ({"kernel": "mult", "blocks": 0}, "edsr needs a block and a feature at least, not 0 and 64"),
    ],
)
def test_what_it_cannot_be_is_named(options, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        zoo.build("edsr-baseline-x2", **options)
