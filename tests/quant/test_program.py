"""A Program that exists is a Program that fits: everything else is refused, with the operation's name."""

import math

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Program,
    Requantise,
    infer,
    score_format,
    term_range,
)
from hypothesis import given
from hypothesis import strategies as st
from networks import random_program

SHAPE = (2, 6, 5)


def integers(*values):
    return np.array(values, np.int64)


def convolution(**changes):
    weight = changes.pop("weight", np.ones((3, 2, 3, 3), np.int64))
    values = {
        "name": "conv", "source": "pixels", "kernel": "mult", "weight": weight, "weight_format": signed(4),
        "pad": np.zeros(weight.shape[1] if weight.ndim > 1 else 1, np.int64),
    }  # fmt: skip
    return Convolution(**{**values, **changes})


def requantise(**changes):
    fmt = changes.get("format", unsigned(8))
    values = {
        "name": "req", "source": "conv", "multiplier": integers(3, -4, 5), "offset": integers(1, 2, 3), "shift": 4,
        "format": fmt, "lo": fmt.lo, "hi": fmt.hi,
    }  # fmt: skip
    return Requantise(**{**values, **changes})


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
    channels = math.prod(inferred[ops[-1].name][0])
    return Program(ops=(*ops, Flatten(name="flat", source=ops[-1].name), *tail("flat", channels)), **metadata)


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


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("x_signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_term_range_is_that_of_all_operands(kernel, bits, x_signed):
    x = signed(bits) if x_signed else unsigned(bits)
    w = x if kernel == "adder" else signed(3)
    terms = [
        -abs(a - b) if kernel == "adder" else a * b
        for a in range(x.lo, x.hi + 1)
        for b in range(w.lo, w.hi + 1)
    ]  # fmt: skip

    assert term_range(kernel, x, w) == (min(terms), max(terms))


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


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_infer_formats_that_hold_their_sum_range(seed):
    p = random_program(seed)

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


# Structure


def test_program_begins_with_an_input_and_ends_with_an_arg_max():
    pixels, conv, end = Input(name="pixels", shape=(2, 1, 1)), convolution(), ArgMax(name="argmax", source="pixels")
    for ops in ((), (pixels,), (end,), (pixels, conv), (conv, end), (end, pixels)):
        with pytest.raises(ValueError, match="must begin with an input and end with an arg-max"):
            Program(ops=ops)


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
        ({"kernel": "xnor"}, "kernel must be one of adder, mult, not 'xnor'"),
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


def test_convolution_may_use_its_formats_and_its_window_to_the_last_value():
    weight = np.full((3, 2, 6, 5), -8)
    weight[0, 0, 0, 0] = 7

    p = program(convolution(weight=weight, pad=integers(0, 255)))

    assert p.shape("conv") == (3, 1, 1)


@pytest.mark.parametrize(
    "change", [{"weight": np.full((3, 2, 3, 3), 1.5)}, {"stride": 1.0}, {"padding": 0.5}], ids=lambda c: next(iter(c))
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
        ({"shift": -1}, r"shift must be in 0\.\.31, not -1"),
        ({"shift": 32}, r"shift must be in 0\.\.31, not 32"),
        ({"lo": -1}, r"clamp -1\.\.255 leaves uint8"),
        ({"hi": 256}, r"clamp 0\.\.256 leaves uint8"),
        ({"lo": 9, "hi": 8}, r"clamp 9\.\.8"),
        ({"residual": "pixels"}, r"residual of shape \(2, 6, 5\) does not fit \(3, 4, 3\)"),
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
    [{"multiplier": np.full(3, 1.5)}, {"offset": np.full(3, 0.5)}, {"shift": 3.5}, {"residual_multiplier": 1.5}],
    ids=lambda c: next(iter(c)),
)
def test_requantise_holds_no_float(change):
    """Nothing after lowering sees a float; a file could bring one."""
    with pytest.raises((ValueError, TypeError), match="req"):
        program(convolution(), requantise(residual="conv", **change))


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
