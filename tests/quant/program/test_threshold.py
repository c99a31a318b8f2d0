"""Thresholds that do not fit what they compare and count are refused by name."""

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    threshold_format,
)
from operations import SHAPE, convolution, integers, program, threshold


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
