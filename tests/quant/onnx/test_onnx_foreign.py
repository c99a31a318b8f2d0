"""Files of Brevitas, QONNX, FINN and onnxruntime: every attribute and every broadcast gives qonnx's integers, or is
refused by name."""

import logging
import warnings

import numpy as np
import onnx
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.dataflow.stages import stages_of
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.onnx.read import import_onnx
from addax.quant.program import ArgMax, AveragePool, Convolution, Flatten, MaxPool, Requantise, Threshold
from foreign import Foreign, compared, in_qonnx, pixels_for, random_network
from onnx import TensorProto, helper

RNG = np.random.default_rng


def equal(path, **said):
    """The Program, whose integers must be qonnx's."""
    program, found, expected = compared(path, **said)
    step = abs(program.steps[program.output])
    assert np.ptp(expected) > 3 * step, "all results are alike"
    alike(found, expected, step)
    return program


def alike(found, expected, step):
    """Every value, ties included."""
    off = np.abs(found - expected) / step
    assert off.max() < 0.01, (off.max(), np.mean(off > 0.01))


def features(g, channels=3, scale=0.043):
    """Pixels, a convolution, and its integers behind a ReLU."""
    x = g.quant("x", 1 / 255)
    sums = g.node(
        "Conv", x, g.weights(RNG(1), (channels, g.shape[0], *[3] * (len(g.shape) - 1))), auto_pad="SAME_UPPER"
    )
    return g.quant(g.node("Relu", sums), scale, 5)


# Windows

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


# Broadcasting


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


# Attributes

REFUSED = {
    "quant-attribute": (lambda g: g.node("Quant", "x", *g_quant(g), signed=1, narrow=0, gain=2),
                        "its attribute gain is not understood; understood: signed, narrow, rounding_mode"),
    "quant-lacks": (lambda g: g.node("Quant", "x", *g_quant(g), narrow=0), "lacks 'signed'"),
    "quant-zero": (lambda g: g.quant("x", 1.0, zero=0.5), "its zero point must be a whole number"),
    "quant-mode": (lambda g: g.quant("x", 1.0, rounding="SOMEHOW"), "rounding mode must be one of ROUND, HALF_EVEN"),
    "storage-order": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], storage_order=1),
                      "its storage_order must be 0, not 1"),
    "pool-dilation": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], dilations=[2, 2]),
                      "its dilations must be 1"),
    "pool-size": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[3, 2]), "equal kernel_shape"),
    "pool-large": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[9, 9]), "larger than the padded map"),
    "both-pads": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], pads=[1] * 4, auto_pad="VALID"),
                  r"its auto_pad VALID contradicts its pads"),
    "transposed": (lambda g: g.node("Gemm", g.node("Flatten", g.quant("x", 1.0)), g.weights(RNG(0), (1, 3)), transA=1),
                   "its transA must be 0, not 1"),
    "training": (lambda g: g.node("BatchNormalization", "x", *[g.constant(np.ones(2))] * 4, training_mode=1),
                 "its training_mode must be 0, not 1"),
    "antialias": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 2, 2]), antialias=1),
                  "its antialias must be 0"),
    "aspect": (lambda g: g.node("Resize", g.quant("x", 1.0), "", "", g.sizes([1, 2, 8, 8]),
                                keep_aspect_ratio_policy="not_larger"), "its keep_aspect_ratio_policy must be stretch"),
    "kernel": (lambda g: g.node("Conv", g.quant("x", 1.0), g.weights(RNG(0), (2, 2, 3, 3)), kernel_shape=[2, 2]),
               r"its kernel_shape must be that of the weights, \[3, 3\]"),
    "batch": (lambda g: g.node("Reshape", g.quant("x", 1.0), g.sizes([2, 16])), "it must keep the batch"),
    "axes": (lambda g: g.node("Transpose", g.quant("x", 1.0), perm=[1, 0, 2, 3]), "it must keep the batch"),
    "mean-axis": (lambda g: g.node("ReduceMean", g.quant("x", 1.0), g.sizes([1])),
                  r"over rows and columns, not over axes \[1\]"),
    "product": (lambda g: g.node("Mul", "x", "x"), "a product of two tensors of the network"),
    "rank": (lambda g: g.node("Add", g.quant("x", 1.0), g.node("Flatten", g.quant("x", 1.0))), "which must be equal"),
    "constant-rank": (lambda g: g.node("Add", g.node("Flatten", "x"), g.constant(np.zeros((1, 2, 4, 4)))),
                      "its last axes must be those of the tensor"),
    "top-axis": (lambda g: g.node("ArgMax", g.node("Flatten", "x")), "over the class scores"),
    "smallest": (lambda g: g.node("TopK", g.node("Flatten", "x"), g.sizes([1]), largest=0, outputs=2),
                 "its largest must be 1, not 0"),
    "threshold-layout": (lambda g: g.node("MultiThreshold", "x", g.constant([[0.5]]), out_dtype="UINT1",
                                          data_layout="NC"), "its data_layout NC does not fit a tensor of 4 axes"),
    "other-grid": (lambda g: g.node("DequantizeLinear", g.node("QuantizeLinear", "x", g.constant(0.1), word(g, 0)),
                                    g.constant(0.2), word(g, 0)), "must be those of the QuantizeLinear in front"),
    "words": (lambda g: g.node("Add", g.node("QuantizeLinear", "x", g.constant(0.1), word(g, 0)), word(g, 1)),
              "only a DequantizeLinear can read it"),
    "unnatural-output": (lambda g: g.node("Transpose", g.quant("x", 1.0), perm=[0, 2, 3, 1]), "is transposed"),
    "training-dropout": (lambda g: g.node("Dropout", "x", "", g.constant(True, dtype=bool)), "not be in training mode"),
}  # fmt: skip


