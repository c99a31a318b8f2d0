"""Arg-max, choices and reductions: shapes, formats and bounds; what does not fit is refused by name."""

import numpy as np
import pytest
from addax.quant.formats import Format, format_for, signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.program import ArgMax, Constant, Input, Program, Reduce, Select, Slice
from hypothesis import given
from hypothesis import strategies as st
from operations import SHAPE, classifier, integers, program, requantise

formats = st.builds(Format, bits=st.integers(1, 40), signed=st.booleans())


def select(**changes):
    return Select(**{"name": "chosen", "source": "number", "branches": ("pixels", "pixels"), **changes})


def saturated():
    """Sums of -1020..510 in -2..1."""
    return requantise(
        name="clamped", source="fc", multiplier=integers(1, 1), offset=integers(0, 0), format=signed(2)
    )  # fmt: skip


NUMBER = ArgMax(name="number", source="pixels")


@pytest.mark.parametrize(("channels", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_index_has_as_many_bits_as_the_last_channel_takes(channels, bits):
    """One for each pixel, whatever is compared."""
    found = NUMBER.infer([Tensor((channels, 4, 3), signed(11))])

    assert found == Tensor((1, 4, 3), unsigned(bits))


def test_arg_max_stands_anywhere_and_decides_only_for_one_pixel_at_the_end():
    """Of a map it is the output itself; in the middle it is a tensor like any other, of saturated scores too."""
    pixels = Input(name="pixels", shape=SHAPE)
    segments = Program(ops=(pixels, NUMBER))
    clamped = saturated()
    routed = classifier(clamped, ArgMax(name="first", source="clamped"), ArgMax(name="last", source="first"))

    assert (segments.decision, segments.classifies, segments.output) == (None, False, "number")
    assert (segments.shape("number"), segments.format("number")) == ((1, 6, 5), unsigned(1))
    assert routed.decision is routed.ops[-1] and (routed.classes, routed.output) == (1, "first")
    with pytest.raises(ValueError, match=r"^first: scores could leave -2\.\.1 and saturate$"):
        classifier(clamped, ArgMax(name="first", source="clamped"))


def test_scores_that_were_chosen_or_are_the_largest_of_parts_may_not_saturate():
    """Both only pass values on: those of the branches, not the numbers of the mask."""
    clamped = saturated()
    number = ArgMax(name="number", source="clamped")
    largest = Reduce(name="largest", source="clamped", how="max", parts=2)
    chosen = Select(name="chosen", source="number", branches=("fc", "fc"))

    for ops in ((largest,), (number, select(branches=("clamped", "clamped")))):
        with pytest.raises(ValueError, match=r"^last: scores could leave -2\.\.1 and saturate$"):
            classifier(clamped, *ops, ArgMax(name="last", source=ops[-1].name))
    assert classifier(clamped, number, chosen, ArgMax(name="last", source="chosen")).classes == 2


def test_choice_has_the_shape_and_format_of_its_branches():
    """Three branches of which one stands twice, by a mask of two bits."""
    mask = requantise(name="number", source="one", multiplier=integers(1), offset=integers(0), shift=6,
                      format=unsigned(2))  # fmt: skip
    one = Slice(name="one", source="pixels", axis="C", start=0, stop=1)
    low = requantise(name="low", source="pixels", multiplier=integers(1, 1), offset=integers(0, 0), shift=1)
    p = program(one, mask, low, select(branches=("pixels", "low", "pixels", "low")))

    assert (p.shape("chosen"), p.format("chosen")) == (SHAPE, unsigned(8))
    assert p.by_name["chosen"].sources == ("number", "pixels", "low", "pixels", "low")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branches": ("pixels",)}, r"^chosen: branches must be a tuple of two names or more, not \('pixels',\)$"),
        ({"branches": ["pixels", "pixels"]}, "^chosen: branches must be a tuple of two names or more"),
        ({"branches": ("pixels", "part")}, r"^chosen: branches have one format and shape; part is uint8, \(1, 6, 5\), "
                                           r"but pixels uint8, \(2, 6, 5\)$"),
        ({"branches": ("pixels", "low")}, r"^chosen: branches have one format and shape; low is uint7, "),
        ({"source": "pixels"}, r"^chosen: the mask of branches of 6x5 must be unsigned, of shape \(1, 6, 5\); "
                               r"pixels is uint8, \(2, 6, 5\)$"),
        ({"source": "row"}, r"^chosen: the mask of branches of 6x5 .*; row is uint1, \(1, 1, 5\)$"),
        ({"source": "signs"}, r"^chosen: the mask of branches of 6x5 must be unsigned, .*; signs is int2, "),
        ({"branches": ("pixels",) * 3}, "^chosen: number is uint1, whose numbers name 2 branches, not 3$"),
    ],
)  # fmt: skip
def test_choice_that_does_not_fit_is_refused_by_name(change, message):
    """Each would choose nothing, or something else than was meant."""
    part = Slice(name="part", source="pixels", axis="C", start=0, stop=1)
    low = requantise(name="low", source="pixels", multiplier=integers(1, 1), offset=integers(0, 0), format=unsigned(7))
    row = Slice(name="row", source="number", axis="H", start=0, stop=1)
    signs = Constant(name="signs", value=np.zeros((1, 6, 5), np.int64), format=signed(2))

    with pytest.raises(ValueError, match=message):
        program(NUMBER, part, low, row, signs, select(**change))


