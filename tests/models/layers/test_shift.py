"""Shift layers: weights are signed powers of two or 0, and their sums are exact in integers."""

import itertools
import math

import numpy as np
import pytest
import torch
from addax.models.layers.shift import OCTAVES, ShiftConv2d, nearest_powers
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution, weight_values
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchnets import Net, pictures, run, settle


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# The layer

MANTISSAS = st.floats(0.72, 1.4)
"""Clear of the middle between two powers, the root of two."""
VALUES = st.just(0.0) | st.builds(
    lambda sign, mantissa, exponent: sign * mantissa * 2.0**exponent,
    st.sampled_from([-1, 1]), MANTISSAS, st.integers(-14, 6),
)  # fmt: skip


def nearest(values):
    """Every value as the power with the nearest exponent, the seven largest exponents kept, in Python's own floats."""
    exponents = [round(math.log2(abs(v))) if v else None for v in values]
    top = max((e for e in exponents if e is not None), default=0)
    return [
        math.copysign(2.0**e, v) if e is not None and e > top - OCTAVES else 0.0
        for v, e in zip(values, exponents, strict=True)
    ]


@given(values=st.lists(VALUES, min_size=1, max_size=20))
def test_weights_become_the_nearest_powers_of_seven_octaves(values):
    assert nearest_powers(torch.tensor(values)).tolist() == nearest(values)


def test_rounding_is_of_the_exponent_and_not_of_the_value():
    """1.45 is nearer to 1 than to 2, but beyond the root of two."""
    assert nearest_powers(torch.tensor([1.38, 1.45, -2.8, -2.9, 8.0])).tolist() == [1, 2, -2, -4, 8]


def test_what_is_too_small_becomes_zero():
    """Below the smallest of seven octaves by more than half an octave there is nothing."""
    weights = torch.tensor([64.0, 1.0, 0.72, -0.71, 0.7, 1e-20])

    assert nearest_powers(weights).tolist() == [64, 1, 1, -1, 0, 0]


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1e-38, -1e-38], [1e30, -1e30]])
def test_layer_of_one_size_of_weights(weights):
    found = nearest_powers(torch.tensor(weights))

    assert bool(torch.isfinite(found).all()) and found[0] == -found[1]


def test_gradient_passes_straight_through_the_rounding():
    layer = ShiftConv2d(1, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[0.9, -0.3], [0.6, 0.001]]]]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)

    layer(x).sum().backward()

    assert layer.weight.grad.flatten().tolist() == [1, 2, 3, 4]
    assert x.grad.flatten().tolist() == [1, -0.25, 0.5, 0]


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1)])
def test_forward_is_a_convolution_with_powers(stride, padding):
    layer = ShiftConv2d(2, 3, 3, stride=stride, padding=padding).double()
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    powers = torch.tensor(nearest(layer.weight.flatten().tolist()), dtype=torch.float64).view_as(layer.weight)

    expected = nn.functional.conv2d(x, powers, stride=stride, padding=padding)

    assert torch.equal(layer(x), expected)


# Lowered


def shift_network():
    return Net(
        lambda n, x: n.fc(n.flat(n.r2(n.bn2(n.c2(n.r1(n.bn1(n.c1(x)))))))),
        c1=ShiftConv2d(2, 4, 3, padding=1), bn1=nn.BatchNorm2d(4), r1=nn.ReLU(),
        c2=ShiftConv2d(4, 6, 3, stride=2, padding=1), bn2=nn.BatchNorm2d(6), r2=nn.ReLU(),
        flat=nn.Flatten(), fc=nn.Linear(6 * 4 * 4, 10),
    )  # fmt: skip


def sums(x, weight, stride, padding):
    """Tap by tap, in Python's integers; outside the image is 0."""
    count, channels, height, width = x.shape
    outputs, _, size, _ = weight.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    result = np.zeros((count, outputs, rows, columns), np.int64)
    for b, o, r, c in itertools.product(range(count), range(outputs), range(rows), range(columns)):
        for i, ky, kx in itertools.product(range(channels), range(size), range(size)):
            y, z = r * stride + ky - padding, c * stride + kx - padding
            if 0 <= y < height and 0 <= z < width:
                result[b, o, r, c] += int(x[b, i, y, z]) * int(weight[o, i, ky, kx])
    return result


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_sums_of_shift_layers_are_exact(bits):
    """Whatever the width of the features: weights are the layer's own powers, 0 to 64 units, not rounded again."""
    net = settle(shift_network(), pictures(50, (2, 8, 8)))
    with torch.no_grad():
        net.c2.weight[0] = 0.0
        net.c2.weight[1, 0] = torch.tensor([[1, -0.5, 1 / 4], [1 / 8, -1 / 16, 1 / 32], [1 / 64, 1 / 128, 0]])
    images = pictures(3, (2, 8, 8), seed=1)

    program = lower(net, pictures(50, (2, 8, 8)), bits=bits)

    tensors = golden.run(program, images, trace=True).tensors
    for name, layer in (("c1", net.c1), ("c2", net.c2)):
        op = program.by_name[name]
        assert (op.kernel, op.weight_format) == ("shift", unsigned(4))
        powers = np.array(nearest(layer.weight.flatten().tolist())).reshape(layer.weight.shape)
        units = powers / (np.abs(powers).max() / 64)
        assert np.array_equal(weight_values(op), units), "powers of two up to 64, and 0"
        assert not op.pad.any()
        exact = sums(tensors[op.source], units.astype(int), layer.stride, layer.padding)
        assert np.array_equal(tensors[name], exact)
    assert program.format("c1_out") == unsigned(bits) and len(np.unique(tensors["c2_out"])) > 2


def test_features_are_near_those_in_float():
    net = settle(shift_network(), pictures(50, (2, 8, 8)))
    images = pictures(50, (2, 8, 8))

    program = lower(net, images, bits=16)

    tensors, exact = golden.run(program, images, trace=True).tensors, run(net, images)
    for name, layer in (("c1_out", "r1"), ("c2_out", "r2")):
        error = np.abs(tensors[name] * program.steps[name] - exact[layer])
        assert np.quantile(error, 0.99) < 1e-3 * exact[layer].max()


def test_layer_of_zeros_is_a_constant():
    net = settle(shift_network(), pictures(20, (2, 8, 8)))
    nn.init.zeros_(net.c2.weight)

    program = lower(net, pictures(20, (2, 8, 8)))

    tensors = golden.run(program, pictures(5, (2, 8, 8), seed=1), trace=True).tensors
    assert not tensors["c2"].any()
    assert (np.ptp(tensors["c2_out"], axis=(0, 2, 3)) == 0).all()


def test_lenet5_of_shift_layers_decides_as_in_float():
    net = settle(zoo.build("lenet5", kernel="shift"), pictures(200, (1, 16, 16)))
    images = pictures(200, (1, 16, 16), seed=1)

    program = lower(net, pictures(200, (1, 16, 16)), bits=8)

    kernels = [op.kernel for op in program.ops if isinstance(op, Convolution)]
    assert kernels == ["mult", "shift", "shift", "shift", "mult"]
    classes = run(net, images)[""].argmax(1)
    assert len(set(classes.tolist())) > 3
    assert (golden.run(program, images).classes == classes).mean() >= 0.93
