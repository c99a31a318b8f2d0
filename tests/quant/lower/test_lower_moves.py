"""Lowering of shifted channels, pixel shuffles and upsampling, and of networks that end in an image."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.data.sets import Images
from addax.models.layers.binary import BinaryConv2d, Sign
from addax.models.layers.spatial_shift import SpatialShift2d
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.program import ArgMax, PixelShuffle, SpatialShift, Upsample
from addax.quant.quantize import evaluate
from torch import nn
from torch.nn import functional as F
from torchnets import Net, as_floats, pictures, run, settle

SHAPE = (2, 6, 5)
OFFSETS = [(0, 1), (-2, 0), (3, -3), (0, 0), (0, 1), (1, 1), (0, -1), (-1, 2)]


@pytest.fixture(scope="module")
def images():
    return pictures(60, SHAPE)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def layers(*moves, channels=8):
    """A convolution, its batch norm and ReLU, and what moves them."""
    return nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), *moves)


MOVES = {
    "shift": (lambda: layers(SpatialShift2d(OFFSETS)), SpatialShift),
    "shuffle": (lambda: layers(nn.PixelShuffle(2)), PixelShuffle),
    "upsample": (lambda: layers(nn.Upsample(scale_factor=2)), Upsample),
    "upsample-pair": (lambda: layers(nn.Upsample(scale_factor=(3, 3))), Upsample),
    "upsample-exact": (lambda: layers(nn.Upsample(scale_factor=3, mode="nearest-exact")), Upsample),
    "upsample-size": (lambda: layers(nn.Upsample(size=(12, 10))), Upsample),
    "upsampling-2d": (lambda: layers(nn.UpsamplingNearest2d(scale_factor=2)), Upsample),
    "interpolate": (lambda: Net(lambda n, x: F.interpolate(n.body(x), scale_factor=2), body=layers()), Upsample),
    "interpolate-named": (
        lambda: Net(lambda n, x: F.interpolate(input=n.body(x), size=(18, 15), mode="nearest"), body=layers()),
        Upsample,
    ),
    "pixel_shuffle": (lambda: Net(lambda n, x: F.pixel_shuffle(n.body(x), 2), body=layers()), PixelShuffle),
}


@pytest.mark.parametrize("name", MOVES)
def test_image_of_a_network_is_that_in_float_within_its_rounding(images, name):
    """The network ends in a map, which the Program gives raw; at 16 bits, hardly anything is rounded."""
    make, kind = MOVES[name]
    net = settle(make(), images)

    program = lower(net, images, bits=16)

    last = program.ops[-1]
    assert isinstance(last, kind) and program.output == last.name and not program.classifies
    exact = run(net, images[:8])[""]
    found = golden.run(program, images[:8]).output * program.steps[last.name]
    assert found.shape == exact.shape
    inside = np.abs(exact) < 0.9 * np.abs(exact).max()  # beyond the calibrated range, values are clipped
    assert np.abs(found - exact)[inside].max() < 2e-3 * np.abs(exact).max()
    assert len(np.unique(found)) > 100


@pytest.mark.parametrize("name", MOVES)
def test_moves_in_the_middle_are_those_in_float(images, name):
    """Between two convolutions, then a mean and a classifier: the scores stay."""
    make, kind = MOVES[name]
    body = make()
    channels = body(torch.zeros(1, *SHAPE)).shape[1]
    net = Net(
        lambda n, x: n.fc(F.relu(n.conv(n.body(x))).flatten(1)),
        body=body, conv=nn.Conv2d(channels, 3, 3, stride=2), fc=nn.LazyLinear(4),
    )  # fmt: skip
    net(as_floats(images[:1]).float())
    settle(net, images)

    program = lower(net, images, bits=16)

    assert any(isinstance(op, kind) for op in program.ops) and program.classifies
    exact = run(net, images)[""]
    found = golden.run(program, images).scores * program.steps[program.output]
    assert np.quantile(np.abs(found - exact), 0.95) < 5e-3 * np.abs(exact).max()


@pytest.mark.parametrize("bits", [4, 8])
def test_move_adds_no_error_to_what_it_moves(images, bits):
    """On the grid of what it reads: equal integers at other places."""
    program = lower(settle(layers(SpatialShift2d(OFFSETS), nn.PixelShuffle(2)), images), images, bits=bits)

    shifted, shuffled = program.ops[-2:]
    tensors = golden.run(program, images[:4], trace=True).tensors

    before = torch.from_numpy(tensors[shifted.source])
    assert np.array_equal(tensors[shuffled.name], F.pixel_shuffle(SpatialShift2d(OFFSETS)(before), 2).numpy())
    assert program.steps[shuffled.name] == program.steps[shifted.source]
    assert program.format(shuffled.name).bits == bits


def test_ghost_features_beside_their_origin(images):
    """As in GhostSR: features, their shifted copies, side by side into the next layer, a shuffle to an image."""
    net = Net(
        lambda n, x: n.up(n.tail(torch.cat([n.head(x), n.ghost(n.head(x))], 1))),
        head=layers(channels=8), ghost=SpatialShift2d(OFFSETS), tail=nn.Conv2d(16, 4, 1), up=nn.PixelShuffle(2),
    )  # fmt: skip
    settle(net, images)

    program = lower(net, images, bits=12)

    assert program.shape(program.output) == (1, 12, 10)
    exact = run(net, images[:8])[""]
    found = golden.run(program, images[:8]).output * program.steps[program.output]
    inside = np.abs(exact) < 0.9 * np.abs(exact).max()
    assert np.abs(found - exact)[inside].max() < 2e-2 * np.abs(exact).max()


def test_enlarged_shortcut_joins_an_addition(images):
    net = Net(
        lambda n, x: n.conv(F.interpolate(x, scale_factor=2)) + F.interpolate(x, scale_factor=2),
        conv=nn.Conv2d(2, 2, 3, padding=1),
    )
    program = lower(net, images, bits=12)

    exact = run(net, images[:8])[""]
    found = golden.run(program, images[:8]).output * program.steps[program.output]
    inside = np.abs(exact) < 0.9 * np.abs(exact).max()
    assert np.abs(found - exact)[inside].max() < 2e-2 * np.abs(exact).max()


@pytest.mark.parametrize("move", [SpatialShift2d(OFFSETS), nn.PixelShuffle(2), nn.Upsample(scale_factor=2)], ids=repr)
def test_bits_stay_bits_unless_zeros_move_in(images, move):
    """A zero is neither +1 nor -1: shifted bits become numbers; the layer behind computes what it did."""
    channels = 2 if isinstance(move, nn.PixelShuffle) else 8
    net = Net(
        lambda n, x: n.fc(n.conv(n.move(n.sign(n.first(x)))).flatten(1)),
        first=nn.Conv2d(2, 8, 3, padding=1), sign=Sign(), move=move, conv=BinaryConv2d(channels, 4, 3),
        fc=nn.LazyLinear(3),
    )  # fmt: skip
    net(as_floats(images[:1]).float())

    program = lower(net.eval(), images, bits=16)

    kernels = {op.name: op.kernel for op in program.ops if hasattr(op, "kernel")}
    assert kernels["conv"] == ("mult" if isinstance(move, SpatialShift2d) else "xnor")
    # A pixel of the first layer may fall on the other side of zero.
    exact, tensors = run(net, images), golden.run(program, images, trace=True).tensors
    assert (tensors["conv"] == exact["conv"]).mean() > 0.99


def test_what_stands_behind_the_output_is_no_part_of_the_program(images):
    """A branch that nothing reads, lowered after the output."""

    def flow(n, x):
        x = n.up(n.body(x))
        n.rest(x)
        return x

    program = lower(settle(Net(flow, body=layers(), up=nn.PixelShuffle(2), rest=nn.Conv2d(2, 2, 1)), images), images)

    assert isinstance(program.ops[-1], PixelShuffle) and not any(isinstance(op, ArgMax) for op in program.ops)
    assert "rest" not in program.by_name and program.steps.keys() <= program.by_name.keys()


def test_accuracy_of_an_image_is_refused_in_one_line(images):
    program = lower(settle(layers(nn.PixelShuffle(2)), images), images)

    with pytest.raises(UserError, match=r"class scores are needed, .* gives the raw result of '.*', 2x12x10 of uint8"):
        evaluate(program, Images(x=images, y=np.zeros(len(images), np.int64)))


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (lambda n, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
         "upsampling at 'interpolate': mode 'bilinear' is not supported, only 'nearest'"),
        (lambda n, x: F.interpolate(x, scale_factor=1.5), "a map of 6x5: .* one whole factor, not by scale_factor=1.5"),
        (lambda n, x: F.interpolate(x, scale_factor=0.5), "not by scale_factor=0.5"),
        (lambda n, x: F.interpolate(x, scale_factor=(2.0, 3.0)), r"not by scale_factor=\(2.0, 3.0\)"),
        (lambda n, x: F.interpolate(x, size=12), "of a map of 6x5: rows and columns .*, not by size=12"),
        (lambda n, x: F.interpolate(x, size=(13, 10)), r"not by size=\(13, 10\)"),
        (lambda n, x: n.huge(x), "does not fit together at .*: factor must be in 1..64, not 65"),
        (lambda n, x: n.far(x), r"does not fit together at 'far': offsets must be in -3\.\.3, not 0\.\.4"),
        (lambda n, x: n.bilinear(x), "upsampling at 'bilinear': mode 'bilinear' is not supported"),
        (lambda n, x: F.pixel_unshuffle(x, 1), "unsupported operation aten.pixel_unshuffle.* pixel_shuffle, inter"),
    ],
)  # fmt: skip
def test_move_that_no_program_says_is_refused_by_name(images, move, message):
    net = Net(
        lambda n, x: move(n, n.conv(x)), conv=nn.Conv2d(2, 2, 1), far=SpatialShift2d([(0, 4), (0, 0)]),
        bilinear=nn.UpsamplingBilinear2d(scale_factor=2), huge=nn.Upsample(scale_factor=65),
    )  # fmt: skip
    with pytest.raises(UserError, match=message) as caught:
        lower(net, images[:4])
    assert "\n" not in str(caught.value)
