"""Scores: one per class, and refused where they could saturate."""

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    Flatten,
    PixelShuffle,
    Requantise,
    SpatialShift,
    Upsample,
    score_format,
)
from hypothesis import given
from hypothesis import strategies as st
from operations import classifier, integers


def scores(source="fc", **changes):
    fmt = changes.get("format", signed(8))
    values = {
        "name": "scores", "source": source, "multiplier": integers(1, 1), "offset": integers(0, 0), "shift": 0,
        "format": fmt, "lo": fmt.lo, "hi": fmt.hi,
    }  # fmt: skip
    return Requantise(**{**values, **changes})


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
