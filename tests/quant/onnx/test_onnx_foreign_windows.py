"""Windows in foreign files: pads, strides, dilations and means are those that ONNX says."""

import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.stages import stages_of
from addax.quant.onnx.read import import_onnx
from addax.quant.program import ArgMax, AveragePool, Convolution
from alike import RNG, equal, features
from foreign import Foreign

POOLS = {
    "upper": {"auto_pad": "SAME_UPPER"},
    "lower": {"auto_pad": "SAME_LOWER"},
    "valid": {"auto_pad": "VALID"},
    "unequal": {"pads": [0, 1, 1, 0]},
    "ceil": {"ceil_mode": 1},
    "ceil-padded": {"ceil_mode": 1, "pads": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("size", [(7, 7), (8, 6)])
@pytest.mark.parametrize("name", POOLS)
def test_max_pools_see_what_onnx_says(tmp_path, name, size):
    """``auto_pad`` was read as no padding at all."""
    g = Foreign((1, *size))
    kernel = 2 if name == "unequal" else 3
    x = g.node("MaxPool", features(g), kernel_shape=[kernel] * 2, strides=[2, 2], **POOLS[name])
    path = g.saved(tmp_path, x, (3, None, None))

    stages_of(equal(path))


@pytest.mark.parametrize("given", [{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [0, 2, 1, 0]},
                                   {"pads": [1, 0, 2, 1], "dilations": [2, 1]}])  # fmt: skip
@pytest.mark.parametrize("signs", [False, True])
def test_convolutions_with_unequal_pads_and_dilations(tmp_path, given, signs):
    g = Foreign((2, 7, 6))
    x = g.quant("x", 1 / 255)
    weights = (
        g.node("BipolarQuant", g.constant(RNG(2).normal(size=(4, 2, 3, 2))), g.constant(0.3))
        if signs
        else g.weights(RNG(2), (4, 2, 3, 2))
    )
    strides = [1, 1] if "dilations" in given else [2, 2]
    x = g.node("Conv", x, weights, kernel_shape=[3, 2], strides=strides, **given)
    equal(g.saved(tmp_path, g.quant(x, 0.037, 8, signed=1), (4, None, None)))


@pytest.mark.parametrize("given", [
    {"strides": [1, 3], "dilations": [3, 1], "pads": [3, 0, 1, 2]}, {"strides": [3, 2], "pads": [2, 1, 0, 1]},
    {"strides": [1, 2], "dilations": [2, 2], "pads": [0, 0, 3, 1]}, {"strides": [2, 1], "pads": [4, 4, 4, 4]},
])  # fmt: skip
def test_strides_dilations_and_pads_stay_those_of_the_file(tmp_path, given):
    """Zeros among the weights would cost lanes; only pads as large as the window still ask for them."""
    g = Foreign((2, 9, 8))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(2), (4, 2, 3, 2)), kernel_shape=[3, 2], **given)
    program = equal(g.saved(tmp_path, g.quant(x, 0.037, 8, signed=1), (4, None, None)))

    (op,) = (op for op in program.ops if isinstance(op, Convolution))
    assert op.window.strides == tuple(given["strides"])
    large = given.get("pads") == [4, 4, 4, 4]
    assert (op.weight.shape[2:] == (3, 2)) != large
    assert op.window.dilations == tuple(given.get("dilations", (1, 1)))
    if "pads" in given and not large:
        assert op.window.pads == tuple(given["pads"])
    stages_of(program)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("size, strides", [([3, 2], [2, 1]), ([1, 4], [1, 3]), ([2, 2], [1, 2])])
def test_pools_that_are_not_square_stay_pools(tmp_path, kind, size, strides):
    g = Foreign((1, 7, 8))
    x = g.node(kind, features(g), kernel_shape=size, strides=strides)
    program = equal(g.saved(tmp_path, g.quant(x, 0.0171, 8), (3, None, None)))

    (op,) = (op for op in program.ops if type(op).__name__ == kind)
    assert (op.window.kernel, op.window.strides) == (tuple(size), tuple(strides))
    stages_of(program)


def test_means_count_what_onnx_counts(tmp_path):
    """Pads that do not count divide the border by less, which one factor cannot; pads that count are zeros."""
    for given, message in (
        ({"auto_pad": "SAME_UPPER"}, r"its padding \[1, 1, 1, 1\] is not counted"),
        ({"pads": [1, 1, 1, 1]}, "is not counted"),
        ({"pads": [1, 1, 1, 1], "count_include_pad": 1, "ceil_mode": 1}, "is not counted"),
        ({"ceil_mode": 1}, None),
        ({"pads": [1, 0, 1, 0], "count_include_pad": 1}, None),
        ({"auto_pad": "VALID"}, None),
    ):
        g = Foreign((1, 7, 7))
        x = g.node("AveragePool", features(g), kernel_shape=[3, 3], strides=[2, 2], **given)
        path = g.saved(tmp_path, g.quant(x, 0.0171, 8), (3, None, None))
        if message is None:
            stages_of(equal(path))
        else:
            with pytest.raises(UserError, match=message):
                import_onnx(path)


@pytest.mark.parametrize("shape", [(2, 8, 5), (2, 9)])
@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool", "ReduceMean"])
def test_global_pools_of_maps_that_are_not_square(tmp_path, shape, kind):
    g = Foreign(shape)
    axes = [g.sizes(range(2, len(shape) + 1))] if kind == "ReduceMean" else []
    given = {"keepdims": 0} if kind == "ReduceMean" else {}
    pooled = g.node(kind, features(g), *axes, **given)
    flat = pooled if kind == "ReduceMean" else g.node("Flatten", pooled)
    sums = g.node("MatMul", g.quant(flat, 0.0171), g.weights(RNG(3), (3, 5)))
    program = equal(g.saved(tmp_path, g.quant(sums, 0.0123, 8, signed=1), (5,)))

    assert isinstance(program.ops[-1], ArgMax)
    stages_of(program)


def test_a_square_mean_stays_a_pool(tmp_path):
    g = Foreign((1, 6, 6))
    path = g.saved(tmp_path, g.quant(g.node("GlobalAveragePool", features(g)), 0.0171, 8), (3, 1, 1))

    assert any(isinstance(op, AveragePool) for op in equal(path).ops)
