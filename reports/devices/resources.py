"""Cells of a device, counted by one rule per family and named in that family's own units."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["UNITS", "Resources", "Units"]

LUTS_PER_CARRY = 2
"""A CCU2C holds two LUT4."""
LUTS_PER_RAM = 6
"""A 16x4 distributed RAM of ECP5 holds four LUT4, and its write port the two of a third slice."""
LUTS_PER_GOWIN_RAM = 4
"""A 16x4 distributed RAM of Gowin holds four LUT4."""
_RAM_SITES = {
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8,
    "RAM32X16DR8": 8, "RAM64X8SW": 8, "RAM128X1S": 2, "RAM256X1S": 4, "RAM256X1D": 8, "RAM512X1S": 8,
}  # fmt: skip
"""Lookup tables that a distributed RAM of a Xilinx device takes; the others, and shift registers, take one."""
_RAM = ("RAM16", "RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "SRL")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a part of a design, in the `UNITS` of its family.

    Attributes
    ----------
    lut : lookup tables, those included that carry cells and distributed RAM take
    ff : flip-flops
    bram : block RAMs in the unit in which the device's size is given; a RAMB18 is half a RAMB36
    dsp : multiplier blocks
    carry : carry cells
    lutram : distributed RAM and shift registers
    """

    lut: int = 0
    ff: int = 0
    bram: float = 0
    dsp: int = 0
    carry: int = 0
    lutram: int = 0

    @classmethod
    def of_cells(cls, cells: Mapping[str, int], family: str = "ecp5") -> "Resources":
        """Resources that yosys' counts of cells, by type, come to.

        ECP5: LUT4, two per CCU2C, six per distributed RAM. Xilinx: all lookup tables (a LUT6_2 is one; an inverter is
        one, too), those in distributed RAM and shift registers; carry cells apart. iCE40: SB_LUT4, whose cells hold
        the carries. Gowin: LUT1 to LUT4, one per carry cell, four per distributed RAM; the multiplexers that join
        tables apart.
        """
        return _COUNTS[family](Counter(cells))

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{key: value + getattr(other, key) for key, value in vars(self).items()})


def _count_ecp5(cells: Counter[str]) -> Resources:
    carry, lutram = cells["CCU2C"], cells["TRELLIS_DPR16X4"]
    return Resources(
        lut=cells["LUT4"] + LUTS_PER_CARRY * carry + LUTS_PER_RAM * lutram, ff=cells["TRELLIS_FF"],
        bram=cells["DP16KD"], dsp=cells["MULT18X18D"], carry=carry, lutram=lutram,
    )  # fmt: skip


def _count_xilinx(cells: Counter[str]) -> Resources:
    def starting(*starts: str) -> int:
        return sum(count for name, count in cells.items() if name.startswith(starts))

    lutram = sum(_RAM_SITES.get(name, 1) * count for name, count in cells.items() if name.startswith(_RAM))
    halves = starting("RAMB18") + 2 * starting("RAMB36")
    return Resources(
        lut=starting("LUT", "INV") + lutram, ff=starting("FD"), bram=halves / 2 if halves % 2 else halves // 2,
        dsp=starting("DSP48"), carry=starting("CARRY"), lutram=lutram,
    )  # fmt: skip


def _count_ice40(cells: Counter[str]) -> Resources:
    ff = sum(count for name, count in cells.items() if name.startswith("SB_DFF"))
    return Resources(
        lut=cells["SB_LUT4"], ff=ff, bram=cells["SB_RAM40_4K"], dsp=cells["SB_MAC16"], carry=cells["SB_CARRY"]
    )


def _count_gowin(cells: Counter[str]) -> Resources:
    def starting(*starts: str) -> int:
        return sum(count for name, count in cells.items() if name.startswith(starts))

    tables = sum(cells[f"LUT{inputs}"] for inputs in range(1, 5))
    halves = 2 * starting("MULT18") + cells["MULT9X9"]
    return Resources(
        lut=tables + cells["ALU"] + LUTS_PER_GOWIN_RAM * starting("RAM16"), ff=starting("DFF"),
        bram=starting("SDP", "SP", "DP", "pROM"), dsp=-(-halves // 2) + 4 * starting("MULT36"),
        carry=cells["ALU"], lutram=starting("RAM16"),
    )  # fmt: skip


_COUNTS: dict[str, Callable[[Counter[str]], Resources]] = {
    "ecp5": _count_ecp5, "xc7": _count_xilinx, "xcup": _count_xilinx, "ice40": _count_ice40,
    "gowin": _count_gowin,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Units:
    """What a family calls the cells that `Resources` counts, and the rule by which tables are counted."""

    lut: str
    ff: str = "flip-flops"
    bram: str
    dsp: str
    carry: str
    lutram: str
    rule: str


_XILINX_RULE = "lookup tables, plus those of distributed RAM and shift registers; carry cells apart"
UNITS: dict[str, Units] = {
    "ecp5": Units(
        lut="LUT4", bram="18-kbit block RAMs", dsp="18x18 multipliers", carry="CCU2C", lutram="16x4 RAMs",
        rule="LUT4, plus 2 per carry cell, plus 6 per distributed RAM",
    ),
    "xc7": Units(
        lut="LUT6", bram="36-kbit block RAMs", dsp="DSP48E1", carry="CARRY4", lutram="LUT6 as RAM or shift register",
        rule=_XILINX_RULE,
    ),
    "xcup": Units(
        lut="LUT6", bram="36-kbit block RAMs", dsp="DSP48E2", carry="CARRY8", lutram="LUT6 as RAM or shift register",
        rule=_XILINX_RULE,
    ),
    "ice40": Units(
        lut="LUT4", bram="4-kbit block RAMs", dsp="16x16 multipliers", carry="SB_CARRY", lutram="none",
        rule="SB_LUT4, whose cells hold the carries",
    ),
    "gowin": Units(
        lut="LUT4", bram="18-kbit block RAMs", dsp="18x18 multipliers", carry="ALU", lutram="16x4 RAMs",
        rule="LUT1 to LUT4, plus one per carry cell, plus 4 per distributed RAM; wide multiplexers apart",
    ),
}  # fmt: skip
"""What resources are called and how they are counted, by family of devices."""
