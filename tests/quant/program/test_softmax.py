"""Softmax, its division, and layer norms: formats, widths and bounds; what does not fit is refused by name."""

from math import isqrt

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.ops.tokens.width import quotient_offset_format
from addax.quant.program import Constant, Divide, Norm, Softmax
from hypothesis import given
from hypothesis import strategies as st
from operations import integers, program


def tensor(name, *shape, fmt):
    return Constant(name=name, value=np.zeros(shape, np.int64), format=fmt)


def softmax(**changes):
    given = {"entries": np.array([15, 7, 3, 1]), "format": unsigned(4), "heads": 2}
    return Softmax(**{"name": "e", "source": "scores", **given, **changes})


SCORES = tensor("scores", 6, 2, 5, fmt=signed(8))
BLIND = np.array([[1, 0, 0]] * 4 + [[0, 0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "wide"}, "^e: a softmax reads scores of at most 16 bits; wide is int17$"),
        ({"heads": 4}, "^e: heads must divide 6 channels, which 4 does not$"),
        ({"heads": -1}, "^e: heads must divide 6 channels, which -1 does not$"),
        ({"entries": np.array([9, 4, 1])}, r"^e: entries must be a power of two up to 4096 of them, not \(3,\)$"),
        ({"entries": np.ones(8192, np.int64)}, r"^e: entries must be a power of two up to 4096 .*\(8192,\)$"),
        ({"entries": np.ones((2, 2), np.int64)}, r"^e: entries must be a power of two .*, not \(2, 2\)$"),
        ({"entries": np.array([16, 1])}, r"^e: entries must fit an unsigned format, not 1\.\.16 in uint4$"),
        ({"entries": np.array([3, -1])}, r"^e: entries must fit an unsigned format, not -1\.\.3 in uint4$"),
        ({"format": signed(8)}, r"^e: entries must fit an unsigned format, not 1\.\.15 in int8$"),
        ({"entries": np.array([0, 1])}, "^e: the entry of the largest score must be at least 1, not 0$"),
        ({"mask": np.zeros((3, 5), np.int64)}, r"^e: mask must be 0 or 1, 5 tokens by 3 that they see, not \(3, 5\)$"),
        ({"mask": np.full((5, 3), 2)}, r"^e: mask must be 0 or 1, 5 tokens by 3 that they see, "),
        ({"mask": BLIND}, "^e: each token sees one at least; token 4 sees none$"),
        ({"mask": BLIND.tolist()}, "^e: mask must be a numpy array of 64-bit integers, not list$"),
    ],
)  # fmt: skip
def test_softmax_that_does_not_fit_is_refused_by_name(change, message):
    wide = tensor("wide", 6, 2, 5, fmt=signed(17))

    with pytest.raises(ValueError, match=message):
        program(SCORES, wide, softmax(**change))


def test_softmax_has_the_bounds_of_its_table_and_a_full_mask_is_none():
    """What a mask hides is 0; one that hides nothing is the same operation as without, and the same file."""
    read = [Tensor((6, 2, 5), signed(8))]
    seen = np.ones((5, 3), np.int64)
    hidden = softmax(mask=np.eye(5, 3, dtype=np.int64) + np.array([1, 0, 0]) > 0)

    assert softmax().infer(read) == Tensor((6, 2, 5), unsigned(4))
    assert [end.tolist() for end in softmax().bounds(read, None)] == [[1] * 6, [15] * 6]
    assert softmax(mask=seen).mask is None
    masked = softmax(mask=hidden.mask.astype(np.int64))
    assert [end.tolist() for end in masked.bounds(read, None)] == [[0] * 6, [15] * 6]


SCALED = {"multiplier": integers(3, -3, 1, 0), "offset": integers(0, 1, 2, 3), "shift": 4, "format": signed(8),
          "lo": -128, "hi": 127}  # fmt: skip


def divide(**changes):
    return Divide(**{"name": "q", "source": "num", "denominator": "den", **SCALED, **changes})


def norm(**changes):
    given = {"fraction": 4, "reciprocal": 20, "cut": 8, **SCALED}
    return Norm(**{"name": "n", "source": "num", **given, **changes})


