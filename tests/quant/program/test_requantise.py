"""Requantise operations that do not fit, and sums too wide for them, are refused by name."""

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    offset_format,
)
from operations import SHAPE, convolution, integers, program, requantise


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
