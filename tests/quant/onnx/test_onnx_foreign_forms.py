"""The forms in which foreign files come: their inputs, their order of operations, what stands behind the scores."""

import warnings

import numpy as np
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.dataflow.stages import stages_of
from addax.quant import golden
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Convolution, Flatten, MaxPool, Slice
from alike import RNG, alike, equal, features
from foreign import Foreign, in_qonnx, pixels_for
from onnx import TensorProto

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


def input_network(tmp_path, *, kind=TensorProto.FLOAT, annotated=None, is_signed=1, cast=False):
    g = Foreign((2, 4, 4), kind=kind)
    if annotated:
        g.annotations = {"x": annotated}
    x = g.node("Cast", "x", to=TensorProto.FLOAT) if cast else "x"
    return g.saved(
        tmp_path, g.quant(x, 0.0131 if annotated is None and not cast else 1.93, 8, signed=is_signed), (2, 4, 4)
    )


# The input


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


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [1], None),
        ([0], [np.iinfo(np.int64).max], [-1], [2]),
        ([-3, 1], [-1, 9], [2, 3], [1, 3]),
        ([0, 1, 0, 0], [(1 << 31) - 1, 3, 6, 6], None, None),
    ],
)
def test_slices_become_slices(tmp_path, starts, ends, axes, steps):
    """Of channels, rows and columns, counted from either end; a Program holds one axis in each."""
    g = Foreign((2, 6, 6))
    x = g.quant(g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(4), (4, 2, 1, 1))), 0.05, 5, signed=1)
    parts = [g.sizes(part) for part in (starts, ends, *([axes] if axes else []), *([steps] if steps else []))]
    x = g.node("Slice", x, *parts)
    shape = np.zeros((1, 4, 6, 6))
    for axis, start, end, step in zip(axes or range(4), starts, ends, steps or [1] * 4, strict=False):
        shape = shape[(slice(None),) * (axis % 4) + (slice(start, end, step),)]
    program = equal(g.saved(tmp_path, g.quant(x, 0.07, 5, signed=1), shape.shape[1:]))

    assert sum(isinstance(op, Slice) for op in program.ops) == len(axes or [1])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0], [1], [0]), r"cuts axis 0 of .*; images stay whole"),
        (([3], [1], [2]), r"must keep some of 6 in their order, not 3:1:1"),
        (([5], [0], [2], [-1]), r"must keep some of 6 in their order, not 5:0:-1"),
        (([0], [1], [7]), r"cuts axis 7 of"),
        (([0, 1], [1], [2]), r"shorter|longer"),
    ],
)
def test_slices_that_no_program_can_say_are_refused(tmp_path, parts, message):
    g = Foreign((2, 6, 6))
    x = g.node("Slice", g.quant("x", 1 / 255), *(g.sizes(part) for part in parts))

    with pytest.raises(UserError, match=message):
        import_onnx(g.saved(tmp_path, g.quant(x, 0.1), (2, 6, 6)))


@pytest.mark.parametrize("slope", [0.25, 0.1, [0.5, 0.01, 1.5, 0.125]])
@pytest.mark.parametrize("behind", ["bias", "batch norm", "scaled and pooled"])
def test_leaky_activations_become_second_slopes(tmp_path, slope, behind):
    """Sum by sum, whatever stands in front and behind: one requantise with two factors and two offsets."""
    g = Foreign((2, 6, 6))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(4), (4, 2, 1, 1)), g.constant([0.1, -0.2, 0.3, 0.05]))
    if behind == "batch norm":
        numbers = ([1.5, -0.7, 1.0, 0.3], [0.1, 0.2, -0.3, 0.0], [0.0, 0.1, 0.2, 0.3], [0.5, 1.0, 1.5, 2.0])
        x = g.node("BatchNormalization", x, *(g.constant(values) for values in numbers))
    if isinstance(slope, list):
        x = g.node("PRelu", x, g.constant(np.array(slope).reshape(4, 1, 1)))
    else:
        x = g.node("LeakyRelu", x, alpha=slope)
    shape = (4, 6, 6)
    if behind == "scaled and pooled":
        x = g.node("MaxPool", g.node("Mul", x, g.constant(1.75)), kernel_shape=[2, 2], strides=[2, 2])
        shape = (4, 3, 3)
    program = equal(g.saved(tmp_path, g.quant(x, 0.0317, 6, signed=1), shape))

    assert sum(getattr(op, "bends", False) for op in program.ops) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g, x: g.node("LeakyRelu", x, alpha=-0.5), r"its slopes must be positive numbers, not -0\.5\.\.-0\.5"),
        (lambda g, x: g.node("PRelu", x, g.constant([np.nan])), "its slopes must be positive numbers"),
        (lambda g, x: g.node("LeakyRelu", g.node("Relu", x)), "behind a ReLU, a pool or an addition needs a quantiser"),
        (lambda g, x: g.node("LeakyRelu", g.node("Add", x, x)), "behind a ReLU, a pool or an addition needs a quant"),
        (lambda g, x: g.node("Add", g.node("LeakyRelu", x), g.constant(1.0)), "an offset or a negative factor behind"),
        (lambda g, x: g.node("Mul", g.node("LeakyRelu", x), g.constant(-1.0)), "an offset or a negative factor behind"),
    ],
)
def test_leaky_activations_that_no_requantise_says_are_refused(tmp_path, make, message):
    g = Foreign((2, 6, 6))
    x = g.quant(g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(4), (4, 2, 1, 1))), 0.05, 5, signed=1)

    with pytest.raises(UserError, match=message):
        import_onnx(g.saved(tmp_path, g.quant(make(g, x), 0.1), (4, 6, 6)))
