"""Constants in foreign files are spread over channels by ONNX's broadcasting, or refused."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.quant.onnx.read import import_onnx
from alike import RNG, equal
from foreign import Foreign


def test_a_constant_of_one_axis_belongs_to_the_last(tmp_path):
    """It was taken per channel where there are as many channels as columns."""
    g = Foreign((1, 6, 6))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(0), (6, 1, 3, 3)), pads=[1] * 4)
    path = g.saved(tmp_path, g.quant(g.node("Add", x, g.constant(np.arange(6))), 0.1, 8, signed=1), (6, 6, 6))

    with pytest.raises(UserError, match=r"a constant of shape \(6,\) is neither one number nor one per channel"):
        import_onnx(path)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1, 1, 1, 1), (1,), ()])
def test_constants_that_are_spread_over_channels(tmp_path, shape):
    g = Foreign((1, 6, 6))
    values = RNG(4).normal(size=shape)
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(0), (6, 1, 3, 3)), pads=[1] * 4)
    equal(g.saved(tmp_path, g.quant(g.node("Add", x, g.constant(values)), 0.0513, 8, signed=1), (6, 6, 6)))


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,)])
def test_biases_of_dense_layers_in_every_legal_shape(tmp_path, shape):
    """(1, 5) was refused."""
    for kind in ("Gemm", "Add"):
        g = Foreign((2, 3, 3))
        flat, bias = g.node("Flatten", g.quant("x", 1 / 255)), g.constant(RNG(5).normal(size=shape))
        weights = g.weights(RNG(6), (18, 5))
        x = g.node("Gemm", flat, weights, bias, alpha=0.5, beta=2.0) if kind == "Gemm" else (
            g.node("Add", g.node("MatMul", flat, weights), bias)
        )  # fmt: skip
        equal(g.saved(tmp_path, g.quant(x, 0.0313, 8, signed=1), (5,)))


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_a_scale_of_one_axis_belongs_to_the_last_axis_of_the_weights(tmp_path, kind):
    """It was taken per output."""
    g = Foreign((4, 1, 1) if kind == "Gemm" else (4, 3, 3))
    x = g.quant("x", 1 / 255)
    if kind == "Conv":
        x = g.node("Conv", x, g.weights(RNG(0), (3, 4, 3, 3), np.linspace(0.05, 0.4, 3)))
    else:
        x = g.node("Gemm", g.node("Flatten", x), g.weights(RNG(0), (4, 4), np.linspace(0.05, 0.4, 4)), transB=1)
    path = g.saved(tmp_path, x, (4,) if kind == "Gemm" else (3, 1, 1))

    with pytest.raises(UserError, match="must have one scale, or one per output"):
        import_onnx(path)


def test_elements_of_a_flattened_map_may_have_constants_of_their_own(tmp_path):
    g = Foreign((2, 3, 3))
    flat = g.node("Flatten", g.quant("x", 1 / 255))
    x = g.quant(g.node("Mul", flat, g.constant(RNG(7).uniform(0.5, 1.5, 18))), 0.0057, 8)
    equal(g.saved(tmp_path, g.quant(g.node("MatMul", x, g.weights(RNG(8), (18, 4))), 0.0313, 8, signed=1), (4,)))
