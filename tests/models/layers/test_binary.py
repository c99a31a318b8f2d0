"""Binary layers and what becomes of them: a binary network has no rounding, so every bit and every class is equal."""

import itertools

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.binary import BinaryConv2d, Sign, sign
from addax.models.layers.kernels import activation
from addax.models.layers.normalize import Normalise
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Concat, Convolution, Requantise, Threshold
from torch import nn
from torchnets import Net, pictures, run, settle

BITS = unsigned(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# The layers


@pytest.mark.parametrize(("at_zero", "zero"), [(True, 1.0), (False, -1.0)])
def test_tie_of_the_sign_is_a_choice(at_zero, zero):
    x = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 2.0])

    assert Sign(at_zero=at_zero)(x).tolist() == [-1, -1, zero, zero, 1, 1]


def test_gradient_of_the_sign_passes_inside_one():
    x = torch.tensor([-1.5, -1.0, -0.3, 0.0, 1.0, 1.001], requires_grad=True)

    (sign(x) * torch.arange(1.0, 7.0)).sum().backward()

    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


def naive(x, weight, stride, padding):
    """Tap by tap; a tap outside the image reads -1, and a weight of 0 is +1."""
    count, channels, height, width = x.shape
    outputs, _, size, _ = weight.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    result = np.zeros((count, outputs, rows, columns))
    for b, o, r, c in itertools.product(range(count), range(outputs), range(rows), range(columns)):
        for i, ky, kx in itertools.product(range(channels), range(size), range(size)):
            y, z = r * stride + ky - padding, c * stride + kx - padding
            pixel = x[b, i, y, z] if 0 <= y < height and 0 <= z < width else -1.0
            result[b, o, r, c] += pixel if weight[o, i, ky, kx] >= 0 else -pixel
    return result


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "stride", "padding"),
    [(1, 1, 1, 1, 0), (2, 3, 3, 1, 1), (3, 2, 3, 2, 1), (2, 4, 2, 1, 0)],
)
def test_forward_is_the_sum_of_signed_pixels(inputs, outputs, size, stride, padding):
    layer = BinaryConv2d(inputs, outputs, size, stride=stride, padding=padding).double()
    with torch.no_grad():
        layer.weight.view(-1)[0] = 0.0
    x = torch.randn(2, inputs, 5, 4, dtype=torch.float64)

    expected = naive(x.numpy(), layer.weight.detach().numpy(), stride, padding)

    assert np.abs(layer(x).detach().numpy() - expected).max() < 1e-12


def test_weights_learn_through_their_signs():
    """A weight beyond one has no gradient any more; the others have that of a convolution with their signs."""
    layer = BinaryConv2d(1, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[0.5, -0.5], [1.5, -0.1]]]]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)

    layer(x).sum().backward()

    assert layer.weight.grad.flatten().tolist() == [1, 2, 0, 4]
    assert x.grad.flatten().tolist() == [1, -1, 1, -1]


def test_signs_stand_in_front_of_binary_layers_only():
    assert isinstance(activation("xnor"), Sign)
    assert all(isinstance(activation(kernel), nn.ReLU) for kernel in ("adder", "mult", "shift"))


# Lowered


def binary_network(first=True, second=False):
    """Binary throughout, signs on pixels first; the sums of the last layer are the scores."""
    return Net(
        lambda n, x: n.flat2(n.fc2(n.s3(n.bn3(n.fc1(n.un(n.flat(n.s2(n.bn2(n.c2(n.s1(n.bn1(n.c1(n.pool(
            n.s0(n.bn0(n.c0(x))))))))))))))))),
        c0=BinaryConv2d(3, 12, 3), bn0=nn.BatchNorm2d(12), s0=Sign(at_zero=first), pool=nn.MaxPool2d(3, 2, 1),
        c1=BinaryConv2d(12, 16, 3, padding=1), bn1=nn.BatchNorm2d(16), s1=Sign(at_zero=second),
        c2=BinaryConv2d(16, 16, 3, stride=2, padding=1), bn2=nn.BatchNorm2d(16), s2=Sign(at_zero=first),
        flat=nn.Flatten(), un=nn.Unflatten(1, (144, 1, 1)),
        fc1=BinaryConv2d(144, 40, 1), bn3=nn.BatchNorm2d(40), s3=Sign(at_zero=second), fc2=BinaryConv2d(40, 10, 1),
        flat2=nn.Flatten(),
    )  # fmt: skip


SHAPE = (3, 14, 14)