def g_quant(g):
    return [g.constant(value) for value in (1.0, 0.0, 8.0)]


def word(g, value):
    return g.constant(value, dtype=np.uint8)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_name(tmp_path, name):
    make, message = REFUSED[name]
    g = Foreign((2, 4, 4))
    path = tmp_path / "made.onnx"
    path.write_bytes(g.model(make(g), (2, None, None)).SerializeToString())

    with pytest.raises(UserError, match=message) as caught:
        import_onnx(path)

    assert "\n" not in str(caught.value)


# How files come


@pytest.mark.parametrize("domain", ["onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general"])
def test_a_file_may_forget_to_import_the_quantisers(tmp_path, domain):
    """As published ones do, also behind qonnx' own clean-up."""
    from qonnx.util.cleanup import cleanup

    g = Foreign((1, 6, 6), domain=domain)
    path = g.saved(tmp_path, features(g), (3, 6, 6))
    g.imported = False
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(g.model(g.nodes[-1].output[0], (3, 6, 6)).SerializeToString())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cleanup(str(path), out_file=str(tmp_path / "clean.onnx"))

    wanted = golden.run(import_onnx(path), pixels_for((1, 6, 6))).output
    for other in (bare, tmp_path / "clean.onnx"):
        assert np.array_equal(golden.run(import_onnx(other), pixels_for((1, 6, 6))).output, wanted)


def test_a_flatten_before_the_first_quantiser_moves_behind_it(tmp_path):
    """Brevitas' TFC, SFC and LFC, FINN's first tutorial: they ran in the golden model, but nothing could be built."""
    g = Foreign((1, 6, 6), opset=13)
    shape = g.node("Concat", g.node("Unsqueeze", g.node("Gather", g.node("Shape", "x"), g.constant(0, dtype=np.int64)),
                                    g.sizes([0])), g.sizes([-1]), axis=0)  # fmt: skip
    x = g.node("Sub", g.node("Mul", g.node("Reshape", "x", shape), g.constant(2.0)), g.constant(1.0))
    x = g.quant(x, 0.317, 3, signed=1, narrow=1)
    program = equal(
        g.saved(tmp_path, g.quant(g.node("MatMul", x, g.weights(RNG(9), (36, 4))), 0.0317, 8, signed=1), (4,))
    )

    kinds = [type(op) for op in program.ops]
    assert kinds.index(Flatten) == kinds.index(Convolution) - 1
    stages_of(program)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("end", ["quant", "signs"])
