"""Second slopes of a requantise, sums of stored tensors, slices and constants: what they are, what is refused."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from addax.common.errors import UserError
from addax.quant import golden
from addax.quant.files.archive import describe, load_program, program_bytes, rebuild, save_program
from addax.quant.formats import signed, unsigned
from addax.quant.onnx.qcdq import qcdq_model
from addax.quant.onnx.read import import_onnx
from addax.quant.ops.base import Tensor
from addax.quant.program import ArgMax, Concat, Constant, Convolution, Input, Program, Requantise, Slice
from naive import check
from networks import random_bending, random_images

SEEDS = range(40)
MANY = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
BELOW = {"second": np.array([1]), "knee": 100, "second_offset": np.array([150])}


def leaky(**changes):
    """``y = 2 * x - 100`` from 100 on, ``x // 2 + 75`` below."""
    fields = {"multiplier": np.array([4]), "offset": np.array([-200]), "shift": 1, "format": signed(10)} | BELOW
    op = Requantise(name="leaky", source="pixels", lo=-512, hi=511, **(fields | changes))
    return Program(ops=(Input(name="pixels", shape=(1, 1, 1)), op))


@pytest.mark.parametrize("seed", SEEDS)
def test_golden_model_is_loops_over_integers(seed):
    """Every tensor, by both kinds of loops, against the oracle that shares nothing with them."""
    program = random_bending(seed)

    check(program, random_images(program, 2, seed))


def test_networks_have_what_they_are_to_try():
    """Else the tests that take them would protect nothing: both sides of knees, doubled tensors, every axis."""
    seen = set()
    for seed in SEEDS:
        program = random_bending(seed)
        found = golden.run(program, random_images(program, 3, seed), trace=True).tensors
        for op in program.ops:
            if isinstance(op, Slice):
                seen.add(op.axis)
            if isinstance(op, Requantise) and op.bends:
                below = found[op.source] < op.knees[:, None, None]
                seen |= {("below", bool(below.any())), ("above", not below.all()), ("ties", op.ties, bool(op.terms))}
            if isinstance(op, Requantise) and op.residual is not None:
                seen.add(("sum", op.residual == op.source, isinstance(op.knee, np.ndarray)))
    wanted = {"C", "H", "W", ("below", True), ("above", True)}
    wanted |= {("ties", ties, few) for ties in ("up", "even") for few in (False, True)}
    assert wanted | {("sum", same, bent) for same in (False, True) for bent in (False, True)} <= seen


def test_second_slope_by_its_definition():
    x = np.arange(256)

    y = golden.run(leaky(), MANY).output.reshape(-1)

    assert y.tolist() == np.where(x >= 100, (4 * x - 200) >> 1, (x + 150) >> 1).tolist()


def test_one_slope_twice_is_no_second_slope():
    """So that equal operations are equal files, and hardware of one slope is built for them."""
    once = leaky(second=None, knee=0, second_offset=None)

    same = leaky(second=np.array([4]), knee=7, second_offset=np.array([-200]))
    op = leaky(second_offset=np.array([-200])).ops[1]

    assert program_bytes(same) == program_bytes(once)
    assert (same.ops[1].second, same.ops[1].knee) == (None, 0)
    assert op.second_offset is None
    assert op.second.tolist() == [1]
    assert leaky(knee=np.array([100])).ops[1].knee == 100


