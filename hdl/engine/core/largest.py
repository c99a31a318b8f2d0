"""Across the rows: which of the results of a pixel is the largest, or that one, in place of all of them."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import same
from ...cells.known import FABRICS
from ...cells.words import Word
from ...streams.delay import later
from ..plan import EnginePlan
from ..records import Across

__all__ = ["LargestRow", "largest_latency"]


def largest_latency(plan: EnginePlan) -> int:
    """Cycles from results to what becomes of all of them: a comparison for each halving of the rows."""
    return (plan.pout - 1).bit_length()


class LargestRow(wiring.Component):
    """Compares the results of ``pout`` rows two by two, in a pipeline; of equal ones the lower row wins.

    What becomes of them stands in row 0, and the other rows are 0. What other layers make passes by, without delay.

    Members
    -------
    across : In, of `records.Across`; must not change while a pixel is on its way
    values : In, ``pout`` of ``plan.result``, until the next ``valid``; those that are compared within ``plan.residual``
    valid : In, there is a pixel
    results : Out, as ``values``: ``largest_latency`` cycles later, or the values in the same cycle
    done : Out, ``results`` are there
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.latency = largest_latency(plan)
        size = plan.pout * plan.result.bits
        super().__init__({
            "across": In(2), "values": In(size), "valid": In(1), "results": Out(size), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, bits = self.plan, self.plan.result.bits
        width = min(plan.residual.bits, bits)
        left: list[tuple[Value, tuple[Value, ...]]] = [
            (self.values.word_select(row, bits)[:width], ()) for row in range(plan.pout)
        ]  # fmt: skip
        for rank in range(self.latency):
            pairs = zip(left[::2], left[1::2], strict=True)
            left = [self._larger(m, f"{rank}_{place}", *pair) for place, pair in enumerate(pairs)]
        (value, number), passes = left[0], self.across == Across.NOTHING
        value = Cat(value, value[-1].replicate(bits - len(value)))
        found = Mux(self.across == Across.NUMBER, Cat(number), value)
        m.d.comb += [
            self.results.eq(Mux(passes, self.values, found)),
            self.done.eq(Mux(passes, self.valid, later(m, self.valid, self.latency, name="ends"))),
        ]  # fmt: skip
        return m

    def _larger(
        self, m: Module, name: str, lower: tuple[Value, tuple[Value, ...]], upper: tuple[Value, tuple[Value, ...]]
    ) -> tuple[Value, tuple[Value, ...]]:
        """The larger of two values, with the bits of its number: one more than theirs, the highest."""
        own, other = (Word(inputs=(value,), function=same, flip=True) for value, _ in (lower, upper))
        wins = FABRICS[self.plan.fabric].less(m, own, other, f"less{name}")
        value = Signal(len(lower[0]), name=f"value{name}", reset_less=True)
        number = Signal(len(lower[1]) + 1, name=f"number{name}", reset_less=True)
        bits = [Mux(wins, own, other) for own, other in zip(upper[1], lower[1], strict=True)]
        m.d.sync += [value.eq(Mux(wins, upper[0], lower[0])), number.eq(Cat(*bits, wins))]
        return value, tuple(number)
