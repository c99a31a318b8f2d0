"""Columns of memories, counted fast, against a naive count; and counts of blocks, put together."""

import numpy as np
from addax.quant.formats import Format
from addax.reports.estimate.counting import MERGED, Columns, Structure, columns_of
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def memories(draw):
    """One or two parts of a word, few values in wide formats, so that columns are often constant or equal."""
    words = draw(st.integers(1, 70))
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        signed = draw(st.booleans())
        fmt = Format(bits=draw(st.integers(2 if signed else 1, 33)), signed=signed)
        bound = min(fmt.hi, draw(st.sampled_from([1, 7, 1 << 30])))
        rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
        size = (words, draw(st.integers(1, 5)))
        parts.append((rng.integers(-bound if signed else 0, bound + 1, size), fmt))
    return parts


@settings(deadline=None, max_examples=200)
@given(memories())
def test_columns_are_those_of_a_naive_count(parts):
    columns = [
        tuple(int(value) >> bit & 1 for value in values[:, number])
        for values, fmt in parts for number in range(values.shape[1]) for bit in range(fmt.bits)
    ]  # fmt: skip
    varying = [column for column in columns if len(set(column)) > 1]

    assert columns_of(*parts) == Columns(len(varying), len(set(varying)))


def test_of_a_large_memory_equal_columns_are_not_looked_for():
    """It becomes block RAM, where they save nothing, and fold after fold would take long."""
    values = np.arange(2 * MERGED, dtype=np.int64)[:, None] % 4

    assert columns_of((np.hstack([values, values]), Format(bits=5, signed=False))) == Columns(4, 4)


def test_registers_are_counted_together_and_all_else_by_block():
    found = Structure()
    found.of("window")["counter/3"] += 2
    found.of("window")["rom.ff"] += 5
    found.of("lanes")["rom.ff"] += 1
    found.of("lanes")["add/8"] += 0

    assert found.counts == {"window counter/3": 2, "rom.ff": 6}
