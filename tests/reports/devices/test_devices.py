"""The device catalogue: sizes with their source, memories and multiplier blocks for every family."""

import pytest
from addax.reports.devices.devices import device, device_names
from addax.reports.devices.memories import CELLS
from addax.reports.devices.multipliers import DSP

PER_CARRY = {"ecp5": 2, "xc7": 4, "xcup": 8, "ice40": 1}
"""Lookup tables beside a carry cell."""


@pytest.mark.parametrize("name", device_names())
def test_sizes_have_a_source_and_fit_each_other(name):
    found = device(name)

    assert len(found.source) > 20
    assert min(found.lut, found.ff, found.bram, found.dsp, found.carry) > 0
    if found.family in PER_CARRY:
        assert found.carry * PER_CARRY[found.family] == found.lut


@pytest.mark.parametrize("family", sorted(CELLS))
def test_memories_have_shapes(family):
    """Each shape of a block has half as many words as the one before, and about the same number of bits."""
    blocks = [cell for cell in CELLS[family] if cell.kind == "block"]

    assert blocks and family in DSP
    for cell in blocks:
        sizes = [width << (cell.bits - place) for place, width in enumerate(cell.widths)]
        assert list(cell.widths) == sorted(set(cell.widths))
        assert max(sizes) <= min(sizes) * 9 / 8
