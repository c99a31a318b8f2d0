"""Inputs of any format and shape: every executor and every file takes the integers that the Program says it takes."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from addax.common.errors import UserError
from addax.common.tensors import HEADER
from addax.quant import golden
from addax.quant.builder import ProgramBuilder
from addax.quant.export import export
from addax.quant.files.archive import describe, load_program, program_bytes, save_program
from addax.quant.files.npz import import_npz
from addax.quant.formats import Format, signed, unsigned
from addax.quant.onnx.qcdq import qcdq_model
from addax.quant.onnx.read import import_onnx
from addax.quant.onnx.write import qonnx_model
from addax.quant.ops.ends import Input, map_shape
from addax.quant.program import Program
from inputs import FIRST, FORMATS, values_for, with_input
from naive import check
from safetensors.numpy import save

WIDE = signed(32)
TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@pytest.mark.parametrize("fmt", [*FORMATS, unsigned(2), signed(3), signed(16)], ids=str)
@pytest.mark.parametrize("first", FIRST)
def test_golden_model_equals_the_loops_for_any_format_and_first_operation(fmt, first):
    """Every kernel, pads, pools, moves, and what normalises an input."""
    program = with_input(fmt, first)

    check(program, values_for(program, 4))


@pytest.mark.parametrize("fmt", [signed(32), unsigned(32), unsigned(1), signed(1), signed(24)], ids=str)
def test_golden_model_equals_the_loops_for_the_widest_and_narrowest(fmt):
    """No kernel reads so many bits, but what normalises an input does."""
    program = with_input(fmt, "threshold")

    check(program, values_for(program, 8))


def test_values_of_any_type_give_the_same():
    """What counts is whether the format holds them, not how numpy does."""
    program = with_input(unsigned(4), "adder")
    values = values_for(program, 5)
    expected = golden.run(program, values).output

    for kind in TYPES:
        assert np.array_equal(golden.run(program, values.astype(kind)).output, expected), kind


@pytest.mark.parametrize(
    ("values", "came"),
    [
        (np.full((1, 2, 4, 4), 2048, np.int16), r"int16 of shape \(1, 2, 4, 4\) in 2048..2048"),
        (np.full((1, 2, 4, 4), -2049), r"int64 of shape \(1, 2, 4, 4\) in -2049..-2049"),
        (np.full((1, 2, 4, 4), 1 << 63, np.uint64), r"uint64 of shape \(1, 2, 4, 4\) in 9223372036854775808.."),
        (np.zeros((1, 2, 4, 4)), r"float64 of shape \(1, 2, 4, 4\) in 0.0..0.0"),
        (np.zeros((1, 2, 4, 4), bool), r"bool of shape \(1, 2, 4, 4\);"),
        (np.zeros((1, 4, 2, 4), int), r"int64 of shape \(1, 4, 2, 4\) in 0..0"),
        (np.zeros((1, 32), int), r"int64 of shape \(1, 32\) in 0..0"),
    ],
)  # fmt: skip
def test_values_that_the_format_does_not_hold_are_refused(values, came):
    """Type, shape and range are in the one line, since each of them may be the mistake."""
    program = with_input(signed(12), "mult")

    with pytest.raises(ValueError, match=rf"^pixels must be int12 of shape \(N, 2, 4, 4\), not {came}"):
        golden.run(program, values)


# Shapes


@pytest.mark.parametrize(
    ("shape", "stored"), [((5,), (5, 1, 1)), ((3, 7), (7, 1, 3)), ((2, 4, 6), (2, 4, 6)), ([5], (5, 1, 1))]
)  # fmt: skip
def test_features_and_tokens_are_stored_as_maps(shape, stored):
    """So no operation needs to know of other ranks; tokens are pixels of one row, as the numerics say."""
    assert map_shape(shape) == stored
    assert ProgramBuilder(shape, format=signed(9)).shape() == stored


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4), (0,), (3, -1), (2.0,), (True,), 7, None, "ab"])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="shape"):
        ProgramBuilder(shape)


def test_features_and_tokens_need_not_be_given_as_maps():
    """(N, F) and (N, T, F) are the same values as the (N, C, H, W) that the Program stores."""
    for shape in ((6,), (5, 6)):
        program = with_input(signed(12), "mult", shape=map_shape(shape))
        values = np.random.default_rng(0).integers(-2048, 2048, (3, *shape))
        tokens = values.reshape(3, -1, 6)  # (N, T, F)
        stored = np.stack([[[[t[f] for t in image]] for f in range(6)] for image in tokens.tolist()])

        assert np.array_equal(golden.run(program, values).output, golden.run(program, stored).output)


@pytest.mark.parametrize("bits", [33, 64])
def test_input_has_at_most_32_bits(bits):
    with pytest.raises(UserError, match=f"pixels: format must have at most 32 bits, not int{bits}"):
        ProgramBuilder((1, 1, 1), format=signed(bits))


# Files


@pytest.mark.parametrize("fmt", [*FORMATS, WIDE], ids=str)
def test_archive_and_npz_bring_the_input_back(tmp_path, fmt):
    program = with_input(fmt, "threshold")
    save_program(tmp_path / "p.addax", program)

    found = load_program(tmp_path / "p.addax")

    assert found.input.format == fmt and program_bytes(found) == program_bytes(program)
    assert program_bytes(import_npz(export(program, tmp_path / "npz", fmt="npz"))) == program_bytes(program)


def test_pixels_leave_their_format_out_of_files():
    """Files of images are the bytes that they were before an input could have another format."""
    program = with_input(unsigned(8), "mult")
    said = program_bytes(program)

    assert b'"op": "Input", "name": "pixels", "source": "", "shape": [2, 4, 4]}'.replace(b'"', b'\\"') in said
    assert b'\\"format\\": {\\"bits\\": 12, \\"signed\\": true}}' in program_bytes(with_input(signed(12), "mult"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"bits": 33, "signed": True}, "at most 32 bits"), ({"bits": 0, "signed": True}, "bits of a format"),
        ({"bits": 12, "signed": 2}, "signed must be"), ({"bits": 12}, "signed"), ([12], "must be a Format"),
        (None, "must be a Format"), ({"bits": 12, "signed": True, "x": 1}, "unexpected"),
        ({"bits": 1e9, "signed": True}, "bits of a format"),
    ],
)  # fmt: skip
def test_hostile_formats_in_a_file_are_one_line(tmp_path, said, message):
    tensors, header = describe(with_input(signed(12), "mult"))
    header["graph"][0]["format"] = said
    (tmp_path / "p.addax").write_bytes(save(tensors, metadata={HEADER: json.dumps(header)}))

    with pytest.raises(UserError, match=message) as caught:
        load_program(tmp_path / "p.addax")

    assert "\n" not in str(caught.value)


# ONNX


def in_onnxruntime(model, values):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"pixels": values.astype(np.float32)})[0]


def check_graph(make, program, path):
    """The graph that ``make`` makes gives the golden model's scores, and reads back as the same Program."""
    values = values_for(program, 20)
    model = make(program)
    onnx.save(model, path)

    assert np.array_equal(in_onnxruntime(model, values), golden.run(program, values).scores)
    assert program_bytes(import_onnx(path)) == program_bytes(program)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("first", ["adder", "mult", "requantise", "threshold"])