@given(formats, st.integers(1, 6), st.integers(1, 6))
def test_sum_has_the_narrowest_format_that_holds_every_sum(fmt, each, parts):
    """The largest has the format of what is compared."""
    read = [Tensor((each * parts, 3, 2), fmt)]

    total, largest = (Reduce(name="r", source="x", how=how, parts=parts).infer(read) for how in ("sum", "max"))

    assert total == Tensor((parts, 3, 2), format_for(fmt.lo * each, fmt.hi * each))
    assert largest == Tensor((parts, 3, 2), fmt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": "mean"}, "^total: how must be one of sum, max, not 'mean'$"),
        ({"how": 3}, "^total: how must be text, not 3$"),
        ({"parts": 4}, "^total: parts must divide 2 channels, which 4 does not$"),
        ({"parts": 0}, "^total: parts must divide 2 channels, which 0 does not$"),
        ({"parts": 1.0}, r"^total: parts must be an integer, not 1\.0$"),
        ({"source": "wide"}, "^total: sums of 4 channels of int63 leave the 64 bits in which tensors are held$"),
    ],
)
def test_reduction_that_does_not_fit_is_refused_by_name(change, message):
    wide = Constant(name="wide", value=np.zeros((4, 6, 5), np.int64), format=signed(63))

    with pytest.raises(ValueError, match=message):
        program(wide, Reduce(**{"name": "total", "source": "pixels", "how": "sum", **change}))


def test_bounds_are_those_of_what_can_be_chosen_summed_or_largest():
    """Folding leaves out what a layer cannot reach; a bound too narrow would cut values off."""
    ends = {
        "a": (integers(-3, 1, 0, 2), integers(2, 5, 0, 2)), "b": (integers(-1, -2, 3, 1), integers(4, -1, 9, 7)),
    }  # fmt: skip
    read = [Tensor((4, 1, 1), signed(8))]

    def bounds(op):
        return [end.tolist() for end in op.bounds(read, ends.__getitem__)]

    assert bounds(ArgMax(name="n", source="a")) == [[0], [3]]
    assert bounds(select(branches=("a", "b", "a"))) == [[-3, -2, 0, 1], [4, 5, 9, 7]]
    assert bounds(Reduce(name="r", source="a", how="sum", parts=2)) == [[-2, 2], [7, 2]]
    assert bounds(Reduce(name="r", source="b", how="max", parts=2)) == [[-1, 3], [4, 9]]
