"""The device catalogue: sizes with their source, memories and multiplier blocks for every family."""

import pytest
from addax.common.errors import UserError
from addax.reports.devices.devices import device, device_names
from addax.reports.devices.memories import CELLS
from addax.reports.devices.multipliers import DSP

PER_CARRY = {"ecp5": 2, "xc7": 4, "xcup": 8, "ice40": 1}
"""Lookup tables beside a carry cell."""


@pytest.mark.parametrize("name", device_names())
def test_sizes_have_a_source_and_fit_each_other(name):
    found = device(name)

    assert len(found.source) > 20
    assert min(found.lut, found.ff, found.bram, found.carry) > 0 and (found.dsp > 0 or found.family == "ice40")
    assert bool(found.dsp) == bool(found.with_dsp) or found.family != "ice40"
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


def test_a_part_shares_everything_but_its_sizes():
    """A part of a known family is a row of sizes: commands of tools are written once."""
    part, whole = device("xc7a35t"), device("xc7z020")

    own = {"name", "like", "lut", "ff", "bram", "dsp", "carry", "source"}
    assert {key for key, value in vars(part).items() if value != getattr(whole, key)} == own
    assert (part.like, part.lut, part.ff, part.bram, part.dsp) == ("xc7z020", 20800, 41600, 50, 90)


def test_a_device_can_be_described():
    """Whoever has a part that the catalogue lacks says its sizes; nobody knows its wires, so it is not placed."""
    found = device("xc7:lut=20800,ff=41600,bram=50,dsp=90")

    assert (found.family, found.fabric, found.synth) == ("xc7", "xc7", device("xc7z020").synth)
    assert (found.lut, found.ff, found.bram, found.dsp, found.carry) == (20800, 41600, 50, 90, 5200)
    assert device("ecp5:dsp=0,bram=0,ff=90,lut=90").nextpnr is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xc8:lut=1,ff=1,bram=1,dsp=1", "unknown family 'xc8'"),
        ("xc7:", "each once, not ''"),
        ("xc7:lut=1,ff=1,bram=1", "does not say its dsp"),
        ("xc7:lut=0,ff=1,bram=1,dsp=1", "does not say its lut, a positive integer"),
        ("xc7:lut=-1,ff=1,bram=1,dsp=1", "not 'lut=-1'"),
        ("xc7:lut=1,lut=2,ff=1,bram=1,dsp=1", "not 'lut=2'"),
        ("xc7:lut=1e9,ff=1,bram=1,dsp=1", "not 'lut=1e9'"),
        ("xc7:lut=99999999999,ff=1,bram=1,dsp=1", "not 'lut=99999999999'"),
        ("xc7:uram=1", "not 'uram=1'"),
    ],
)
def test_descriptions_that_are_none(name, message):
    with pytest.raises(UserError) as told:
        device(name)
    assert message in str(told.value)
