"""Thresholds of several levels behind the requantisers: how many of a channel's levels a result reaches."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import same
from ...cells.known import FABRICS
from ...cells.words import Word
from ...streams.delay import later
from ..plan import EnginePlan
from ..records import levels_record
from .held import held_fields

__all__ = ["LevelCounts", "levels_latency"]


def levels_latency(plan: EnginePlan) -> int:
    """Cycles from a result to its count: a comparison for each bit of it."""
    return plan.levels.bit_length()


class LevelCounts(wiring.Component):
    """The count of levels that each of ``pout`` results reaches, found by halving, in a pipeline.

    One comparison says whether the middle level is reached, and so which half holds the first level that is not; the
    next one takes the middle of that half. Of 2 ** k - 1 levels k are compared, rather than all.

    What layers without levels make passes by, without delay.

    Members
    -------
    word : In, an element of every channel's levels, see `records.levels_record`
    shift : In; ``word`` is taken
    counting : In, the layer has levels
    values : In, ``pout`` of ``plan.result``, of such a layer within ``plan.level``
    valid : In, there is a pixel
    results : Out, as ``values``: the counts ``levels_latency`` cycles later, or the values in the same cycle
    done : Out, ``results`` are there
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.latency = levels_latency(plan)
        size = plan.pout * plan.result.bits
        super().__init__({
            "word": In(plan.pout * plan.bits), "shift": In(1), "counting": In(1), "values": In(size), "valid": In(1),
            "results": Out(size), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, record, bits = self.plan, levels_record(self.plan), self.plan.result.bits
        results = []
        for row in range(plan.pout):
            field = held_fields(m, plan, record, row, word=self.word, shift=self.shift, name="levels")
            value = self.values.word_select(row, bits)
            count = self._count(m, row, value[: plan.level.bits], [level.as_unsigned() for level in field.values()])
            # A count is one word of a result; what stands above that is never looked at.
            results.append(Cat(Mux(self.counting, count, value[: plan.bits]), value[plan.bits :]))
        m.d.comb += [
            self.results.eq(Cat(results)),
            self.done.eq(Mux(self.counting, later(m, self.valid, self.latency, name="ends"), self.valid)),
        ]  # fmt: skip
        return m

    def _count(self, m: Module, row: int, value: Value, levels: list[Value]) -> Value:
        """The count: of each comparison one bit, the highest first."""
        fabric, found, half = FABRICS[self.plan.fabric], None, len(levels) + 1
        for rank in range(self.latency):
            half //= 2
            middles = levels[half - 1 :: 2 * half]
            middle = Signal(len(value), name=f"middle{row}_{rank}")
            m.d.comb += middle.eq(middles[0] if found is None else Array(middles)[found])
            own, other = (Word(inputs=(bits,), function=same, flip=True) for bits in (value, middle))
            missed = fabric.less(m, own, other, f"missed{row}_{rank}")
            following = Signal(rank + 1, name=f"found{row}_{rank}", reset_less=True)
            m.d.sync += following.eq(~missed if found is None else Cat(~missed, found))
            value, found = later(m, value, name=f"value{row}_{rank}"), following
        assert found is not None
        return found
