"""Integer formats: ranges, bit patterns, and the narrowest format for a range."""

import numpy as np
import pytest
from addax.quant.formats import Format, format_for, signed, unsigned
from hypothesis import given
from hypothesis import strategies as st

INTEGERS = st.integers(-(1 << 62), 1 << 62)


@st.composite
def formats(draw):
    return Format(bits=draw(st.integers(1, 64)), signed=draw(st.booleans()))


@pytest.mark.parametrize(
    ("fmt", "lo", "hi"),
    [
        (unsigned(1), 0, 1),
        (signed(1), -1, 0),
        (unsigned(8), 0, 255),
        (signed(8), -128, 127),
        (signed(16), -32768, 32767),
        (unsigned(64), 0, 2**64 - 1),
        (signed(64), -(2**63), 2**63 - 1),
    ],
    ids=str,
)
def test_range(fmt, lo, hi):
    assert (fmt.lo, fmt.hi) == (lo, hi)


@given(formats())
def test_a_format_has_two_to_the_bits_values(fmt):
    assert fmt.hi - fmt.lo + 1 == 2**fmt.bits
    assert fmt.lo <= 0 <= fmt.hi


@pytest.mark.parametrize("bits", [0, -1, 65, 1.0, "8", None])
def test_impossible_bits_are_refused(bits):
    with pytest.raises(ValueError, match=r"bits of a format must be an integer in 1\.\.64"):
        Format(bits=bits, signed=False)


def test_equal_formats_are_one_key_and_have_short_names():
    assert {signed(8): 1}[Format(bits=8, signed=True)] == 1
    assert signed(8) != unsigned(8)
    assert (str(signed(5)), str(unsigned(12))) == ("int5", "uint12")


@given(formats(), st.data())
def test_bit_patterns_decode_to_their_values(fmt, data):
    """Two's complement, written out: the top bit of a signed format weighs minus its power of two."""
    value = data.draw(st.sampled_from([fmt.lo, fmt.hi, 0]) | st.integers(fmt.lo, fmt.hi))

    pattern = fmt.encode(value)

    assert 0 <= pattern < 2**fmt.bits
    weights = [1 << k for k in range(fmt.bits)]
    if fmt.signed:
        weights[-1] = -weights[-1]
    assert sum(weight for k, weight in enumerate(weights) if pattern >> k & 1) == value


@given(formats())
def test_values_just_outside_are_refused(fmt):
    for value in (fmt.lo - 1, fmt.hi + 1):
        with pytest.raises(ValueError, match=f"value must be in {fmt.lo}\\.\\.{fmt.hi} for {fmt}, not {value}"):
            fmt.encode(value)


@given(INTEGERS, INTEGERS)
def test_narrowest_format_for_a_range(a, b):
    lo, hi = min(a, b), max(a, b)

    fmt = format_for(lo, hi)

    assert fmt.lo <= lo and hi <= fmt.hi
    assert fmt.signed == (lo < 0)
    if fmt.bits > 1:
        narrower = Format(bits=fmt.bits - 1, signed=fmt.signed)
        assert lo < narrower.lo or hi > narrower.hi


@pytest.mark.parametrize(
    ("lo", "hi", "name"),
    [(0, 0, "uint1"), (0, 1, "uint1"), (0, 2, "uint2"), (-1, 0, "int1"), (-1, 1, "int2"), (-255, 0, "int9"),
     (-256, 255, "int9"), (-257, 0, "int10"), (-5, -3, "int4"), (5, 7, "uint3")],
)  # fmt: skip
def test_format_of_well_known_ranges(lo, hi, name):
    assert str(format_for(lo, hi)) == name


@pytest.mark.parametrize("fmt", [signed(2), unsigned(2), signed(16)], ids=str)
def test_allows_the_whole_range_and_nothing_beyond(fmt):
    assert fmt.allows(np.array([fmt.lo, 0, fmt.hi]))
    assert fmt.allows(fmt.hi) and fmt.allows(np.zeros((0, 3), np.int64))
    assert not fmt.allows(np.array([0, fmt.hi + 1]))
    assert not fmt.allows(np.array([[fmt.lo - 1, 0]]))


def test_allows_does_not_wrap_at_64_bits():
    """Protects the widest formats: 2**63 is not a negative number."""
    assert unsigned(64).allows(np.array([2**64 - 1], np.uint64))
    assert not signed(64).allows(np.array([2**63], np.uint64))
    assert not unsigned(64).allows(np.array([-1]))