def test_a_pool_of_sums_moves_behind_the_quantiser(tmp_path, falling, end):
    """The largest of sums is not that of what a negative factor makes of them: such channels are turned over."""
    g = Foreign((1, 8, 8))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(1), (4, 1, 3, 3)), g.constant([0.1, -0.2, 0.3, 0.05]))
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    gamma = np.array([1.2, -0.7, 0.9, -1.1]) if falling else np.array([1.2, 0.7, 0.9, 1.1])
    x = g.node("BatchNormalization", x, *(g.constant(part) for part in (gamma, [0.1] * 4, [0.2] * 4, [0.9] * 4)))
    x = g.quant(g.node("Relu", x), 0.0413, 5) if end == "quant" else g.node("BipolarQuant", x, g.constant(0.7))
    x = g.node("MatMul", g.node("Flatten", x), g.weights(RNG(2), (36, 5)))
    program = equal(g.saved(tmp_path, g.quant(x, 0.0313, 8, signed=1), (5,)))

    pool = next(op for op in program.ops if isinstance(op, MaxPool))
    assert not isinstance(program.by_name[pool.source], Convolution)
    assert any("_turned" in op.name for op in program.ops) == falling
    stages_of(program)


def test_numbers_and_lines_are_inputs_too(tmp_path):
    g = Foreign((7,))
    x = g.node("MatMul", g.quant("x", 0.0051, 7), g.weights(RNG(0), (7, 4)))
    program = equal(g.saved(tmp_path, g.quant(x, 0.0213, 8, signed=1), (4,)))
    assert program.input.shape == (7, 1, 1)

    g = Foreign((2, 12))
    x = g.node("MaxPool", features(g), kernel_shape=[2], strides=[2])
    program = equal(g.saved(tmp_path, x, (3, 6)))
    assert program.input.shape == (2, 1, 12)
    stages_of(program)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK"])
def test_what_stands_behind_class_scores_is_left_out_and_said(tmp_path, kind):
    g = Foreign((1, 4, 4))
    sums = g.quant(
        g.node("MatMul", g.node("Flatten", g.quant("x", 1 / 255)), g.weights(RNG(0), (16, 5))), 0.0313, 8, signed=1
    )
    plain = import_onnx(g.saved(tmp_path, sums, (5,)))
    more = [g.sizes([1])] if kind == "TopK" else []
    last = g.node(kind, sums, *more, outputs=len(more) + 1, **({} if kind == "Sigmoid" else {"axis": 1}))
    if kind == "Softmax":
        last = g.node("Flatten", last)

    program = import_onnx(g.saved(tmp_path, last, (5,)))

    assert f"{kind} behind the class scores is left out" in program.metadata["notes"]
    pixels = pixels_for((1, 4, 4))
    assert np.array_equal(golden.run(program, pixels).scores, golden.run(plain, pixels).scores)


# Other quantisers


def threshold_network(tmp_path, thresholds, **given):
    g = Foreign((1, 5, 5))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(1), (3, 1, 3, 3)))
    x = g.node("BatchNormalization", x, *(g.constant(part) for part in ([1, -1, 0.5], [0.1] * 3, [0.2] * 3, [1] * 3)))
    x = g.node("MultiThreshold", x, g.constant(thresholds), **given)
    x = g.node("MatMul", g.node("Flatten", x), g.weights(RNG(2), (27, 5)))
    return equal(g.saved(tmp_path, g.quant(x, 0.0313, 8, signed=1), (5,)))