def test_file_without_a_second_slope_does_not_mention_one():
    data = program_bytes(leaky(second=None, knee=0, second_offset=None))

    assert not any(word in data for word in (b"second", b"knee"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": None}, "a knee or an offset below it needs a second slope"),
        ({"second": None, "second_offset": None}, "a knee or an offset below it needs a second slope"),
        ({"second": None, "knee": 0}, "a knee or an offset below it needs a second slope"),
        ({"second": np.array([1, 2])}, r"N must be 1 values, not \(2,\)"),
        ({"second": np.array([[1]])}, r"N must be 1 values, not \(1, 1\)"),
        ({"second": np.array([32768])}, r"N must be in -32767\.\.32767"),
        ({"second": np.array([-32768])}, r"N must be in -32767\.\.32767"),
        ({"second": np.array([1.0])}, "second must be 64-bit integers, not float64"),
        ({"second": 5}, "second must be a numpy array of 64-bit integers, not int"),
        ({"second_offset": np.array([1 << 40])}, r"D must fit int24"),
        ({"second_offset": np.zeros(0, np.int64)}, r"D must be 1 values, not \(0,\)"),
        ({"second_offset": (1,)}, "second_offset must be a numpy array of 64-bit integers, not tuple"),
        ({"knee": 257}, r"T0 must be in 0\.\.256"),
        ({"knee": -1}, r"T0 must be in 0\.\.256"),
        ({"knee": np.array([0, 1])}, r"T0 must be 1 values, not \(2,\)"),
        ({"knee": True}, "knee must be an integer or one for each channel, not True"),
        ({"knee": "5"}, "knee must be an integer or one for each channel, not '5'"),
        ({"terms": 1, "second": np.array([3])}, "factor 3 is no sum of 1 signed powers of two"),
    ],
)  # fmt: skip
def test_second_slope_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"^leaky: {message}"):
        leaky(**changes)


@pytest.mark.parametrize("knee", [0, 256])
def test_knee_may_stand_at_either_end(knee):
    """Then one slope never acts, which a channel of many may want."""
    x, program = np.arange(256), leaky(knee=knee)

    y = golden.run(program, MANY).output.reshape(-1)

    assert y.tolist() == ((x + 150) >> 1 if knee else (4 * x - 200) >> 1).tolist()
    check(program, MANY[::17])


@pytest.mark.parametrize(("lower", "saturates"), [(0, False), (1 << 20, True)])
def test_scores_of_a_second_slope_must_not_saturate(lower, saturates):
    """Neither side may, each over its own sums."""
    ops = (*leaky(second_offset=np.array([lower])).ops, ArgMax(name="argmax", source="leaky"))
    if not saturates:
        assert Program(ops=ops).classes == 1
        return
    with pytest.raises(ValueError, match=r"^argmax: scores could leave -512\.\.511 and saturate$"):
        Program(ops=ops)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axis": "N"}, "axis must be one of C, H, W, not 'N'"),
        ({"start": -1}, "a slice -1:2:1 is no part of 3 along C"),
        ({"start": 2}, "a slice 2:2:1 is no part of 3 along C"),
        ({"stop": 4}, "a slice 0:4:1 is no part of 3 along C"),
        ({"step": 0}, "a slice 0:2:0 is no part of 3 along C"),
        ({"step": -1}, "a slice 0:2:-1 is no part of 3 along C"),
        ({"stop": 2.0}, "stop must be an integer, not 2.0"),
        ({"axis": 1}, "axis must be text, not 1"),
    ],
)  # fmt: skip
def test_slice_of_what_is_not_there_is_refused(fields, message):
    cut = Slice(**({"name": "cut", "source": "pixels", "axis": "C", "start": 0, "stop": 2, "step": 1} | fields))
    with pytest.raises(ValueError, match=f"^cut: {message}$"):
        Program(ops=(Input(name="pixels", shape=(3, 4, 5)), cut))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3), np.int64), r"value must be channels, rows and columns, not of shape \(2, 3\)"),
        (np.zeros((1, 0, 3), np.int64), r"value must be channels, rows and columns, not of shape \(1, 0, 3\)"),
        (np.full((1, 1, 1), 16), r"value must fit uint4, not 16\.\.16"),
        (np.zeros((1, 1, 1)), "value must be 64-bit integers, not float64"),
    ],
)
def test_constant_that_is_no_tensor_is_refused(value, message):
    with pytest.raises(ValueError, match=f"^zeros: {message}$"):
        Program(ops=(Input(name="pixels", shape=(1, 1, 1)), Constant(name="zeros", value=value, format=unsigned(4))))


