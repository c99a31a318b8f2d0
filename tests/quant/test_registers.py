"""Every kind of operation is known to every consumer, and a new one needs no change of the package."""

import subprocess

import numpy as np
import onnxruntime
import pytest
from addax.common.errors import UserError
from addax.quant import program as programs
from addax.quant.export import export
from addax.quant.files.archive import load_program, program_bytes, save_program
from addax.quant.files.npz import import_npz
from addax.quant.formats import unsigned
from addax.quant.golden import run
from addax.quant.onnx.qcdq import qcdq_model
from addax.quant.onnx.read import import_onnx
from addax.quant.onnx.write import qonnx_model
from addax.quant.ops.base import Op
from addax.quant.ops.register import Register
from negate import REGISTERS, negated, negation

KINDS = [kind for kind in vars(programs).values() if isinstance(kind, type) and issubclass(kind, Op) and kind is not Op]
IMAGES = np.random.default_rng(5).integers(0, 256, (9, 2, 4, 4), np.uint8)


@pytest.fixture
def negate():
    with negation():
        yield


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.consumer)
def test_every_operation_stands_in_every_register(register):
    """One that stands in none would be found by the first user who needs it."""
    assert len(KINDS) == 24
    assert [kind.__name__ for kind in KINDS if kind not in register] == []
    assert set(register) == set(KINDS), "entries of operations that a Program cannot hold"


def test_operation_without_a_form_is_refused_by_name():
    thresholds = programs.Threshold(
        name="levels", source="pixels", thresholds=np.array([[1, 5, 9]]), falling=np.zeros(1, np.int64),
        format=unsigned(2),
    )  # fmt: skip
    program = programs.Program(ops=(programs.Input(name="pixels", shape=(1, 2, 2)), thresholds))

    with pytest.raises(UserError, match=r"^levels has no QCDQ form: it counts thresholds, .*; export qonnx instead$"):
        qcdq_model(program)


def test_register_refuses_a_second_entry_and_names_what_it_lacks():
    register: Register[int] = Register("the test")
    register.register(programs.Flatten, 1)

    assert register.of(programs.Flatten(name="flat", source="x")) == 1
    with pytest.raises(ValueError, match=r"^the test knows operation Flatten already$"):
        register.register(programs.Flatten, 2)
    with pytest.raises(TypeError, match=r"^unknown operation ArgMax: the test cannot do 'last'$"):
        register.of(programs.ArgMax(name="last", source="x"))
    register.remove(programs.Flatten)
    with pytest.raises(TypeError, match=r"^unknown operation Flatten"):
        register.of(programs.Flatten(name="flat", source="x"))


@pytest.mark.parametrize("consumer", [lambda p: run(p, IMAGES), qonnx_model, program_bytes])
def test_operation_that_no_register_knows_is_named(consumer):
    """A Program of it can be made: it says itself what it makes of what it reads."""
    with pytest.raises(TypeError, match=r"^unknown operation Negate: .* cannot do 'dark'$"):
        consumer(negated())


def test_qcdq_names_an_operation_that_it_does_not_know():
    with pytest.raises(UserError, match=r"^dark has no QCDQ form: .* Negate; export qonnx instead$"):
        qcdq_model(negated())


def scores():
    """Of `negated`, by the definition of each of its operations."""
    weight = negated().by_name["conv"].weight
    return -(np.einsum("nchw,ochw->no", -(IMAGES.astype(np.int64) >> 2), weight) >> 1)


@pytest.mark.parametrize("native", [False, True])
def test_new_operation_runs_in_the_golden_model(negate, native):
    assert np.array_equal(run(negated(), IMAGES, native=native).scores, scores())


def test_new_operation_is_written_and_read(negate, tmp_path):
    program = negated()
    save_program(tmp_path / "a.addax", program)
    for fmt in ("qonnx", "npz"):
        export(program, tmp_path / fmt, fmt=fmt)

    again = (
        load_program(tmp_path / "a.addax"),
        import_onnx(tmp_path / "qonnx/network.onnx"),
        import_npz(tmp_path / "npz"),
    )

    assert [program_bytes(other) == program_bytes(program) for other in again] == [True] * 3


@pytest.mark.parametrize("model_of", [qonnx_model, qcdq_model])
def test_new_operation_runs_in_onnxruntime(negate, model_of):
    session = onnxruntime.InferenceSession(
        model_of(negated()).SerializeToString(), providers=["CPUExecutionProvider"]
    )  # fmt: skip

    found, _ = session.run(None, {"pixels": IMAGES.astype(np.float32)})

    assert np.array_equal(found, scores())


def test_new_operation_runs_in_c(negate, tmp_path):
    export(negated(), tmp_path / "c", fmt="c")
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *warnings, "network.c", "-o", "network"], cwd=tmp_path / "c", check=True)

    said = subprocess.run([tmp_path / "c/network"], input=IMAGES.tobytes(), capture_output=True, check=True).stdout

    rows = [[int(word) for word in line.split()] for line in said.decode().splitlines()]
    assert np.array_equal([row[:-1] for row in rows], scores())
    assert np.array_equal([row[-1] for row in rows], scores().argmax(1))
