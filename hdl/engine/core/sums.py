"""The sums of a round of pixels: one word of a memory for each, read, added to and written back in a pipeline."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ....quant.formats import Format
from ...cells.known import FABRICS
from ...cells.words import plain
from ...lanes.terms import Sums, Term
from ...lanes.tree import accumulate
from ...streams.delay import later
from ..plan import EnginePlan

__all__ = ["PixelSums"]


class PixelSums(wiring.Component):
    """Adds steps to the sums of pixels; those of a last step leave and are not kept.

    ``fetch`` comes one cycle before the step of its pixel, ``done`` and ``sums`` one cycle behind it. A pixel may come
    again three cycles later.

    Members
    -------
    fetch : In, number of the pixel
    words, carries : In, what each row adds, see `lanes.Lanes`; one cycle behind ``fetch``
    valid, first, last : In, in the cycle of ``words``: there is a step; it begins the sum; it ends it
    sums : Out, ``pout`` sums of ``plan.total``
    done : Out, ``sums`` are complete
    """

    latency = 1

    def __init__(self, plan: EnginePlan, step: Format):
        self.plan = plan
        self.step = step
        super().__init__({
            "fetch": In(range(plan.pixels)),
            "words": In(plan.pout * step.bits), "carries": In(plan.pout),
            "valid": In(1), "first": In(1), "last": In(1),
            "sums": Out(plan.pout * plan.sum_bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, step, fabric = self.plan, self.step, FABRICS[self.plan.fabric]
        m.submodules.held = held = memory.Memory(shape=plan.pout * plan.sum_bits, depth=plan.pixels, init=[])
        read, write = held.read_port(), held.write_port()
        rows = [
            [Term(word=plain(self.words.word_select(row, step.bits), signed=step.signed), carries=(self.carries[row],),
                  lo=step.lo, hi=step.hi)]
            for row in range(plan.pout)
        ]  # fmt: skip
        afters = []
        for row in range(plan.pout):
            total = Signal(plan.sum_bits, name=f"total{row}")
            m.d.comb += total.eq(read.data.word_select(row, plan.sum_bits))
            after = Signal(plan.sum_bits, name=f"after{row}", reset_less=True)
            m.d.sync += after.eq(accumulate(m, fabric, total, self.first, Sums(rows=rows), row))
            afters.append(after)
        kept = Signal()
        m.d.sync += [kept.eq(self.valid & ~self.last), self.done.eq(self.valid & self.last)]
        m.d.comb += [
            read.addr.eq(self.fetch), self.sums.eq(Cat(afters)), write.data.eq(self.sums), write.en.eq(kept),
            write.addr.eq(later(m, self.fetch, 2, name="place")),
        ]  # fmt: skip
        return m