@pytest.mark.parametrize("rows", [1, 3])
def test_thresholds_count_from_any_bias_and_make_bits(tmp_path, rows):
    levels = np.sort(RNG(rows).normal(0, 0.4, (rows, 5)), axis=1)
    program = threshold_network(tmp_path, levels, out_dtype="INT4", out_scale=0.5, out_bias=-1.5)
    assert any(isinstance(op, Threshold) and op.format == unsigned(3) for op in program.ops)

    program = threshold_network(tmp_path, levels[:, 2:3], out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0)
    assert any(isinstance(op, Threshold) and op.format == unsigned(1) for op in program.ops)
    stages_of(program)


def test_finn_holds_integers_without_quantisers(tmp_path):
    """What is made of QONNX for FINN: weights are integers by their annotation, thresholds are the activations."""
    g = Foreign((1, 5, 5))
    words = RNG(3).choice([-1, 1], (3, 1, 3, 3))
    weights = g.constant(words)
    g.annotations = {weights: "BIPOLAR", "x": "UINT8"}
    x = g.node("Conv", "x", weights)
    x = g.node("MultiThreshold", x, g.constant([[-200, 10, 300]]), out_dtype="UINT2")
    dense = g.constant(RNG(4).integers(-2, 2, (27, 4)))
    g.annotations[dense] = "INT2"
    x = g.node("Mul", g.node("MatMul", g.node("Flatten", x), dense), g.constant(0.125))
    program, found, expected = compared(g.saved(tmp_path, x, (4,)), scale=1.0)

    assert np.array_equal(found, expected)
    assert [op.weight_format for op in program.ops if isinstance(op, Convolution)] == [unsigned(1), signed(2)]
    assert program.steps["pixels"] == 1


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_a_mean_is_truncated_as_qonnx_does(tmp_path, newer, mode):
    """A TruncAvgPool of Brevitas, as in its MobileNet: a sum, of which bits are dropped."""
    g = Foreign((1, 7, 7))
    x = g.node(
        "Mul", g.node("AveragePool", features(g, scale=0.03), kernel_shape=[3, 3], strides=[3, 3]), g.constant(9.0)
    )
    given = [0.03, 0.0, 9.0, *([0.03 * 8, 6.0] if newer else [6.0])]
    more = {"signed": 0, "narrow": 0} if newer else {}
    x = g.node("Trunc", x, *(g.constant(value) for value in given), rounding_mode=mode, **more)
    path = g.saved(tmp_path, x, (3, 2, 2))
    if newer:
        model = onnx.load(path)
        next(entry for entry in model.opset_import if entry.domain == g.domain).version = 2
        onnx.save(model, path)

    program, found, expected = compared(path)

    off = np.abs(found - expected) / program.steps[program.output]
    # Halves are rounded up until a requantise rounds them to even.
    assert off.max() < 0.01 if mode == "FLOOR" else off.max() < 1.01 and np.mean(off < 0.01) > 0.7
    assert len(np.unique(found)) > 4


@pytest.mark.parametrize("zero", [0, 11, 128])
@pytest.mark.parametrize("per_axis", [False, True])
def test_plain_quantisers_of_onnx(tmp_path, zero, per_axis):
    """QuantizeLinear and DequantizeLinear with zero points, int8 weights along an axis, an int32 bias, a Clip."""
    g = Foreign((2, 6, 6))
    x = g.pair("x", 1 / 255)
    scales = np.linspace(0.004, 0.007, 4) if per_axis else 0.005
    zeros = np.zeros(4) if per_axis else 0
    words = g.constant(RNG(0).integers(-127, 128, (4, 2, 3, 3)), dtype=np.int8)
    weights = g.node("DequantizeLinear", words, g.constant(scales), g.constant(zeros, dtype=np.int8), axis=0)
    bias = g.node("DequantizeLinear", g.constant(RNG(1).integers(-900, 900, 4), dtype=np.int32),
                  g.constant(np.broadcast_to(scales, 4) / 255), axis=0)  # fmt: skip
    x = g.pair(g.node("Conv", x, weights, bias, pads=[1] * 4), 0.0191, zero)
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Flatten", g.pair(x, 0.0191, zero))
    float_weights = g.pair(g.constant(RNG(2).normal(0, 0.1, (5, 36))), 0.03, 0, dtype=np.int8, limits=(-7, 7))
    x = g.pair(g.node("Gemm", x, float_weights, transB=1), 0.0523, 0, dtype=np.int8)
    program = equal(g.saved(tmp_path, x, (5,)))

    assert [op.weight_format.bits for op in program.ops if isinstance(op, Convolution)] == [8, 4]
    assert sum(isinstance(op, Requantise) for op in program.ops) == 4  # the pair behind the pool changes nothing
    stages_of(program)