WRONG_SCALES = [
    ({"multiplier": integers(1, 2)}, r"factors and B must be 4 values, not \(2,\) and \(4,\)$"),
    ({"offset": integers(1, 2)}, r"factors and B must be 4 values, not \(4,\) and \(2,\)$"),
    ({"multiplier": integers(1, 2, 3, 1 << 15)}, r"factors must be in -32767\.\.32767, not 1\.\.32768$"),
    ({"shift": 48}, "shift must be in 0..47, and 60 with the bits of int8 at most, not 48$"),
    ({"shift": 47, "format": signed(14)}, "shift must be in 0..47, and 60 with the bits of int14 at most, not 47$"),
    ({"offset": integers(0, 0, 0, 1 << 13)}, r"B must fit int14, not 0\.\.8192$"),
    ({"lo": -129}, r"clamp -129\.\.127 leaves int8$"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *WRONG_SCALES,
        ({"denominator": "num"}, r"denominators must be unsigned, of 2x3 pixels, and their channels divide 4; num is "
                                 r"int12, \(4, 2, 3\)$"),
        ({"denominator": "three"}, "denominators must be unsigned, .* three is uint8, "),
        ({"denominator": "row"}, "denominators must be unsigned, of 2x3 pixels, .* row is uint8, "),
        ({"denominator": "wide"}, r"num \* M \+ d \* B takes 63 bits; the limit is 62$"),
        ({"source": "long", "format": signed(2), "lo": -2, "hi": 1, "shift": 0},
         r"num \* M \+ d \* B takes 63 bits; the limit is 62$"),
    ],
)  # fmt: skip
def test_division_that_does_not_fit_is_refused_by_name(change, message):
    tensors = (
        tensor("num", 4, 2, 3, fmt=signed(12)), tensor("den", 2, 2, 3, fmt=unsigned(8)),
        tensor("three", 3, 2, 3, fmt=unsigned(8)), tensor("row", 2, 1, 3, fmt=unsigned(8)),
        tensor("wide", 2, 2, 3, fmt=unsigned(49)), tensor("long", 4, 2, 3, fmt=signed(48)),
    )  # fmt: skip

    with pytest.raises(ValueError, match=f"^q: {message}"):
        program(*tensors, divide(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *WRONG_SCALES,
        ({"powers": integers(1, 2)}, r"powers must be one value, or 4, not \(2,\)$"),
        ({"powers": integers(0, 1, 2, 4)}, r"powers must be in 0\.\.3, not 0\.\.4$"),
        ({"powers": -1}, r"powers must be in 0\.\.3, not -1\.\.-1$"),
        ({"fraction": -1}, r"fraction must be in 0\.\.61, not -1$"),
        ({"reciprocal": 62}, r"reciprocal must be in 0\.\.61, not 62$"),
        ({"cut": 62}, r"cut must be in 0\.\.61, not 62$"),
        ({"eps": -1}, "eps must be 0 or more, not -1$"),
        ({"eps": 0.5}, r"eps must be an integer, not 0\.5$"),
        ({"source": "wide"}, r"C \* the sum of squares takes 65 bits; the limit is 62$"),
        ({"fraction": 20}, "the variance under the root takes 66 bits; the limit is 62$"),
        ({"eps": 1 << 62}, "the variance under the root takes 63 bits; the limit is 62$"),
        ({"reciprocal": 61, "fraction": 0}, r"C \* x - the sum, times the reciprocal takes 64 bits; the limit is 62$"),
        ({"reciprocal": 50, "cut": 0}, "the normalised value times G, and B takes 64 bits; the limit is 62$"),
    ],
)
def test_norm_that_does_not_fit_is_refused_by_name(change, message):
    tensors = tensor("num", 4, 2, 3, fmt=signed(12)), tensor("wide", 4, 2, 3, fmt=signed(31))

    with pytest.raises(ValueError, match=f"^n: {message}"):
        program(*tensors, norm(**change))


def test_results_lie_within_the_clamp():
    read = [Tensor((4, 2, 3), signed(12)), Tensor((1, 2, 3), unsigned(8))]

    for op in (divide(lo=-3, hi=5), norm(lo=-3, hi=5)):
        assert op.infer(read) == Tensor((4, 2, 3), signed(8))
        assert [end.tolist() for end in op.bounds(read, None)] == [[-3] * 4, [5] * 4]
    assert norm(powers=integers(2, 2, 2, 2)).powers == 2
    assert quotient_offset_format(4, signed(8)) == signed(14)


@given(st.lists(st.integers(-2048, 2047), min_size=2, max_size=12), st.integers(0, 9), st.integers(9, 30))
def test_normalised_values_have_the_width_that_is_declared(token, fraction, reciprocal):
    """Whatever is read: the bound knows nothing of it but its count, and hardware relies on it."""
    channels, x = len(token), np.array(token, object)
    op = norm(fraction=fraction, reciprocal=reciprocal)
    variance = channels * (x * x).sum() - x.sum() ** 2
    inverse = (1 << reciprocal) // max(isqrt(variance << 2 * fraction), 1)

    assert (abs(channels * x - x.sum()) * inverse).max() <= op.normalised(channels)
