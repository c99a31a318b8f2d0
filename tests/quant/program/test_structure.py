"""A Program as a whole: names, order and sources of its operations, shapes, steps and metadata."""

from dataclasses import dataclass, replace

import pytest
from addax.common.errors import UserError
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Input,
    MaxPool,
    Op,
    Program,
    SpatialShift,
)
from networks import random_graph
from operations import SHAPE, convolution, program, requantise, threshold


def test_a_whole_network_knows_its_shapes_formats_and_sizes():
    p = program(
        convolution(stride=2, padding=1),
        requantise(),
        MaxPool(name="pool", source="req", size=2, stride=1, padding=1),
        AveragePool(name="mean", source="pool", size=2, stride=2),
        requantise(name="small", source="mean", format=signed(5)),
    )

    assert {op.name: p.shape(op.name) for op in p.ops} == {
        "pixels": (2, 6, 5), "conv": (3, 3, 3), "req": (3, 3, 3), "pool": (3, 4, 4), "mean": (3, 2, 2),
        "small": (3, 2, 2), "flat": (12, 1, 1), "fc": (2, 1, 1), "scores": (2, 1, 1), "argmax": (1, 1, 1),
    }  # fmt: skip
    assert {op.name: str(p.format(op.name)) for op in p.ops} == {
        "pixels": "uint8", "conv": "int17", "req": "uint8", "pool": "uint8", "mean": "uint10", "small": "int5",
        "flat": "int5", "fc": "int10", "scores": "int40", "argmax": "uint1",
    }  # fmt: skip
    assert (p.classes, str(p.score_format), p.input.shape) == (2, "int40", SHAPE)
    assert p.parameters() == 3 * 2 * 9 + 2 * 12
    assert p.macs() == 18 * (3 * 3 * 3) + 12 * 2
    assert str(p.offset_format(p.by_name["req"])) == "int33"


def test_steps_and_metadata_are_copied_and_cannot_be_changed():
    steps, metadata = {"pixels": 1 / 255}, {"bits": "8"}
    p = program(convolution(), requantise(), steps=steps, metadata=metadata)

    steps["pixels"], metadata["bits"] = 2.0, "9"

    assert p.steps["pixels"] == 1 / 255 and p.metadata["bits"] == "8"
    with pytest.raises(TypeError, match="does not support item assignment"):
        p.metadata["bits"] = "9"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(convolution(), weight=[[1, 2]]), "weight must be a numpy array of 64-bit integers, not list"),
        (lambda: convolution(pad=[0]), "pad must be a numpy array of 64-bit integers, not list"),
        (lambda: convolution(kernel=3), "kernel must be text, not 3"),
        (lambda: convolution(weight_format="int8"), "weight_format must be a Format, not 'int8'"),
        (lambda: SpatialShift(name="conv", source="pixels", offsets=[[0, 1]]), "offsets must be a numpy array"),
        (lambda: convolution(name=3), "operations whose names are text"),
    ],
    ids=["weight", "pad", "kernel", "format", "offsets", "name"],
)
def test_values_of_another_type_are_a_named_error(make, message):
    """A list where an array belongs used to end in an AttributeError."""
    with pytest.raises(ValueError, match=message):
        program(make(), requantise())


def test_what_is_no_operation_is_refused():
    with pytest.raises(ValueError, match="operations whose names are text, not 'conv'"):
        Program(ops=(Input(name="pixels", source="", shape=(1, 4, 4)), "conv"))


@pytest.mark.parametrize("step", [float("nan"), float("inf"), 1e101, 10**400, "1"])
def test_steps_that_are_no_numbers_are_refused(step):
    with pytest.raises(ValueError, match="steps must be numbers"):
        program(convolution(), requantise(), steps={"pixels": step})


def test_program_begins_with_an_input_and_computes_something():
    pixels, conv, end = Input(name="pixels", shape=(2, 1, 1)), convolution(), ArgMax(name="argmax", source="pixels")
    for ops in ((), (pixels,), (end,), (conv, end), (end, pixels)):
        with pytest.raises(ValueError, match="must begin with an input and compute something of it"):
            Program(ops=ops)


def test_program_without_an_arg_max_gives_its_last_tensor_and_has_no_classes():
    p = Program(ops=(Input(name="pixels", shape=SHAPE), convolution(), requantise()))

    assert (p.output, p.shape(p.output), p.format(p.output), p.classifies) == ("req", (3, 4, 3), unsigned(8), False)
    message = "class scores are needed, .* this one gives the raw result of 'req', 3x4x3 of uint8"
    for wanted in ("classes", "score_format"):
        with pytest.raises(UserError, match=message):
            getattr(p, wanted)
    classifier = program(convolution(), requantise())
    assert (classifier.output, classifier.classifies) == ("scores", True)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "1st", "conv-1", "pixels"])
def test_names_are_unique_identifiers(name):
    with pytest.raises(ValueError, match=f"operation name must be a unique identifier, not '{name}'"):
        program(convolution(name=name))


@pytest.mark.parametrize("source", ["gone", "req", "conv"])
def test_operations_read_earlier_operations_only(source):
    with pytest.raises(ValueError, match=f"conv reads '{source}', which is not an earlier operation"):
        program(convolution(source=source), requantise())


def test_residual_is_an_earlier_operation():
    with pytest.raises(ValueError, match="req reads 'pool', which is not an earlier operation"):
        program(
            convolution(), requantise(residual="pool"), MaxPool(name="pool", source="req", size=1, stride=1)
        )  # fmt: skip


def test_what_a_concat_joins_are_earlier_operations():
    with pytest.raises(ValueError, match="cat reads 'later', which is not an earlier operation"):
        program(Concat(name="cat", source="pixels", others=("later",)))


def test_sources_are_all_that_an_operation_reads():
    """Queues and liveness are made from this."""
    p = random_graph(0)

    assert [*p.sources(Concat(name="cat", source="a", others=("b", "a", "c")))] == ["a", "b", "a", "c"]
    assert p.sources(requantise(residual="r")) == ("conv", "r")
    assert p.sources(requantise()) == ("conv",)
    assert p.sources(threshold()) == ("pixels",)
    assert p.sources(p.input) == ()


def test_operation_of_an_unknown_kind_is_refused():
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Softmax(Op):
        pass

    with pytest.raises(ValueError, match=r"^odd: unknown operation Softmax$"):
        program(Softmax(name="odd", source="pixels"))


def test_second_input_is_refused():
    with pytest.raises(ValueError, match="more: a program has exactly one input"):
        program(Input(name="more", shape=SHAPE))


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 4, 5), (0, 3, 4), (2, -1, 4), (2, 3, 0)])
def test_input_shape_is_three_positive_integers(shape):
    with pytest.raises(ValueError, match="pixels: shape must be three positive integers"):
        program(shape=shape)
