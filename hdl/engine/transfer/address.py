"""The address and the words of a command that is carried out burst by burst, with as few adders as it takes."""

from typing import Any

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import either
from ...cells.known import FABRICS
from ...cells.words import Word
from ..plan import EnginePlan
from ..records import ADDRESS_BITS, RUN_BITS, STRIDE_BITS

__all__ = ["CommandPlace"]


class CommandPlace(wiring.Component):
    """Where the next burst of a command begins, and how many words are left.

    Members
    -------
    load : In, a command begins
    step : In, a burst goes out, unless a command begins
    base : In, the word of memory that has address 0
    address, words : In, of the command that begins
    advance : In, words from the begin of the burst to that of the next
    burst : In, words of the burst
    at : Out, the word of memory with which the next burst begins
    left : Out, words of the command that are left
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "load": In(1), "step": In(1), "base": In(ADDRESS_BITS), "address": In(ADDRESS_BITS), "words": In(RUN_BITS),
            "advance": In(max(STRIDE_BITS, plan.burst.bit_length())), "burst": In(range(plan.burst + 1)),
            "at": Out(ADDRESS_BITS), "left": Out(RUN_BITS),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fabric, load = FABRICS[self.plan.fabric], self.load
        # One adder each: a table in front of every carry chooses what begins or goes on, and what is added to it.
        advance = Cat(self.advance, Const(0, ADDRESS_BITS - len(self.advance)))
        burst = Cat(self.burst, Const(0, RUN_BITS - len(self.burst)))
        moved = fabric.add(m, [
            Word(inputs=(load, self.at, self.address), function=either),
            Word(inputs=(load, advance, self.base), function=either),
        ], (), ADDRESS_BITS, "moved")  # fmt: skip
        fewer = fabric.add(m, [
            Word(inputs=(load, self.left, self.words), function=either),
            Word(inputs=(load, burst), function=_less),
        ], [~load], RUN_BITS, "fewer")  # fmt: skip
        with m.If(load | self.step):
            m.d.sync += [self.at.eq(moved), self.left.eq(fewer)]
        return m


def _less(load: Any, value: Any) -> Any:
    """What is added, with a carry, to subtract ``value``; nothing where a command begins."""
    return ~value & ~load
