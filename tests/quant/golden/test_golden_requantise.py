"""Requantise: the golden model multiplies, adds, shifts and saturates as plain loops do."""

from dataclasses import replace

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    Convolution,
    Program,
    Requantise,
)
from chains import BITS, R_MAX, Chain, formats, images_of, shapes, values
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import check
from networks import random_images


@pytest.mark.parametrize("bits", [1, *BITS, 24, 32])
@settings(max_examples=12)
@given(data=st.data())
def test_requantise_equals_the_loops(bits, data):
    """Any factors, offsets, shifts and clamps, with and without a residual; ``>>`` floors."""
    draw = data.draw
    shape = draw(shapes())
    chain = Chain(shape, draw(formats()))
    n = shape[0]
    chain.add(
        Convolution(name="conv", source="stored", kernel="adder", weight=draw(values(chain.format, (n, n, 1, 1))),
                    weight_format=chain.format, pad=draw(values(chain.format, n)))
    )  # fmt: skip
    result = Format(bits=bits, signed=draw(st.booleans()))
    lo, hi = sorted([draw(st.integers(result.lo, result.hi)), draw(st.integers(result.lo, result.hi))])
    whole = draw(st.booleans())
    residual = draw(st.sampled_from([None, "stored"]))
    chain.requantise(
        "req", result, draw(values(Format(bits=16, signed=True), n)).clip(-32767),
        draw(values(signed(chain.format.bits + 16), n)), draw(st.sampled_from([0, 31]) | st.integers(0, 31)),
        lo=result.lo if whole else lo, hi=result.hi if whole else hi, residual=residual,
        residual_multiplier=draw(st.sampled_from([-R_MAX, R_MAX]) | st.integers(-R_MAX, R_MAX)) if residual else 0,
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize(("shift", "expected"), [(0, -5), (1, -3), (2, -2), (3, -1), (31, -1)])
def test_right_shift_floors_towards_minus_infinity(shift, expected):
    chain = Chain((1, 1, 1), unsigned(8))
    weight = np.full((1, 1, 1, 1), 5)
    chain.add(Convolution(name="conv", source="stored", kernel="adder", weight=weight, weight_format=unsigned(8),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("req", signed(8), np.ones(1), np.zeros(1), shift)

    result = golden.run(chain.program(), np.zeros((1, 1, 1, 1), np.uint8), trace=True)

    assert result.tensors["conv"].item() == -5
    assert result.tensors["req"].item() == expected


@settings(max_examples=60)
@given(data=st.data())
def test_requantise_of_pixels_equals_the_loops(data):
    """Pixels that are normalised need no convolution; joined with themselves, as a residual may be any tensor."""
    draw = data.draw
    shape = draw(shapes())
    n = shape[0]
    result = Format(bits=draw(st.integers(1, 16)), signed=draw(st.booleans()))
    residual = draw(st.sampled_from([None, "pixels", "stored"]))
    chain = Chain(shape, draw(formats()))
    chain.last = "pixels"
    chain.requantise(
        "req", result, draw(values(signed(16), n)).clip(-32767), draw(values(signed(24), n)), draw(st.integers(0, 31)),
        residual=residual, residual_multiplier=draw(st.integers(-300, 300)) if residual else 0,
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


def test_pixels_are_normalised_by_hand():
    """Floor, both clamps, and the last pixel value, of a requantise that reads the input."""
    chain = Chain((1, 1, 6), unsigned(8))
    chain.last = "pixels"
    chain.requantise("req", signed(5), np.full(1, 3), np.full(1, -30), 2)

    result = check(chain.program(), np.array([0, 1, 9, 10, 13, 255], np.uint8).reshape(1, 1, 1, 6))

    assert result.tensors["req"].ravel().tolist() == [-8, -7, -1, 0, 2, 15]


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_terms_change_no_number(terms):
    """They say what hardware needs, not what is calculated."""
    chain = Chain((2, 3, 3), unsigned(8))
    factors = {1: [64, -1], 2: [96, -1023], 3: [11, -1021]}[terms]
    chain.requantise("req", signed(8), np.array(factors), np.array([5, -5]), 7, terms=terms, residual="stored",
                     residual_multiplier=-(2**20))  # fmt: skip
    program = chain.program()
    plain = Program(ops=tuple(replace(op, terms=0) if isinstance(op, Requantise) else op for op in program.ops))
    images = random_images(program, 3, 0)

    assert np.array_equal(check(program, images).tensors["req"], golden.run(plain, images, trace=True).tensors["req"])