def test_files_of_onnxruntimes_static_quantisation(tmp_path):
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    rng = RNG(0)
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w1"], ["d"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w2", "b2"], ["y"], transB=1),
    ]
    held = {"w0": (4, 1, 3, 3), "b0": (4,), "w1": (4, 4, 1, 1), "w2": (5, 4), "b2": (5,)}
    tensors = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name) for name, shape in held.items()
    ]
    graph = helper.make_graph(
        nodes, "float", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], tensors,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "f.onnx")
    pixels = pixels_for((1, 8, 8), 40)
    real = pixels.astype(np.float32) / np.float32(255)

    class Reader(CalibrationDataReader):
        left = iter([{"x": image[None]} for image in real])

        def get_next(self):
            return next(self.left, None)

    logging.disable(logging.WARNING)
    quantize_static(
        tmp_path / "f.onnx", tmp_path / "q.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": image[None]})[0] for image in real])

    program = import_onnx(tmp_path / "q.onnx")

    found = golden.run(program, pixels).scores * program.steps[program.output]
    off = np.abs(found - expected) / program.steps[program.output]
    assert off.max() < 2.01 and np.mean(off < 0.5) > 0.9, (off.max(), np.mean(off < 0.5))
    stages_of(program)


def test_files_of_brevitas_plain_export(tmp_path):
    """``export_onnx_qcdq``: fewer bits are a Clip between the pair."""
    import brevitas.nn as qnn
    import torch
    from brevitas.quant import Uint8ActPerTensorFloat

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.export import export_onnx_qcdq

        net = torch.nn.Sequential(
            qnn.QuantIdentity(bit_width=8, act_quant=Uint8ActPerTensorFloat),
            qnn.QuantConv2d(1, 4, 3, bias=True, weight_bit_width=4, weight_scaling_per_output_channel=True),
            qnn.QuantReLU(bit_width=4), torch.nn.Flatten(), qnn.QuantLinear(144, 5, bias=False, weight_bit_width=5),
            qnn.QuantIdentity(bit_width=8),
        )  # fmt: skip
        pixels = pixels_for((1, 8, 8), 60)
        real = torch.from_numpy(pixels.astype(np.float32) / 255)
        for _ in range(30):
            net(real)
        net.eval()
        with torch.no_grad():
            expected = net(real).numpy()
        logging.disable(logging.WARNING)
        export_onnx_qcdq(net, args=real[:1], export_path=str(tmp_path / "b.onnx"), opset_version=18)
        logging.disable(logging.NOTSET)

    program = import_onnx(tmp_path / "b.onnx")

    off = np.abs(golden.run(program, pixels).scores * program.steps[program.output] - expected)
    assert np.mean(off < 0.5 * program.steps[program.output]) > 0.97
    assert [op.weight_format.bits for op in program.ops if isinstance(op, Convolution)] == [4, 5]


