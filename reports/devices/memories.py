"""How synthesis maps memories: which cells of a family, and how many; or none, and then registers or tables.

A model of yosys' ``memory_libmap``. It tries every kind of memory cell that a family has, in every shape, and takes the
one of least cost; a memory that is cheaper in logic stays logic. The contents do not matter, only width, depth, ports.
The cells and their costs are those of the pinned version's library files (``lattice/brams_16kd.txt``,
``lattice/lutrams_trellis.txt``, ``xilinx/brams_xc4v.txt``, ``xilinx/lutrams_xc5v.txt``, ``xilinx/lutrams_xcu.txt``,
``ice40/brams.txt``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf

__all__ = ["CELLS", "Mapping", "MemoryCell", "MemoryShape", "mapped"]

_RAM_BIT = 1.0
_ROM_BIT = {"ecp5": 1 / 16, "ice40": 1 / 16, "xc7": 1 / 64, "xcup": 1 / 64}
"""Cost of a bit in logic; Xilinx tables hold more of a ROM."""
_SELECT = 0.5
"""Cost of a word's bit, or a write enable, of every further cell below each other."""
_EMULATED = 2
"""Cost of a point of what the cell cannot do by itself."""


@dataclass(frozen=True, kw_only=True)
class MemoryCell:
    """A memory cell of a family.

    Attributes
    ----------
    kind : ``block`` or ``distributed``
    bits : logarithm of the words of the narrowest shape
    widths : shapes, each of half as many words as the one before
    cost, scaled : of a cell; ``scaled`` of it in proportion to the bits that are used
    byte : granularity of write enables; 0: the whole word
    old : whether a read of the word that is being written gives the old one
    units : block RAMs, in the unit of the device's size, or lookup tables
    """

    name: str
    kind: str
    bits: int
    widths: tuple[int, ...]
    cost: float
    scaled: float = 0
    byte: int = 0
    old: bool = False
    units: float = 1


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """A memory as a design has it: one read port, and perhaps one write port.

    Attributes
    ----------
    clocked : whether the read is registered
    written : whether it has a write port; else it is a ROM
    block : whether it asks for block RAM
    collides : whether a word may be read while it is written; the old one is meant then
    """

    width: int
    depth: int
    clocked: bool
    written: bool
    block: bool = False
    collides: bool = False


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """What a memory becomes.

    Attributes
    ----------
    cell : None where it stays logic
    cells : how many of them
    below : how many stand below each other, so that words must be selected
    delayed : whether writes are delayed by a cycle, since the cell cannot read what it writes
    """

    cell: MemoryCell | None
    cells: int = 0
    below: int = 1
    delayed: bool = False

    @property
    def bram(self) -> float:
        """Block RAMs, in the unit of the device's size."""
        return self.cells * self.cell.units if self.cell is not None and self.cell.kind == "block" else 0


_DP16KD = MemoryCell(name="DP16KD", kind="block", bits=14, widths=(1, 2, 4, 9, 18), cost=128, byte=9)
_PDPW16KD = MemoryCell(name="PDPW16KD", kind="block", bits=14, widths=(1, 2, 4, 9, 18, 36), cost=128, byte=9)
_DPR16X4 = MemoryCell(name="DPR16X4", kind="distributed", bits=4, widths=(4,), cost=4, units=6)


def _xilinx(distributed: Sequence[MemoryCell]) -> tuple[MemoryCell, ...]:
    """Both kinds of block RAM are there as halves and whole; a row of two is never cheaper than what it replaces."""
    sizes: list[MemoryCell] = []
    for ports, half, full in (("TDP", 18, 36), ("SDP", 36, 72)):
        for name, bits, cost, widest, units in (("RAMB18", 14, 129, half, 0.5), ("RAMB36", 15, 257, full, 1.0)):
            widths = tuple(w for w in (1, 2, 4, 9, 18, 36, 72) if w <= widest)
            sizes.append(
                MemoryCell(
                    name=f"{name} {ports}", kind="block", bits=bits, widths=widths, cost=cost, byte=9, old=True,
                    units=units,
                )
            )  # fmt: skip
    return (*sizes, *distributed)


def _tables(name: str, bits: int, width: int, cost: float, scaled: float, units: int) -> MemoryCell:
    return MemoryCell(
        name=name, kind="distributed", bits=bits, widths=(width,), cost=cost, scaled=scaled, units=units
    )  # fmt: skip


CELLS: dict[str, tuple[MemoryCell, ...]] = {
    "ecp5": (_DPR16X4, _DP16KD, _PDPW16KD),
    "xc7": _xilinx((
        _tables("RAM32X1D", 5, 4, 8, 8, 8), _tables("RAM64X1D", 6, 2, 8, 8, 8), _tables("RAM128X1D", 7, 1, 8, 8, 8),
        _tables("RAM32M", 5, 6, 8, 7, 4), _tables("RAM64M", 6, 3, 8, 7, 4),
    )),
    "xcup": _xilinx((
        _tables("RAM32X1D", 5, 8, 16, 16, 16), _tables("RAM64X1D", 6, 4, 16, 16, 16),
        _tables("RAM128X1D", 7, 2, 16, 16, 16), _tables("RAM256X1D", 8, 1, 16, 16, 16),
        _tables("RAM32M16", 5, 14, 16, 16, 8), _tables("RAM64M8", 6, 7, 16, 16, 8),
    )),
    "ice40": (MemoryCell(name="SB_RAM40_4K", kind="block", bits=11, widths=(2, 4, 8, 16), cost=64, byte=1),),
}  # fmt: skip
"""Memory cells of each family that memories of one write and one read port can become."""


@cache
def mapped(shape: MemoryShape, family: str) -> Mapping:
    """What synthesis makes of ``shape``."""
    logic = shape.width * shape.depth * (_RAM_BIT if shape.written else _ROM_BIT[family])
    kinds: dict[str, tuple[float, Mapping]] = {}
    for cell in CELLS[family]:
        if cell.kind == "distributed" and (not shape.written or shape.block):
            continue
        if cell.kind == "block" and not shape.clocked:
            continue
        found = _cheapest(shape, cell)
        if cell.kind not in kinds or found[0] < kinds[cell.kind][0]:
            kinds[cell.kind] = found
    # As the tool does it, whole numbers of what is best so far, and the first of equals.
    best, least = Mapping(cell=None), inf if shape.block else int(logic)
    for cost, mapping in kinds.values():
        if cost < least:
            best, least = mapping, int(cost)
    return best


def _cheapest(shape: MemoryShape, cell: MemoryCell) -> tuple[float, Mapping]:
    """The best shape of ``cell``, and what it costs."""
    points = 1  # for a read port of its own
    delayed = cell.kind == "block" and shape.collides and not cell.old
    if delayed:
        points += 6
    best: tuple[float, Mapping] | None = None
    least = 0
    for step, unit in enumerate(cell.widths):
        grain = min(cell.byte or unit, unit) if shape.written else 1
        below = -(-shape.depth // (1 << (cell.bits - step)))
        cells = -(-below * _padded(shape.width, grain) // unit)
        cost = (cell.cost - cell.scaled) * cells + cell.scaled * below * shape.width / unit
        cost += _SELECT * (below - 1) * shape.width + points * _EMULATED
        if shape.written and below > 1:
            cost += _SELECT * below
        if best is None or cost < least:
            best = cost, Mapping(cell=cell, cells=cells, below=below, delayed=delayed)
            least = int(cost)
    assert best is not None
    return best


def _padded(width: int, grain: int) -> int:
    return -(-width // grain) * grain
