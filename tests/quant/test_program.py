"""A Program that exists is a Program that fits: everything else is refused, with the operation's name."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    KERNELS,
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    SpatialShift,
    Threshold,
    Upsample,
    check_operands,
    infer,
    offset_format,
    powers_of_two,
    score_format,
    term_range,
    threshold_format,
    weight_values,
)
from hypothesis import given
from hypothesis import strategies as st
from networks import random_graph, random_program

SHAPE = (2, 6, 5)


def integers(*values):
    return np.array(values, np.int64)


def convolution(**changes):
    weight = changes.pop("weight", np.ones((3, 2, 3, 3), np.int64))
    groups = 2 if changes.get("groups") == 2 else 1
    values = {
        "name": "conv", "source": "pixels", "kernel": "mult", "weight": weight, "weight_format": signed(4),
        "pad": np.zeros(weight.shape[1] * groups if weight.ndim > 1 else 1, np.int64),
    }  # fmt: skip
    return Convolution(**{**values, **changes})


def requantise(**changes):
    fmt = changes.get("format", unsigned(8))
    values = {
        "name": "req", "source": "conv", "multiplier": integers(3, -4, 5), "offset": integers(1, 2, 3), "shift": 4,
        "format": fmt, "lo": fmt.lo, "hi": fmt.hi,
    }  # fmt: skip
    return Requantise(**{**values, **changes})


def threshold(**changes):
    values = {
        "name": "thr", "source": "pixels", "thresholds": np.array([[1, 2, 3], [0, 9, 256]]), "falling": integers(0, 1),
        "format": unsigned(2),
    }  # fmt: skip
    return Threshold(**{**values, **changes})


def bits(name="bits", source="pixels", channels=2):
    """One bit per channel, for the xnor kernel."""
    levels, falling = np.full((channels, 1), 9), np.zeros(channels, np.int64)
    return Threshold(name=name, source=source, thresholds=levels, falling=falling, format=unsigned(1))


def xnor(**changes):
    return convolution(**{"source": "bits", "kernel": "xnor", "weight_format": unsigned(1), **changes})


def tail(source, channels):
    """From any tensor to two scores that cannot saturate."""
    weight = np.ones((2, channels, 1, 1), np.int64)
    return (
        Convolution(name="fc", source=source, kernel="mult", weight=weight, weight_format=signed(2),
                    pad=np.zeros(channels, np.int64)),
        Requantise(name="scores", source="fc", multiplier=integers(1, 1), offset=integers(0, 0), shift=0,
                   format=signed(40), lo=signed(40).lo, hi=signed(40).hi),
        ArgMax(name="argmax", source="scores"),
    )  # fmt: skip


def program(*ops, last=None, shape=SHAPE, **metadata):
    """Pixels, ``ops``, and what turns the result of the last of them into scores."""
    ops = (Input(name="pixels", shape=shape), *ops)
    inferred = {}
    by_name = {op.name: op for op in ops}
    for op in ops:
        try:
            inferred[op.name] = infer(op, inferred, by_name)
        except (ValueError, KeyError):
            return Program(ops=(*ops, ArgMax(name="argmax", source=ops[-1].name)))  # the constructor says what is wrong
    (channels, height, width), fmt = inferred[ops[-1].name]
    if not 2 <= fmt.bits <= 16:
        ones = np.ones(channels, np.int64)
        ops += (requantise(name="narrow", source=ops[-1].name, multiplier=ones, offset=ones, shift=0),)
    flat = Flatten(name="flat", source=ops[-1].name)
    return Program(ops=(*ops, flat, *tail("flat", channels * height * width)), **metadata)


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


SHIFT_WORDS = [0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]


@pytest.mark.parametrize("x_signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(
    ("kernel", "w", "meaning"),
    [
        ("adder", None, None),
        ("mult", signed(3), range(-4, 4)),
        ("mult", unsigned(2), range(4)),
        ("mult", unsigned(1), [-1, 1]),
        ("shift", unsigned(4), SHIFT_WORDS),
    ],
    ids=str,
)
def test_term_range_is_that_of_all_operands(kernel, w, meaning, bits, x_signed):
    x = Format(bits=bits, signed=x_signed)
    every = range(x.lo, x.hi + 1)
    if kernel == "adder":
        terms = [-abs(a - b) for a in every for b in every]
    else:
        terms = [a * b for a in every for b in meaning]

    assert term_range(kernel, x, x if w is None else w) == (min(terms), max(terms))


def test_term_range_of_xnor_is_plus_and_minus_one():
    assert term_range("xnor", unsigned(1), unsigned(1)) == (-1, 1)


WIDTHS = {"adder": (2, 16, 2, 16), "mult": (2, 16, 1, 16), "xnor": (1, 1, 1, 1), "shift": (2, 16, 4, 4)}
"""By the contract: fewest and most bits of features, then of weights."""


@pytest.mark.parametrize("kernel", WIDTHS)
def test_operand_widths_are_those_of_the_contract(kernel):
    """Every pair of widths 1..18 is allowed or refused, and the text names the operand at fault and what it may be."""
    least, most, least_w, most_w = WIDTHS[kernel]
    said = {"adder": ("2 to 16 bits", "2 to 16 bits"), "mult": ("2 to 16 bits", "1 to 16 bits"),
            "xnor": ("1 bit", "1 bit"), "shift": ("2 to 16 bits", "4 bits")}[kernel]  # fmt: skip
    for x, w in itertools.product(range(1, 19), repeat=2):
        if least <= x <= most and least_w <= w <= most_w:
            check_operands(kernel, unsigned(x), unsigned(w))
            continue
        what, may, has = ("weights", said[1], w) if least <= x <= most else ("features", said[0], x)
        with pytest.raises(ValueError, match=f"^{what} of the {kernel} kernel have {may}, not {has}$"):
            check_operands(kernel, unsigned(x), unsigned(w))


def test_every_kernel_has_operand_widths():
    assert tuple(WIDTHS) == KERNELS


@pytest.mark.parametrize(
    ("kernel", "fmt", "expected"),
    [
        ("shift", unsigned(4), SHIFT_WORDS),
        ("xnor", unsigned(1), [-1, 1]),
        ("mult", unsigned(1), [-1, 1]),
        ("mult", unsigned(2), [0, 1, 2, 3]),
        ("mult", signed(2), [-2, -1, 0, 1]),
        ("adder", signed(2), [-2, -1, 0, 1]),
    ],
    ids=str,
)
def test_words_of_weights_stand_for(kernel, fmt, expected):
    """All words of each format; -0 of the shift kernel is 0."""
    every = np.arange(fmt.lo, fmt.hi + 1)[:, None, None, None]
    op = convolution(kernel=kernel, weight=every, weight_format=fmt)

    values = weight_values(op)

    assert values.shape == op.weight.shape and values.ravel().tolist() == expected
    assert op.weight.ravel().tolist() == list(range(fmt.lo, fmt.hi + 1)), "and the words stay as they are"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kernel": "shift", "weight_format": unsigned(4)}, (-255 * 64 * 18, 255 * 64 * 18)),
        ({"kernel": "mult", "weight_format": unsigned(1)}, (-255 * 18, 255 * 18)),
        ({"kernel": "mult", "weight_format": signed(4)}, (-255 * 8 * 18, 255 * 7 * 18)),
        ({"kernel": "adder", "weight_format": unsigned(8)}, (-255 * 18, 0)),
        ({"kernel": "xnor", "weight_format": unsigned(1), "source": "bits"}, (-18, 18)),
        ({"groups": 2, "weight": np.ones((4, 1, 3, 3), np.int64)}, (-255 * 8 * 9, 255 * 7 * 9)),
    ],
)
def test_sum_range_and_accumulator_of_every_kernel(changes, expected):
    """Eighteen taps, in two groups nine; the format is the narrowest that holds the range."""
    p = program(bits(), convolution(**changes))

    lo, hi = p.sum_range("conv")
    fmt = p.format("conv")

    assert (lo, hi) == expected
    assert fmt.signed and fmt.lo <= lo and hi <= fmt.hi
    narrower = signed(fmt.bits - 1)
    assert lo < narrower.lo or hi > narrower.hi


def test_groups_count_in_sizes():
    """A depthwise layer has as many weights as taps of one channel, per filter."""
    p = program(convolution(groups=2, weight=np.ones((6, 1, 3, 2), np.int64)))

    assert p.shape("conv") == (6, 4, 4)
    assert p.by_name["conv"].taps == 6
    fc = 2 * 6 * 4 * 4
    assert p.parameters() == 6 * 6 + fc
    assert p.macs() == 6 * 6 * 4 * 4 + fc


@pytest.mark.parametrize(("taps", "bits"), [(1, 9), (2, 10), (9, 13), (16, 13), (17, 14), (144, 17)])
def test_accumulator_of_an_eight_bit_adder_layer_has_the_derived_width(taps, bits):
    """9 bits for one term, 13 for sixteen, b + 1 + ceil(log2 K) in general."""
    weight = np.zeros((1, taps, 1, 1), np.int64)
    p = program(
        convolution(kernel="adder", weight=weight, weight_format=unsigned(8)), shape=(taps, 1, 1)
    )  # fmt: skip

    assert p.format("conv") == signed(bits)
    assert bits == 8 + 1 + math.ceil(math.log2(taps))
    assert p.sum_range("conv") == (-255 * taps, 0)


def test_average_pool_keeps_the_whole_sum():
    p = program(
        convolution(), requantise(format=signed(3)), AveragePool(name="mean", source="req", size=3, stride=1)
    )  # fmt: skip

    assert p.sum_range("mean") == (-36, 27)
    assert p.format("mean") == signed(7)


@pytest.mark.parametrize("make", [random_program, random_graph])
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_infer_formats_that_hold_their_sum_range(seed, make):
    p = make(seed)

    checked = [op.name for op in p.ops if isinstance(op, Convolution | AveragePool)]
    for name in checked:
        lo, hi = p.sum_range(name)
        assert p.format(name).lo <= lo <= hi <= p.format(name).hi
    assert checked


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


# Structure


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


def test_nothing_reads_a_class():
    """An arg-max that is not the last operation."""
    end = ArgMax(name="argmax", source="pixels")
    with pytest.raises(ValueError, match=r"^argmax: a program has at most one arg-max, its last operation$"):
        Program(ops=(Input(name="pixels", shape=(2, 1, 1)), end, MaxPool(name="p", source="argmax", size=1, stride=1)))


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


def test_second_arg_max_is_refused():
    """A class is not a tensor to calculate with."""
    with pytest.raises(ValueError, match="first"):
        Program(
            ops=(
                Input(name="pixels", shape=(2, 1, 1)),
                ArgMax(name="first", source="pixels"),
                ArgMax(name="second", source="first"),
            )
        )


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 4, 5), (0, 3, 4), (2, -1, 4), (2, 3, 0)])
def test_input_shape_is_three_positive_integers(shape):
    with pytest.raises(ValueError, match="pixels: shape must be three positive integers"):
        program(shape=shape)


# Convolution


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "fft"}, "kernel must be one of adder, mult, xnor, shift, not 'fft'"),
        ({"kernel": "xnor"}, "features of the xnor kernel have 1 bit, not 8"),
        ({"kernel": "shift", "weight_format": unsigned(5)}, "weights of the shift kernel have 4 bits, not 5"),
        ({"kernel": "shift", "weight_format": unsigned(3)}, "weights of the shift kernel have 4 bits, not 3"),
        ({"weight_format": signed(17)}, "weights of the mult kernel have 1 to 16 bits, not 17"),
        ({"kernel": "shift", "weight_format": signed(4)}, "weights of shift are words whose sign .*, not int4"),
        ({"weight_format": signed(1)}, "weights of mult are words whose sign has a meaning of its own, not int1"),
        ({"weight_format": unsigned(1), "weight": np.full((3, 2, 3, 3), -1)}, r"weights leave uint1: -1\.\.-1"),
        ({"weight_format": unsigned(1), "weight": np.full((3, 2, 3, 3), 2)}, r"weights leave uint1: 2\.\.2"),
        ({"kernel": "shift", "weight_format": unsigned(4), "weight": np.full((3, 2, 3, 3), 16)}, "leave uint4: 16"),
        ({"kernel": "shift", "weight_format": unsigned(4), "weight": np.full((3, 2, 3, 3), -1)}, "leave uint4: -1"),
        ({"groups": 0}, "groups must divide 2 channels, not be 0"),
        ({"groups": -1}, "groups must divide 2 channels, not be -1"),
        ({"groups": 3}, "groups must divide 2 channels, not be 3"),
        ({"groups": 2, "weight": np.ones((3, 1, 3, 3), np.int64)}, "groups must divide 3 filters, not be 2"),
        ({"groups": 2, "weight": np.ones((4, 2, 3, 3), np.int64)}, r"weight of shape \(4, 2, 3, 3\) does not fit"),
        ({"groups": 2, "weight": np.ones((4, 1, 3, 3), np.int64), "pad": integers(0)}, "pad must be 2 values of uint8"),
        ({"weight": np.ones((3, 4, 3, 3), np.int64)}, r"weight of shape \(3, 4, 3, 3\) does not fit .*\(2, 6, 5\)"),
        ({"weight": np.ones((3, 2, 3), np.int64)}, r"weight of shape \(3, 2, 3\)"),
        ({"weight": np.ones((0, 2, 3, 3), np.int64)}, r"weight of shape \(0, 2, 3, 3\)"),
        ({"weight": np.ones((3, 2, 0, 3), np.int64)}, r"weight of shape \(3, 2, 0, 3\)"),
        ({"weight": np.full((3, 2, 3, 3), 8)}, r"weights leave int4: 8\.\.8"),
        ({"weight": np.full((3, 2, 3, 3), -9)}, r"weights leave int4: -9\.\.-9"),
        ({"kernel": "adder"}, "one grid for both operands, not uint8 and int4"),
        ({"kernel": "adder", "weight_format": unsigned(7)}, "one grid for both operands, not uint8 and uint7"),
        ({"pad": integers(0)}, "pad must be 2 values of uint8"),
        ({"pad": integers(0, 256)}, "pad must be 2 values of uint8"),
        ({"pad": integers(-1, 0)}, "pad must be 2 values of uint8"),
        ({"stride": 0}, "window 3x3, stride 0, padding 0 is not a window"),
        ({"padding": -1}, "window 3x3, stride 1, padding -1 is not a window"),
        ({"padding": 3}, "window 3x3, stride 1, padding 3 is not a window"),
        ({"weight": np.ones((3, 2, 3, 6), np.int64)}, "window 3x6 is larger than the padded image 6x5"),
        ({"weight": np.ones((3, 2, 7, 1), np.int64)}, "window 7x1 is larger than the padded image 6x5"),
    ],
)
def test_convolution_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^conv: .*{message}"):
        program(convolution(**change))


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift"])
@pytest.mark.parametrize(("fmt", "has"), [(unsigned(1), 1), (signed(17), 17)])
def test_features_of_a_width_that_a_kernel_has_not_are_refused_by_name(kernel, fmt, has):
    """Also where they are no sums: what a Program may say is what every kernel of the hardware can do."""
    first = requantise(name="first", source="pixels", format=fmt, multiplier=integers(1, 1), offset=integers(0, 0))
    weight_format = {"adder": fmt, "mult": signed(4), "shift": unsigned(4)}[kernel]
    weight = np.zeros((3, 2, 1, 1), np.int64)

    with pytest.raises(ValueError, match=f"^conv: features of the {kernel} kernel have 2 to 16 bits, not {has}$"):
        program(first, convolution(source="first", kernel=kernel, weight=weight, weight_format=weight_format))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_format": signed(1), "weight": np.zeros((3, 2, 3, 3), np.int64)}, "weights of xnor are words .* int1"),
        ({"weight_format": unsigned(2)}, "weights of the xnor kernel have 1 bit, not 2"),
        ({"weight": np.full((3, 2, 3, 3), -1)}, r"weights leave uint1: -1\.\.-1"),
        ({"weight": np.full((3, 2, 3, 3), 2)}, r"weights leave uint1: 2\.\.2"),
        ({"pad": integers(0, -1)}, "pad must be 2 values of uint1"),
        ({"pad": integers(0, 2)}, "pad must be 2 values of uint1"),
    ],
)
def test_xnor_that_does_not_fit_is_refused_by_name(changes, message):
    """A bit is 0 for -1; -1 itself is no word."""
    with pytest.raises(ValueError, match=f"^conv: .*{message}"):
        program(bits(), xnor(**changes))
    assert program(bits(), xnor()).format("conv") == signed(6)


def test_signed_bits_are_no_features_of_xnor():
    """Their 1 would be -1, and their 0 not."""
    first = requantise(name="bits", source="pixels", format=signed(1), multiplier=integers(1, 1), offset=integers(0, 0))

    with pytest.raises(ValueError, match=r"^conv: features of the xnor kernel are single unsigned bits, 0 for -1$"):
        program(first, xnor())


def test_convolution_may_use_its_formats_and_its_window_to_the_last_value():
    weight = np.full((3, 2, 6, 5), -8)
    weight[0, 0, 0, 0] = 7

    p = program(convolution(weight=weight, pad=integers(0, 255)))

    assert p.shape("conv") == (3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [{"weight": np.full((3, 2, 3, 3), 1.5)}, {"stride": 1.0}, {"padding": 0.5}, {"groups": 1.0}, {"groups": True}],
    ids=lambda c: next(iter(c)),
)
def test_convolution_holds_no_float(change):
    """Nothing after lowering sees a float; a file could bring one."""
    with pytest.raises((ValueError, TypeError), match="conv"):
        program(convolution(**change))


# Requantise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier": integers(1, 2)}, r"M and B must be 3 values, not \(2,\) and \(3,\)"),
        ({"offset": integers(1)}, r"M and B must be 3 values, not \(3,\) and \(1,\)"),
        ({"offset": np.ones((3, 1), np.int64)}, r"M and B must be 3 values"),
        ({"multiplier": integers(0, 32768, 0)}, r"M must be in -32767\.\.32767"),
        ({"multiplier": integers(0, -32768, 0)}, r"M must be in -32767\.\.32767"),
        ({"multiplier": integers(0, -(2**63), 0)}, r"M must be in -32767\.\.32767"),
        ({"residual": "conv", "residual_multiplier": 2**31}, r"R must be in -2147483647\.\.2147483647"),
        ({"residual": "conv", "residual_multiplier": -(2**31)}, r"R must be in -2147483647\.\.2147483647"),
        ({"offset": integers(0, 2**32, 0)}, r"B must fit int33, not 0\.\.4294967296"),
        ({"offset": integers(0, -(2**32) - 1, 0)}, r"B must fit int33"),
        ({"shift": -1}, r"shift must be in 0\.\.47, not -1"),
        ({"shift": 48}, r"shift must be in 0\.\.47, not 48"),
        ({"lo": -1}, r"clamp -1\.\.255 leaves uint8"),
        ({"hi": 256}, r"clamp 0\.\.256 leaves uint8"),
        ({"lo": 9, "hi": 8}, r"clamp 9\.\.8"),
        ({"residual": "pixels"}, r"residual of shape \(2, 6, 5\) does not fit \(3, 4, 3\)"),
        ({"format": unsigned(64), "hi": 255}, "format must fit signed 64-bit integers, .* not uint64"),
        ({"terms": -1}, "terms must be 0 or more, not -1"),
        ({"terms": 1}, "factor 3 is no sum of 1 signed powers of two"),
        ({"terms": 2, "multiplier": integers(1, 0, -11)}, "factor -11 is no sum of 2 signed powers of two"),
        (
            {"terms": 2, "residual": "conv", "residual_multiplier": 21, "multiplier": integers(1, 3, 7)},
            "factor 21 is no sum of 2 signed powers of two",
        ),
    ],
)
def test_requantise_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^req: .*{message}"):
        program(convolution(), requantise(**change))


def test_requantise_may_use_its_ranges_to_the_last_value():
    p = program(
        convolution(),
        requantise(
            multiplier=integers(-32767, 0, 32767), offset=integers(-(2**32), 0, 2**32 - 1), shift=31, lo=7, hi=7
        ),
    )

    assert p.format("req") == unsigned(8)


@pytest.mark.parametrize(
    "change",
    [
        {"multiplier": np.full(3, 1.5)},
        {"offset": np.full(3, 0.5)},
        {"shift": 3.5},
        {"residual_multiplier": 1.5},
        {"terms": 1.0},
        {"terms": True},
    ],
    ids=lambda c: next(iter(c)),
)
def test_requantise_holds_no_float(change):
    """Nothing after lowering sees a float; a file could bring one."""
    with pytest.raises((ValueError, TypeError), match="req"):
        program(convolution(), requantise(residual="conv", **change))


def test_requantise_may_read_pixels():
    p = program(requantise(source="pixels", multiplier=integers(-32767, 32767), offset=integers(-(2**23), 2**23 - 1)))

    assert p.shape("req") == SHAPE and p.offset_format(p.by_name["req"]) == signed(24)
    with pytest.raises(ValueError, match=r"^req: B must fit int24"):
        program(requantise(source="pixels", multiplier=integers(1, 1), offset=integers(0, 2**23)))


@pytest.mark.parametrize(
    ("terms", "factors"), [(1, (0, 1, -16384)), (2, (3, -7, 32767)), (2, (24, 16383, -32767)), (3, (11, -21, 25))]
)
def test_factors_of_so_many_terms_are_allowed(terms, factors):
    """To the largest factor there is: 32767 is 2**15 - 1."""
    p = program(
        convolution(),
        requantise(multiplier=integers(*factors), terms=terms, residual="conv", residual_multiplier=-(2**30)),
    )

    assert p.by_name["req"].terms == terms


def wide(bits, name="wide", source="pixels"):
    """A tensor of two channels and so many bits."""
    return requantise(
        name=name, source=source, format=signed(bits), multiplier=integers(1, 1), offset=integers(0, 0), shift=0
    )


@pytest.mark.parametrize(("bits", "fits"), [(45, True), (46, False), (64, False)])
def test_sums_too_wide_to_requantise_are_refused(bits, fits):
    """A product of 46 + 16 bits, a residual and an offset would not fit the 64 bits of the golden model."""
    if fits:
        assert offset_format(signed(bits)) == signed(bits + 16)
        assert program(wide(bits), wide(8, "req", "wide")).format("req") == signed(8)
        return
    message = f"sums of {bits} bits are too wide to requantise; the limit is 45"
    with pytest.raises(ValueError, match=f"^{message}$"):
        offset_format(signed(bits))
    with pytest.raises(ValueError, match=f"^req: {message}$"):
        program(wide(bits), wide(8, "req", "wide"))


@pytest.mark.parametrize(("bits", "fits"), [(29, True), (30, False)])
def test_residual_too_wide_is_refused(bits, fits):
    joined = requantise(
        source="pixels", multiplier=integers(1, 1), offset=integers(0, 0), residual="wide", residual_multiplier=1
    )
    if fits:
        assert program(wide(bits), joined).shape("req") == SHAPE
        return
    with pytest.raises(ValueError, match=r"^req: a residual of int30 is too wide; the limit is 29 bits$"):
        program(wide(bits), joined)


# Powers of two


def places(value):
    """Exponents of what `powers_of_two` gives, which must be signed powers of two."""
    found = []
    for term in powers_of_two(value):
        assert term and abs(term) & (abs(term) - 1) == 0, f"{term} is no power of two"
        found.append(abs(term).bit_length() - 1)
    return found


@given(st.integers(-(2**40), 2**40) | st.integers(-40, 40).map(lambda n: 3 << n if n > 0 else -(3 << -n)))
def test_powers_of_two_sum_to_the_value_and_no_two_are_adjacent(value):
    """The non-adjacent form, which is unique; smallest first."""
    exponents = places(value)

    assert sum(powers_of_two(value)) == value
    assert all(b - a > 1 for a, b in itertools.pairwise(exponents))


def test_powers_of_two_are_the_fewest():
    """Against a search over all sums, for every number to 700: one term more reaches what a term fewer did not."""
    single = [sign << k for k in range(12) for sign in (1, -1)]
    fewest = {0: 0}
    reached = {0}
    for count in range(1, 7):
        reached = {a + b for a in reached for b in single}
        for value in reached:
            fewest.setdefault(value, count)

    for value in range(-700, 701):
        assert len(powers_of_two(value)) == fewest[value], value


@pytest.mark.parametrize(
    ("value", "expected"), [(0, ()), (1, (1,)), (-1, (-1,)), (3, (-1, 4)), (-6, (2, -8)), (11, (-1, -4, 16)),
                            (32767, (-1, 32768)), (-(2**31) + 1, (1, -(2**31)))],
)  # fmt: skip
def test_powers_of_two_by_hand(value, expected):
    assert powers_of_two(value) == expected


# Threshold


def test_threshold_counts_up_to_what_its_format_holds():
    """Both ends of what a threshold may be; equal ones; on pixels, on sums and on a tensor."""
    low_and_high = np.array([[0, 0, 256], [256, 256, 256]])
    p = program(threshold(thresholds=low_and_high))
    assert (p.shape("thr"), p.format("thr")) == (SHAPE, unsigned(2))

    fmt = program(convolution()).format("conv")
    ends = np.array([[fmt.lo, fmt.hi + 1]] * 3)
    p = program(
        convolution(),
        threshold(source="conv", thresholds=ends, falling=integers(0, 0, 1)),
        threshold(name="again", source="thr", thresholds=np.array([[0, 4]] * 3), falling=integers(0, 0, 1)),
    )
    assert p.format("again") == unsigned(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": integers(1, 2)}, r"thresholds must be a row for each of 2 channels, not \(2,\)"),
        ({"thresholds": np.ones((3, 2), np.int64)}, r"thresholds must be a row for each of 2 channels, not \(3, 2\)"),
        ({"thresholds": np.ones((2, 0), np.int64)}, r"thresholds must be a row for each of 2 channels, not \(2, 0\)"),
        ({"thresholds": np.ones((2, 2, 1), np.int64)}, r"thresholds must be a row for .*, not \(2, 2, 1\)"),
        ({"falling": integers(0)}, "falling must be 2 values, 0 or 1"),
        ({"falling": np.zeros((2, 1), np.int64)}, "falling must be 2 values, 0 or 1"),
        ({"falling": integers(0, 2)}, "falling must be 2 values, 0 or 1"),
        ({"falling": integers(-1, 0)}, "falling must be 2 values, 0 or 1"),
        ({"format": signed(3)}, "3 thresholds do not fit int3"),
        ({"format": unsigned(1)}, "3 thresholds do not fit uint1"),
        ({"thresholds": np.tile(np.arange(4), (2, 1))}, "4 thresholds do not fit uint2"),
        ({"format": unsigned(64)}, "format must fit signed 64-bit integers, .* not uint64"),
        (
            {"thresholds": np.tile(np.arange(256), (2, 1)), "format": unsigned(9)},
            "256 thresholds per channel are too many; the limit is 255",
        ),
        ({"thresholds": np.array([[1, 2, 3], [1, 3, 2]])}, "thresholds of a channel must ascend"),
        ({"thresholds": np.array([[1, 2, 3], [-1, 3, 5]])}, r"thresholds must be in 0\.\.256"),
        ({"thresholds": np.array([[1, 2, 3], [0, 3, 257]])}, r"thresholds must be in 0\.\.256"),
        ({"thresholds": np.full((2, 3), 1.5)}, "thresholds must be 64-bit integers, not float64"),
        ({"thresholds": np.ones((2, 3), np.int32)}, "thresholds must be 64-bit integers, not int32"),
        ({"falling": np.array([False, True])}, "falling must be 64-bit integers, not bool"),
    ],
)
def test_threshold_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^thr: .*{message}"):
        program(threshold(**change))


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1])
def test_thresholds_far_apart_do_not_pass_by_wrapping(value):
    """The difference of the ends of 64 bits is itself too wide for them."""
    levels = np.array([[0, 1], sorted([0, value])])

    with pytest.raises(ValueError, match=r"^thr: thresholds"):
        program(threshold(thresholds=levels))
    with pytest.raises(ValueError, match=r"^thr: thresholds"):
        program(threshold(thresholds=np.array([[0, 1], [-(2**63), 2**63 - 1]])))
    with pytest.raises(ValueError, match=r"^thr: thresholds"):
        program(threshold(thresholds=np.array([[0, 1], [2**63 - 1, -(2**63)]])))


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [(unsigned(8), unsigned(9)), (signed(8), signed(9)), (unsigned(1), unsigned(2)), (signed(1), signed(2))],
    ids=str,
)
def test_threshold_format_has_room_for_never(fmt, expected):
    assert threshold_format(fmt) == expected
    assert expected.allows(fmt.lo) and expected.allows(fmt.hi + 1)


# Concat


def test_concat_adds_channels():
    p = program(
        convolution(),
        requantise(),
        requantise(name="more"),
        Concat(name="cat", source="req", others=("more", "req")),
    )

    assert (p.shape("cat"), p.format("cat")) == ((9, 4, 3), unsigned(8))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (requantise(name="odd", format=signed(8)), r"odd \(int8, \(3, 4, 3\)\) .* beside req \(uint8, \(3, 4, 3\)\)"),
        (requantise(name="odd", format=unsigned(7)), "odd .uint7, .* cannot stand beside req"),
        (MaxPool(name="odd", source="req", size=2, stride=1), r"odd \(uint8, \(3, 3, 2\)\) cannot stand beside req"),
        (MaxPool(name="odd", source="req", size=4, stride=1, padding=1), r"odd .* cannot stand beside req"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_concat_that_does_not_fit_is_refused_by_name(place, other, message):
    """Wherever among the others it stands."""
    others = ("req", "odd") if place else ("odd", "req")
    with pytest.raises(ValueError, match=f"^cat: .*{message}"):
        program(convolution(), requantise(), other, Concat(name="cat", source="req", others=others))


# Pools


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "0x0"),
        ({"size": -1}, "-1x-1"),
        ({"stride": 0}, "stride 0"),
        ({"size": 6}, "window 6x6 is larger than the padded image 6x5"),
    ],
)
def test_pool_that_does_not_fit_is_refused_by_name(kind, change, message):
    with pytest.raises(ValueError, match=f"^pool: .*{message}"):
        program(kind(**{"name": "pool", "source": "pixels", "size": 2, "stride": 1, **change}))


@pytest.mark.parametrize(("size", "padding"), [(2, -1), (2, 2), (3, 3), (1, 1)])
def test_max_pool_window_of_padding_only_is_refused(size, padding):
    """A padded tap never wins, so every window must see a pixel."""
    with pytest.raises(ValueError, match=r"^pool: .*padding"):
        program(MaxPool(name="pool", source="pixels", size=size, stride=1, padding=padding))


# Moves


def shift(**changes):
    return SpatialShift(**{"name": "move", "source": "pixels", "offsets": np.array([[3, -3], [0, 1]]), **changes})


def test_moves_have_the_shape_that_they_make_and_keep_the_format():
    p = program(
        shift(pad=integers(255, 0)), Upsample(name="up", source="move", factor=3),
        Concat(name="cat", source="up", others=("up", "up", "up")),
        PixelShuffle(name="shuffle", source="cat", factor=2),
    )  # fmt: skip

    assert [p.shape(name) for name in ("move", "up", "shuffle")] == [SHAPE, (2, 18, 15), (2, 36, 30)]
    assert {p.format(name) for name in ("move", "up", "shuffle")} == {unsigned(8)}
    assert shift().pad.tolist() == [0, 0], "zeros unless given"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.zeros((3, 2), np.int64)}, r"offsets must be rows .* each of 2 channels, not \(3, 2\)"),
        ({"offsets": np.zeros((2, 3), np.int64)}, r"offsets must be rows .* each of 2 channels, not \(2, 3\)"),
        ({"offsets": np.zeros(2, np.int64)}, r"offsets must be rows .* each of 2 channels, not \(2,\)"),
        ({"offsets": np.array([[0, 0], [4, 0]])}, r"offsets must be in -3\.\.3, not 0\.\.4"),
        ({"offsets": np.array([[0, -4], [1, 0]])}, r"offsets must be in -3\.\.3, not -4\.\.1"),
        ({"offsets": np.zeros((2, 2))}, "offsets must be 64-bit integers, not float64"),
        ({"pad": integers(1)}, "pad must be 2 values of uint8"),
        ({"pad": integers(1, 2, 3)}, "pad must be 2 values of uint8"),
        ({"pad": integers(0, 256)}, "pad must be 2 values of uint8"),
        ({"pad": integers(-1, 0)}, "pad must be 2 values of uint8"),
        ({"pad": np.array([0.5, 0])}, "pad must be 64-bit integers, not float64"),
    ],
)
def test_shift_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^move: {message}"):
        program(shift(**change))


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@pytest.mark.parametrize("factor", [0, -1, 65, 10**9])
def test_factor_of_enlargement_is_bounded(kind, factor):
    """A file may ask for any; a tensor of it would fill the memory."""
    with pytest.raises(ValueError, match=rf"^move: factor must be in 1\.\.64, not {factor}$"):
        program(kind(name="move", source="pixels", factor=factor))


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@pytest.mark.parametrize("factor", [2.0, True])
def test_factor_of_enlargement_is_an_integer(kind, factor):
    with pytest.raises(ValueError, match=f"^move: factor must be an integer, not {factor}$"):
        program(kind(name="move", source="pixels", factor=factor))


def test_pixel_shuffle_needs_channels_for_every_pixel():
    with pytest.raises(ValueError, match=r"^move: a pixel shuffle by 2 needs a multiple of 4 channels, not 2$"):
        program(PixelShuffle(name="move", source="pixels", factor=2))


# Scores


def scores(source="fc", **changes):
    fmt = changes.get("format", signed(8))
    values = {
        "name": "scores", "source": source, "multiplier": integers(1, 1), "offset": integers(0, 0), "shift": 0,
        "format": fmt, "lo": fmt.lo, "hi": fmt.hi,
    }  # fmt: skip
    return Requantise(**{**values, **changes})


def classifier(*ops):
    """Two sums of pixels of one image of one pixel, -510..510, and ``ops`` behind them."""
    weight = np.array([[1, 1], [-1, -1]], np.int64)[:, :, None, None]
    fc = Convolution(
        name="fc", source="pixels", kernel="mult", weight=weight, weight_format=signed(2), pad=integers(0, 0)
    )
    return Program(ops=(Input(name="pixels", shape=(2, 1, 1)), fc, *ops))


def test_arg_max_reads_one_score_per_class():
    with pytest.raises(ValueError, match=r"^argmax: .*one score per class, not a map of 6x5"):
        Program(ops=(Input(name="pixels", shape=SHAPE), ArgMax(name="argmax", source="pixels")))


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"format": signed(11)}, True),
        ({"format": signed(10)}, False),
        ({"format": signed(10), "shift": 1}, True),
        ({"format": signed(12), "multiplier": integers(2, 1)}, True),
        ({"format": signed(12), "multiplier": integers(3, 1)}, False),
        ({"format": signed(12), "multiplier": integers(1, -3)}, False),
        ({"format": signed(12), "offset": integers(0, 1023)}, True),
        ({"format": signed(12), "offset": integers(0, 2000)}, False),
        ({"format": signed(12), "hi": 1023, "lo": -1024}, True),
        ({"format": signed(12), "hi": 509}, False),
        ({"format": signed(12), "lo": -1019}, False),
        ({"format": unsigned(12)}, False),
        ({"format": unsigned(12), "offset": integers(1024, 1024)}, True),
    ],
    ids=str,
)
def test_scores_that_could_saturate_are_refused(change, fits):
    """For any weights of the format int2, -2..1: a sum is in -1020..510, its accumulator int11."""
    ops = scores(**change), ArgMax(name="argmax", source="scores")
    if fits:
        assert classifier(*ops).score_format == change["format"]
    else:
        with pytest.raises(ValueError, match=r"^argmax: scores could leave .* and saturate"):
            classifier(*ops)


def test_scores_that_could_saturate_behind_a_flatten_are_refused():
    with pytest.raises(ValueError, match="scores could leave"):
        classifier(scores(), Flatten(name="flat", source="scores"), ArgMax(name="argmax", source="flat"))


@pytest.mark.parametrize(
    "move",
    [Upsample(name="move", source="scores", factor=1), PixelShuffle(name="move", source="scores", factor=1),
     SpatialShift(name="move", source="scores", offsets=np.zeros((2, 2), np.int64))],
    ids=lambda op: type(op).__name__,
)  # fmt: skip
def test_scores_that_could_saturate_behind_a_move_are_refused(move):
    with pytest.raises(ValueError, match="scores could leave"):
        classifier(scores(), move, ArgMax(name="argmax", source="move"))


def test_scores_that_could_saturate_by_a_residual_are_refused():
    with pytest.raises(ValueError, match=r"(?i)scores"):
        classifier(
            scores(multiplier=integers(0, 0), residual="pixels", residual_multiplier=1),
            ArgMax(name="argmax", source="scores"),
        )


@given(st.integers(1, 48), st.booleans())
def test_score_format_is_whole_bytes_and_wider_than_the_accumulator(bits, is_signed):
    accumulator = signed(bits) if is_signed else unsigned(bits)

    fmt = score_format(accumulator)

    assert fmt.signed and fmt.bits % 8 == 0
    assert fmt.lo <= 2 * accumulator.lo and 2 * accumulator.hi <= fmt.hi
    assert fmt.bits < accumulator.bits + 2 + 8
