"""Thresholds: ``y`` = how many of a channel's levels a sum reaches. Few units for many rows of an array."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ..bus.reload import Reload, port_of
from ..memory.image import Image, Rom
from .turn import fetch_in_turn, hold_in_turn

__all__ = ["LATENCY", "Levels", "Thresholder"]

LATENCY = 4
"""Cycles from ``done`` of the array to the first ``valid``: capture, operands, comparisons, count."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Layout of a word of levels: for each unit its levels, the lowest lowest, and above them whether it is falling.

    Attributes
    ----------
    level : format of a level: the sums' own, and one value more, which no sum reaches
    count : levels per channel
    """

    level: Format
    count: int
    units: int

    @property
    def unit_width(self) -> int:
        """Bits of one unit's part."""
        return self.count * self.level.bits + 1

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.units * self.unit_width

    def pack(self, levels: list[list[int]], falling: list[int]) -> int:
        """One word of the levels (units, count) and directions (units,)."""
        word = 0
        for own, down in zip(reversed(levels), reversed(falling), strict=True):
            part = down
            for level in reversed(own):
                part = part << self.level.bits | self.level.encode(level)
            word = word << self.unit_width | part
        return word

    def unpack(self, word: int) -> tuple[list[list[int]], list[int]]:
        """Levels and directions of all units."""
        levels, falling = [], []
        mask = (1 << self.level.bits) - 1
        for _ in range(self.units):
            own = []
            for _ in range(self.count):
                own.append(self.level.decode(word & mask))
                word >>= self.level.bits
            levels.append(own)
            falling.append(word & 1)
            word >>= 1
        return levels, falling


class Thresholder(wiring.Component):
    """Takes ``pe`` sums with ``done``, gives them back as small numbers, ``units`` at a time, in consecutive cycles.

    ``done`` must not come again within ``pe / units`` cycles. It never stalls: what follows must have room.

    Members
    -------
    sums : In, pe elements of the sum format
    done : In
    y : Out, units elements of the result format
    valid : Out

    Parameters
    ----------
    levels : layout of ``image``
    reload : wires that write it, if it can be written
    memory : kind of that memory, of `memory.image.ROMS`
    """

    def __init__(
        self, *, pe: int, total: Format, levels: Levels, result: Format, image: Image, prefix: str | None,
        reload: Reload | None = None, memory: str = "auto",
    ):  # fmt: skip
        if levels.units < 1 or pe % levels.units:
            raise ValueError(f"units must divide {pe} rows, not be {levels.units}")
        self.pe = pe
        self.total = total
        self.levels = levels
        self.result = result
        self.image = image
        self.prefix = prefix
        self.reload = reload
        self.memory = memory
        super().__init__(
            {
                "sums": In(pe * total.bits),
                "done": In(1),
                "y": Out(levels.units * result.bits),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout, units, bits = self.levels, self.levels.units, self.total.bits
        held, coming, _, valid = hold_in_turn(
            m, self.sums, self.done, beats=self.pe // units, width=units * bits, latency=LATENCY
        )
        m.d.comb += self.valid.eq(valid)
        m.submodules.levels = rom = Rom(
            self.image, prefix=self.prefix, write=port_of(self.reload, self.image), kind=self.memory
        )  # fmt: skip
        word = fetch_in_turn(m, rom, coming)
        for unit in range(units):
            # Levels come out of block RAM, which takes half a cycle: they get a register before the comparison.
            mine = Signal(layout.unit_width, name=f"levels{unit}")
            operand = Signal(bits, name=f"operand{unit}")
            value = operand.as_signed() if self.total.signed else operand
            reached = Signal(layout.count, name=f"reached{unit}")
            falling = Signal(name=f"falling{unit}")
            y = Signal(self.result.bits, name=f"y{unit}")
            m.d.sync += [
                mine.eq(word.word_select(unit, layout.unit_width)),
                operand.eq(held.word_select(unit, bits)),
                falling.eq(mine[-1]),
            ]
            for k in range(layout.count):
                level = mine.word_select(k, layout.level.bits)
                m.d.sync += reached[k].eq(value >= (level.as_signed() if layout.level.signed else level))
            count = sum(reached[k] for k in range(layout.count))
            m.d.sync += y.eq(Mux(falling, layout.count - count, count))
            m.d.comb += self.y.word_select(unit, self.result.bits).eq(y)
        return m