def test_a_sign_behind_an_addition(tmp_path):
    """As in binary networks with shortcuts."""
    g = Foreign((1, 6, 6))
    x = features(g)
    more = g.node("Conv", x, g.weights(RNG(4), (3, 3, 1, 1)), g.constant([0.13, -0.21, 0.37]))
    bits = g.node("BipolarQuant", g.node("Sub", more, x), g.constant(0.5))
    signs = g.node("BipolarQuant", g.constant(RNG(5).normal(size=(4, 3, 3, 3))), g.constant(0.25))
    program = equal(g.saved(tmp_path, g.quant(g.node("Conv", bits, signs), 0.21, 6, signed=1), (4, 4, 4)))

    assert [op.kernel for op in program.ops if isinstance(op, Convolution)] == ["mult", "mult", "xnor"]
    stages_of(program)


# The input


def input_network(tmp_path, *, kind=TensorProto.FLOAT, annotated=None, is_signed=1, cast=False):
    g = Foreign((2, 4, 4), kind=kind)
    if annotated:
        g.annotations = {"x": annotated}
    x = g.node("Cast", "x", to=TensorProto.FLOAT) if cast else "x"
    return g.saved(
        tmp_path, g.quant(x, 0.0131 if annotated is None and not cast else 1.93, 8, signed=is_signed), (2, 4, 4)
    )


def test_the_scale_and_offset_of_pixels_may_be_said(tmp_path):
    path = input_network(tmp_path)
    program = equal(path, scale=2 / 255, offset=-1.0, input_scale=2 / 255, input_offset=-1.0)

    assert program.metadata["notes"] == "the network reads 0.00784313725 * pixel - 1"
    assert "the first quantiser is signed" in import_onnx(path).metadata["notes"]
    assert "notes" not in import_onnx(input_network(tmp_path, is_signed=0)).metadata
    with pytest.raises(UserError, match="the input's scale must be a finite number, a scale not 0"):
        import_onnx(path, input_scale=0.0)


@pytest.mark.parametrize(
    ("annotated", "scale", "offset"), [("UINT8", 1, 0), ("INT8", 1, -128), ("BIPOLAR", 2, -1), ("FLOAT32", 1 / 255, 0)]
)
def test_the_annotation_of_the_input_says_what_a_pixel_is(tmp_path, annotated, scale, offset):
    path = input_network(tmp_path, annotated=annotated)
    program = import_onnx(path)

    assert program.steps["pixels"] == scale
    if scale >= 1:
        equal(path, scale=scale, offset=offset)


def test_bytes_are_read_as_bytes(tmp_path):
    """An input of type uint8 that the file casts to float."""
    program = import_onnx(input_network(tmp_path, kind=TensorProto.UINT8, cast=True))

    found = golden.run(program, pixels_for((2, 4, 4))).output
    expected = np.rint(pixels_for((2, 4, 4)) / np.float32(1.93)).clip(-128, 127)
    assert np.array_equal(found, expected)


def test_an_offset_meets_the_next_layer_without_a_quantiser(tmp_path):
    """(x + 1) / 2 of inputs of -1 and +1, read by a dense layer at once, as a published network has it."""
    g = Foreign((9,))
    g.annotations = {"x": "BIPOLAR"}
    x = g.node("Div", g.node("Add", "x", g.constant([4.0])), g.constant(2.0))
    x = g.node("Gemm", x, g.weights(RNG(0), (4, 9)), transB=1)
    path = g.saved(tmp_path, g.quant(x, 0.0171, 8, signed=1), (4,))

    equal(path, scale=2.0, offset=-1.0, pixels=RNG(1).integers(0, 2, (20, 9, 1, 1)).astype(np.uint8))