def test_qonnx_gives_the_scores_of_the_golden_model_and_reads_back(tmp_path, fmt, first):
    check_graph(qonnx_model, with_input(fmt, first), tmp_path / "p.onnx")


@pytest.mark.parametrize(("fmt", "first"), [(signed(8), "mult"), (unsigned(4), "mult"), (signed(12), "requantise"),
                                            (unsigned(16), "requantise"), (signed(8), "pool")])  # fmt: skip
def test_qcdq_gives_the_scores_of_the_golden_model_and_reads_back(tmp_path, fmt, first):
    """Bytes and fewer bits go through a quantiser, more through a clip, which standard operations have for them."""
    check_graph(qcdq_model, with_input(fmt, first), tmp_path / "p.onnx")


def test_onnx_refuses_what_no_float_holds():
    for model in (qonnx_model, qcdq_model):
        with pytest.raises(UserError, match="pixels is int32; an ONNX file takes floats, which hold integers up to"):
            model(with_input(WIDE, "requantise"))


# C


@pytest.mark.parametrize("fmt", [*FORMATS, WIDE, unsigned(24)], ids=str)
def test_c_reference_reads_words_of_the_format(tmp_path, fmt):
    """In the narrowest type of C that holds them, with its sign."""
    program = with_input(fmt, "threshold" if fmt.bits > 16 else "adder")
    values = values_for(program, 20)
    folder = export(program, tmp_path / "out", fmt="c")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]
    subprocess.run(["gcc", *strict, "network.c", "-o", "network"], cwd=folder, check=True)
    kind = next(k for k in (8, 16, 32) if fmt.bits <= k)

    done = subprocess.run(
        [folder / "network"], input=values.astype(f"{'i' if fmt.signed else 'u'}{kind // 8}").tobytes(), check=True,
        capture_output=True,
    )  # fmt: skip

    printed = np.array([[int(word) for word in line.split()] for line in done.stdout.decode().splitlines()])
    expected = golden.run(program, values)
    assert np.array_equal(printed, np.concatenate([expected.scores, expected.classes[:, None]], axis=1))


def test_an_input_that_is_no_format_is_refused():
    program = with_input(signed(12), "mult")

    for wrong in (12, None, (12, True), "int12"):
        with pytest.raises(ValueError, match="pixels: format must be a Format"):
            Program(ops=(replace(program.input, format=wrong), *program.ops[1:]))
    assert repr(Input(name="a", shape=(1, 1, 1), format=Format(bits=5, signed=True))).endswith("format=int5)")
