"""Products whose operands do not fit each other are refused by name; their format holds every product."""

import numpy as np
import pytest
from addax.quant.formats import Format, format_for, signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.program import AveragePool, Product, Slice
from hypothesis import given
from hypothesis import strategies as st
from operations import SHAPE, convolution, integers, program, requantise

formats = st.builds(Format, bits=st.integers(1, 16), signed=st.booleans())


def product(**changes):
    return Product(**{"name": "gated", "source": "pixels", "other": "pixels", **changes})


@given(formats, formats)
def test_format_is_the_narrowest_that_holds_every_product(a, b):
    """Of any formats: the ends are products of ends."""
    fmt = product(other="gate").infer([Tensor(SHAPE, a), Tensor((2, 1, 1), b)]).format

    ends = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    assert fmt == format_for(min(ends), max(ends))


def test_operands_are_of_one_shape_or_the_second_has_one_pixel():
    """The form of a gate, and that of any two maps; what multiplies may be what is multiplied."""
    pool = AveragePool(name="sums", source="pixels", size=(6, 5), stride=1)
    mean = requantise(name="mean", source="sums", multiplier=integers(9, 9), offset=integers(0, 0), shift=8,
                      format=signed(8))  # fmt: skip
    p = program(product(name="squares"), pool, mean, product(other="mean"))

    assert (p.shape("squares"), p.format("squares")) == (SHAPE, format_for(0, 255 * 255))
    assert (p.shape("gated"), p.format("gated")) == (SHAPE, format_for(-128 * 255, 127 * 255))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Slice(name="b", source="pixels", axis="C", start=0, stop=1), r"b must be of shape \(2, 6, 5\) or \(2, 1, 1\)"),
        (Slice(name="b", source="pixels", axis="W", start=0, stop=1), r"b must be .*, not \(2, 6, 1\)"),
        (requantise(name="b", source="other", format=unsigned(16)), r"b must be .*, not \(3, 4, 3\)"),
        (convolution(name="b", weight=np.ones((2, 2, 6, 5), np.int64), weight_format=signed(8)),
         "a product has operands of at most 16 bits; b is int22"),
        (requantise(name="b", source="pixels", multiplier=integers(1, 1), offset=integers(0, 0), format=unsigned(17)),
         "a product has operands of at most 16 bits; b is uint17"),
    ],
)  # fmt: skip
def test_product_that_does_not_fit_is_refused_by_name(other, message):
    with pytest.raises(ValueError, match=f"^gated: {message}"):
        program(convolution(name="other"), other, product(other="b"))


def test_other_must_be_a_name_of_an_earlier_operation():
    with pytest.raises(ValueError, match=r"^gated reads 'later', which is not an earlier operation"):
        program(product(other="later"))


def test_bounds_are_products_of_the_bounds_of_the_operands():
    """Of either sign."""
    a, b = (integers(-3, 1, 0), integers(2, 5, 0)), (integers(-1, -2, 3), integers(4, -1, 9))
    found = product(other="gate").bounds([], {"pixels": a, "gate": b}.__getitem__)

    assert [ends.tolist() for ends in found] == [[-12, -10, 0], [8, -1, 0]]