def bits_of(values):
    assert set(np.unique(values).tolist()) <= {-1.0, 1.0}
    return (values > 0).astype(np.int64)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_every_bit_and_score_of_a_binary_network_is_equal(first, second):
    """gamma of either sign and 0, padding with -1, pooled bits, signs on pixels: in double precision, nothing is lost.

    A weight of exactly 0 counts as +1 on both sides.
    """
    net = settle(binary_network(first, second), pictures(100, SHAPE), signs=(1.0, -1.0, 0.0))
    with torch.no_grad():
        net.c1.weight[:, 0] = 0.0
    images = pictures(150, SHAPE, seed=1)
    images[0], images[1] = 0, 255

    program = lower(net, pictures(20, SHAPE))

    result, exact = golden.run(program, images, trace=True), run(net, images)
    for layer in ("s0", "pool", "s1", "s2", "s3"):
        assert np.array_equal(result.tensors[layer], bits_of(exact[layer])), layer
    assert 0.2 < result.tensors["s2"].mean() < 0.8, "the bits must be alive"
    scores = exact[""]
    assert np.array_equal(result.scores * program.steps["scores"], scores)
    assert np.array_equal(result.classes, scores.argmax(1)), "the first of equal scores"
    assert len(set(result.classes.tolist())) > 3
    gammas = np.concatenate([getattr(net, f"bn{k}").weight.detach().numpy() for k in range(4)])
    assert (gammas < 0).any() and (gammas == 0).any()


def test_operations_of_a_binary_network():
    """A bit per feature and per weight, one comparison per bit: no factor is left before the scores."""
    program = lower(settle(binary_network(), pictures(50, SHAPE)), pictures(20, SHAPE))

    convolutions = [op for op in program.ops if isinstance(op, Convolution)]
    assert [op.kernel for op in convolutions] == ["mult", "xnor", "xnor", "xnor", "xnor"]
    assert {op.weight_format for op in convolutions} == {BITS}
    assert [program.format(op.source) for op in convolutions] == [unsigned(8), *[BITS] * 4]
    assert not any(op.pad.any() for op in convolutions), "a bit of 0 is the -1 that a binary layer pads with"
    assert [op.name for op in program.ops if isinstance(op, Threshold)] == ["s0", "s1", "s2", "s3"]
    assert [op.name for op in program.ops if isinstance(op, Requantise)] == ["scores"]