def standard():
    """What QCDQ can say: slopes, a sum of one tensor with itself, zeros beside features, every other column."""
    rng = np.random.default_rng(3)
    conv = Convolution(
        name="conv", source="pixels", kernel="mult", weight=rng.integers(-7, 8, (3, 2, 1, 1)), weight_format=signed(4),
        pad=np.zeros(2, np.int64),
    )  # fmt: skip
    fields = {"format": signed(8), "lo": -128, "hi": 127, "shift": 5}
    bent = Requantise(
        name="bent", source="conv", multiplier=np.array([3, -2, 4]), offset=np.array([16, 3, -9]),
        second=np.array([1, 2, -4]), knee=np.array([-300, 0, 250]), second_offset=np.array([16, 16, 0]), **fields,
    )  # fmt: skip
    twice = Requantise(
        name="twice", source="bent", multiplier=np.full(3, 32), offset=np.full(3, 16), residual="bent",
        residual_multiplier=-16, **fields,
    )  # fmt: skip
    zeros = Constant(name="zeros", value=np.zeros((2, 4, 5), np.int64), format=signed(8))
    both = Concat(name="both", source="zeros", others=("twice", "zeros"))
    cut = Slice(name="cut", source="both", axis="W", start=1, stop=5, step=2)
    return Program(ops=(Input(name="pixels", shape=(2, 4, 5)), conv, bent, twice, zeros, both, cut))


def test_qcdq_computes_the_same_and_comes_back(tmp_path):
    """Of standard operations alone, in onnxruntime."""
    program = standard()
    images, model = random_images(program, 20, 0), qcdq_model(program)
    (tmp_path / "network.onnx").write_bytes(model.SerializeToString())

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": images.astype(np.float32)})[0]

    assert np.array_equal(found, check(program, images).output)
    assert {node.domain for node in model.graph.node} == {""}
    assert program_bytes(import_onnx(tmp_path / "network.onnx")) == program_bytes(program)


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("bent", "second", np.array([1, 2]), r"bent: N must be 3 values"),
        ("bent", "knee", np.array([1 << 40, 0, 0]), r"bent: T0 must be in"),
        ("bent", "second_offset", np.array([[1, 2, 3]]), r"bent: D must be 3 values"),
        ("zeros", "value", np.zeros(3, np.int64), r"zeros: value must be channels, rows and columns"),
    ],
)
def test_file_with_foreign_numbers_is_refused(tmp_path, name, field, value, message):
    """By one line that names the operation."""
    tensors, header = describe(standard())

    with pytest.raises(ValueError, match=f"^{message}"):
        rebuild(tensors | {f"{name}.{field}": value}, header)


@pytest.mark.parametrize(("field", "value"), [("stop", 9), ("axis", "Q"), ("step", 0), ("start", True), ("stop", None)])
def test_file_with_a_foreign_slice_is_refused(field, value):
    tensors, header = describe(standard())
    graph = [entry | ({field: value} if entry["name"] == "cut" else {}) for entry in header["graph"]]

    with pytest.raises(ValueError, match=r"^cut: "):
        rebuild(tensors, header | {"graph": graph})


def test_broken_file_ends_in_one_line(tmp_path):
    save_program(tmp_path / "a.addax", standard())
    data = (tmp_path / "a.addax").read_bytes().replace(b'\\"axis\\": \\"W\\"', b'\\"axis\\": \\"Z\\"')
    (tmp_path / "b.addax").write_bytes(data)

    assert program_bytes(load_program(tmp_path / "a.addax")) == program_bytes(standard())
    with pytest.raises(UserError, match=r"b\.addax is a broken \.addax file: cut: axis must be one"):
        load_program(tmp_path / "b.addax")


def test_second_slope_stays_when_a_field_is_replaced():
    """Folding and regridding make operations of others by ``replace``."""
    op = leaky().ops[1]

    assert replace(op, name="other").second.tolist() == [1]
    assert replace(op, second_offset=op.offset).second_offset is None


def test_bounds_are_those_of_every_value():
    """Folding asks for them: of a slice those of its channels, of a constant its own."""
    program = standard()
    found = golden.run(program, random_images(program, 200, 4), trace=True).tensors

    def bounds(name):
        op = program.by_name[name]
        return op.bounds([Tensor(program.shape(source), program.format(source)) for source in op.sources], bounds)

    for op in program.ops:
        least, most = bounds(op.name)
        seen = found[op.name].transpose(1, 0, 2, 3).reshape(len(least), -1)
        assert (least <= seen.min(1)).all() and (seen.max(1) <= most).all(), op.name
    assert [part.tolist() for part in bounds("zeros")] == [[0, 0]] * 2
    assert [part.tolist() for part in bounds("cut")] == [[0, 0, *[-128] * 3, 0, 0], [0, 0, *[127] * 3, 0, 0]]
