"""Tables and products: the golden model looks up and multiplies as plain loops do."""

import numpy as np
import pytest
from addax.quant.formats import Format
from addax.quant.program import AveragePool, Product, Table
from chains import Chain, images_of, shapes, values
from gated_networks import random_gated
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import check
from networks import random_images

RESULTS = st.builds(Format, bits=st.integers(1, 40), signed=st.booleans())
"""Formats that entries may have: any."""


@settings(max_examples=40)
@given(data=st.data())
def test_table_equals_the_loops(data):
    """Of any format that it may read, for all channels and for each, into any format."""
    draw = data.draw
    shape, each = draw(shapes()), draw(st.booleans())
    fmt = Format(bits=draw(st.integers(2, 8 if each else 12)), signed=draw(st.booleans()))
    chain, result = Chain(shape, fmt), draw(RESULTS)
    entries = draw(values(result, (*shape[:1] * each, 1 << fmt.bits)))
    chain.add(Table(name="curve", source="stored", entries=entries, format=result))

    check(chain.program(), draw(images_of(shape)))


@settings(max_examples=40)
@given(data=st.data())
def test_product_equals_the_loops(data):
    """Of two maps, one perhaps being the other, and of a map and one number for each channel."""
    draw = data.draw
    shape = draw(shapes())
    formats = st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())
    chain = Chain(shape, draw(formats))
    other = draw(st.sampled_from(["stored", "pixels", "gate"]))
    if other == "gate":
        chain.add(AveragePool(name="sums", source="pixels", size=shape[1:], stride=1))
        fmt = draw(formats)
        chain.requantise("gate", fmt, draw(values(Format(bits=9, signed=True), shape[0])), np.zeros(shape[0]), 4)
    chain.add(Product(name="gated", source="stored", other=other))

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("seed", range(12))
def test_networks_of_tables_and_products_equal_the_loops(seed):
    """Behind layers, in front of them, behind each other, with residuals."""
    program = random_gated(seed)

    check(program, random_images(program, 2, seed))