@pytest.mark.parametrize("at_zero", [True, False])
def test_sums_exactly_at_the_threshold(at_zero):
    """Batch norms whose zeros are integers: the tie is met and belongs to the source, for rising and falling bits."""
    net = Net(
        lambda n, x: n.flat(n.fc(n.s1(n.bn(n.c(n.s0(n.norm(x))))))),
        norm=Normalise([0.5], [0.25]), s0=Sign(), c=BinaryConv2d(1, 12, 3), bn=nn.BatchNorm2d(12, eps=0.0),
        s1=Sign(at_zero=at_zero), fc=BinaryConv2d(12, 10, 4), flat=nn.Flatten(),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net.bn.running_mean.copy_(torch.tensor([-9.0, -5.0, -3.0, -1.0, 0.0, 1.0] * 2))
        net.bn.running_var.fill_(4.0)
        net.bn.weight.copy_(torch.tensor([2.0] * 6 + [-0.5] * 6))
    images = np.random.default_rng(0).integers(0, 256, (200, 1, 6, 6), dtype=np.uint8)

    program = lower(net, images[:10])

    result, exact = golden.run(program, images, trace=True), run(net, images)
    ties = result.tensors["c"] == net.bn.running_mean.numpy()[None, :, None, None]
    assert ties[:, 3].sum() > 100 and ties[:, 9].sum() > 100, "the example must meet the tie"
    assert set(exact["s1"][ties]) == {1.0 if at_zero else -1.0}
    assert np.array_equal(result.tensors["s0"], bits_of(exact["s0"]))
    assert np.array_equal(result.tensors["s1"], bits_of(exact["s1"]))
    assert np.array_equal(result.scores * program.steps["scores"], exact[""])


def test_bits_side_by_side():
    """A concatenation of bits is bits, whatever their thresholds."""
    net = Net(
        lambda n, x: n.flat(n.fc(torch.cat([n.s(n.bn1(n.c1(x))), n.s(n.bn2(n.c2(x)))], 1))),
        c1=BinaryConv2d(1, 6, 3), bn1=nn.BatchNorm2d(6), c2=BinaryConv2d(1, 10, 3), bn2=nn.BatchNorm2d(10), s=Sign(),
        fc=BinaryConv2d(16, 10, 6), flat=nn.Flatten(),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images[:10])

    joined = next(op for op in program.ops if isinstance(op, Concat))
    assert program.format(joined.name) == BITS
    assert np.array_equal(golden.run(program, images).scores * program.steps["scores"], run(net, images)[""])


def test_bits_that_a_multiplying_layer_reads_are_plus_and_minus_one():
    """At 16 bits all that is left are the roundings of the classifier's weights."""
    net = Net(
        lambda n, x: n.fc(n.flat(n.mean(n.s(n.bn(n.c(x)))))),
        c=BinaryConv2d(1, 6, 3), bn=nn.BatchNorm2d(6), s=Sign(), mean=nn.AvgPool2d(2), flat=nn.Flatten(),
        fc=nn.Linear(54, 10),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images, bits=16)

    result = golden.run(program, images, trace=True)
    assert program.format("s_values") == signed(2)
    assert np.array_equal(result.tensors["s_values"], 2 * result.tensors["s"] - 1)
    exact = run(net, images)[""]
    assert np.abs(result.scores * program.steps["scores"] - exact).max() < 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize("padding", [0, 1])
def test_binary_layer_on_features_of_several_bits(padding):
    """It multiplies them by signs, and pads with -1 on their grid: exact on what is stored, borders included."""
    net = Net(
        lambda n, x: n.fc(n.flat(n.bn2(n.c2(n.bn1(n.c1(x)))))),
        c1=nn.Conv2d(1, 4, 3), bn1=nn.BatchNorm2d(4), c2=BinaryConv2d(4, 6, 3, padding=padding),
        bn2=nn.BatchNorm2d(6), flat=nn.Flatten(), fc=nn.Linear(6 * (4 + 2 * padding) ** 2, 10),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)))
    images = pictures(20, (1, 8, 8), seed=1)

    program = lower(net, images, bits=12)

    tensors = golden.run(program, images, trace=True).tensors
    layer = program.by_name["c2"]
    step = program.steps[layer.source]
    exact = naive(tensors[layer.source] * step, net.c2.weight.detach().numpy(), 1, padding)
    assert (layer.kernel, layer.weight_format) == ("mult", BITS)
    # -1 on the grid is off by half a step at most, at five taps of a corner of four channels.
    assert np.abs(tensors["c2"] * step - exact).max() <= (0.5 * step * 5 * 4 + 1e-9 if padding else 1e-9)
    inner = np.s_[:, :, padding : -padding or None, padding : -padding or None]
    assert np.abs(tensors["c2"] * step - exact)[inner].max() < 1e-9


def test_binary_padding_on_pixels_is_refused():
    """A pixel of -255 does not exist."""
    net = Net(
        lambda n, x: n.flat(n.fc(n.s(n.first(x)))),
        first=BinaryConv2d(1, 4, 3, padding=1), s=Sign(), fc=BinaryConv2d(4, 10, 8), flat=nn.Flatten(),
    )  # fmt: skip

    with pytest.raises(UserError, match=r"binary layer at 'first' pads with -1, which .* cannot hold"):
        lower(net, pictures(5, (1, 8, 8)))


def test_sign_of_an_addition_is_taken_of_what_is_stored():
    """Bits behind a residual addition differ from those in float only where the sum is next to nothing."""
    net = Net(
        lambda n, x: n.flat(n.fc(n.s(n.bn1(n.c1(x)) + n.bn2(n.c2(x))))),
        c1=nn.Conv2d(1, 6, 3), bn1=nn.BatchNorm2d(6), c2=nn.Conv2d(1, 6, 3), bn2=nn.BatchNorm2d(6), s=Sign(),
        fc=BinaryConv2d(6, 10, 6), flat=nn.Flatten(),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images, bits=12)

    bits = golden.run(program, images, trace=True).tensors["s"]
    assert (bits == bits_of(run(net, images)["s"])).mean() > 0.99


def test_lenet5_of_binary_layers_decides_as_in_float():
    """At 16 bits, where the weights of its first and last layer hardly round."""
    net = settle(zoo.build("lenet5", kernel="xnor"), pictures(200, (1, 16, 16)))
    images = pictures(200, (1, 16, 16), seed=1)

    program = lower(net, images[:100], bits=16)

    kernels = [op.kernel for op in program.ops if isinstance(op, Convolution)]
    assert kernels == ["mult", "xnor", "xnor", "xnor", "mult"]
    classes = run(net, images)[""].argmax(1)
    assert len(set(classes.tolist())) > 3
    assert (golden.run(program, images).classes == classes).mean() >= 0.98