def test_channels_last_inputs_are_held_with_channels_first(tmp_path):
    g = Foreign((5, 6, 2))
    x = g.node("Transpose", "x", perm=[0, 3, 1, 2])
    x = g.node("Conv", g.quant(x, 1 / 255), g.weights(RNG(0), (3, 2, 3, 3)))
    x = g.node("Reshape", g.node("Transpose", g.quant(x, 0.02113, 7, signed=1), perm=[0, 2, 3, 1]), g.sizes([1, -1]))
    x = g.quant(g.node("MatMul", x, g.weights(RNG(1), (36, 4))), 0.0313, 8, signed=1)
    path = g.saved(tmp_path, x, (4,))
    program, pixels = import_onnx(path), pixels_for((2, 5, 6), 200)

    expected = in_qonnx(path, pixels.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255))
    found = golden.run(program, pixels).scores * program.steps[program.output]
    alike(found, expected, program.steps[program.output])
    assert np.ptp(expected) > 0.5


def test_scale_and_offset_on_the_command_line(tmp_path, capsys):
    path = input_network(tmp_path)
    out = str(tmp_path / "n.addax")

    assert main(["quantize", str(path), "--input-scale", "0.0078", "--input-offset", "-1", "-o", out]) == 0
    assert "0.0078 * pixel - 1" in " ".join(capsys.readouterr().out.split())
    assert main(["quantize", "lenet5", "--data", "digits", "--input-scale", "2", "-o", out]) == 1
    assert "--input-scale and --input-offset are for ONNX files" in capsys.readouterr().err


# Broken files


def broken_files():
    def bad_type(g):
        g.constants[0].data_type = 99

    def no_value(g):
        g.nodes.insert(0, helper.make_node("Constant", [], ["none"]))

    def no_kind(g):
        g.nodes[0].attribute[0].type = 0

    def no_inputs(g):
        del g.nodes[0].input[1:]

    def text(g):
        g.constants[0].CopyFrom(helper.make_tensor(g.constants[0].name, TensorProto.STRING, [1], ["a"]))

    return {"type": bad_type, "value": no_value, "kind": no_kind, "inputs": no_inputs, "text": text}


@pytest.mark.parametrize("name", broken_files())
def test_broken_graphs_are_named(tmp_path, name):
    """They ended in an internal error."""
    g = Foreign((1, 6, 6))
    last = features(g)
    broken_files()[name](g)
    path = tmp_path / "broken.onnx"
    path.write_bytes(g.model(last, (3, 6, 6)).SerializeToString())

    with pytest.raises(UserError, match=r"broken\.onnx") as caught:
        import_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_graph_cannot_make_a_constant_that_fills_the_memory(tmp_path):
    g = Foreign((1, 6, 6))
    column, row = g.constant(np.zeros((20000, 1))), g.constant(np.zeros((1, 20000)))
    path = g.saved(tmp_path, g.node("Add", "x", g.node("Add", column, row)), (1, 6, 6))

    with pytest.raises(UserError, match=r"makes a constant of 4e\+08 elements"):
        import_onnx(path)


def test_a_network_without_quantisers_is_told_so(tmp_path):
    g = Foreign((1, 6, 6))
    path = g.saved(tmp_path, g.node("Conv", "x", g.constant(np.ones((1, 1, 3, 3)))), (1, 4, 4))

    with pytest.raises(UserError, match="the file has none, it is a network of real numbers: quantise and export it"):
        import_onnx(path)


def test_bytes_changed_at_random_are_a_users_mistake_at_most(tmp_path):
    """A broken file ends in one line that names it, whatever is broken."""
    rng, path = RNG(0), tmp_path / "changed.onnx"
    graphs = [random_network(seed) for seed in range(12)]
    files = [graph.model(output, shape).SerializeToString() for graph, output, shape in graphs]
    for k in range(400):
        changed = bytearray(files[k % len(files)])
        for place in rng.integers(0, len(changed), rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            import_onnx(path)
        except UserError as error:
            assert "changed.onnx" in str(error) and "\n" not in str(error), k


def test_tensors_in_other_files_are_refused(tmp_path):
    """A file is no reason to open another one: its path could be any."""
    g = Foreign((1, 6, 6))
    path = g.saved(tmp_path, features(g), (3, 6, 6))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(UserError, match="stands in another file; save the model with its data inside"):
        import_onnx(path)
