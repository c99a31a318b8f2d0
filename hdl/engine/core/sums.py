"""The sums of a round of pixels: one word of a memory for each, read, added to and written back in a pipeline."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ....quant.formats import Format
from ...cells.known import FABRICS
from ...cells.words import Word, plain
from ...streams.delay import later
from ..plan import EnginePlan

__all__ = ["PixelSums"]


class PixelSums(wiring.Component):
    """Adds steps to the sums of pixels; those of a last step leave and are not kept. Pools use the same adders.

    ``fetch`` comes two cycles before the step of its pixel, ``done`` and ``sums`` one cycle behind it. A pixel may come
    again four cycles later. The taps of a pool come one behind the other and meet what stands in ``sums``: each is
    added to it, or takes its place where it is larger, or, of a choice, unless the one that is meant stands there.

    Members
    -------
    fetch : In, number of the pixel; two cycles before ``words``
    fresh : In, the sum of the pixel begins, and that of any tap of a pool; one cycle before ``words``
    words, carries : In, what each row adds, see `lanes.Lanes`
    valid, last : In, in the cycle of ``words``: there is a step; it ends the sum
    pool, first, largest : In, in the cycle of ``words``: they are a tap of a pool, without a sign; the first one of its
        pixel; the largest is kept, else their sum
    choosing : In, of an engine whose pixels choose; one of the taps behind the first is kept, see `records.Unit`
    keeps : In, of an engine whose means are cut, in the cycle of ``words``: the sum of a pool is kept as that of a step
        is, and goes on with the next tap that is not ``fresh``
    sums : Out, ``pout`` sums of ``plan.total``
    done : Out, ``sums`` are complete
    """

    latency = 1

    def __init__(self, plan: EnginePlan, step: Format):
        self.plan = plan
        self.step = step
        super().__init__({
            "fetch": In(range(plan.pixels)), "fresh": In(1),
            "words": In(plan.pout * step.bits), "carries": In(plan.pout),
            "valid": In(1), "last": In(1), "pool": In(1), "first": In(1), "largest": In(1),
            **({"choosing": In(1)} if plan.choices else {}), **({"keeps": In(1)} if plan.means else {}),
            "sums": Out(plan.pout * plan.sum_bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, step, fabric = self.plan, self.step, FABRICS[self.plan.fabric]
        m.submodules.held = held = memory.Memory(shape=plan.pout * plan.sum_bits, depth=plan.pixels, init=[])
        read, write = held.read_port(), held.write_port()
        again, comparing = Signal(), Signal()
        passes = self._passes(m) if plan.choices else None
        single = self.largest | self.choosing if plan.choices else self.largest
        m.d.comb += [
            again.eq(self.pool & ~self.first & ~single), comparing.eq(self.pool & ~self.first & self.largest),
        ]  # fmt: skip
        afters = []
        for row in range(plan.pout):
            word, carry = self.words.word_select(row, step.bits), self.carries[row]
            # What comes out of block RAM gets a register before any arithmetic.
            total = Signal(plan.sum_bits, name=f"total{row}", reset_less=True)
            after = Signal(plan.sum_bits, name=f"after{row}", reset_less=True)
            before = Word(inputs=(total, after, again), function=_either_of)
            added = fabric.add(m, [before, plain(word, signed=step.signed)], [carry], plan.sum_bits, f"row{row}_after")
            larger = fabric.less(
                m, plain(after[: plan.bits]), plain(word[: plan.bits]), f"row{row}_larger", enable=comparing
            )
            with m.If(self.fresh):
                m.d.sync += total.eq(0)
            with m.Else():
                m.d.sync += total.eq(read.data.word_select(row, plan.sum_bits))
            takes = ~comparing | larger
            with m.If(takes if passes is None else takes & ~passes):
                m.d.sync += after.eq(added)
            afters.append(after)
        kept = Signal()
        if plan.means:
            stays = Mux(self.pool, self.last & self.keeps, ~self.last)
            m.d.sync += [kept.eq(self.valid & stays), self.done.eq(self.valid & self.last & ~self.keeps)]
        else:
            m.d.sync += [kept.eq(self.valid & ~self.last & ~self.pool), self.done.eq(self.valid & self.last)]
        m.d.comb += [
            read.addr.eq(self.fetch), self.sums.eq(Cat(afters)), write.data.eq(self.sums), write.en.eq(kept),
            write.addr.eq(later(m, self.fetch, 3, name="place")),
        ]  # fmt: skip
        return m

    def _passes(self, m: Module) -> Value:
        """Whether a tap is none of those up to the one that is kept."""
        # Without the highest bit of an element, which may have been inverted as that of one with a sign.
        number = self.words[: self.plan.bits - 1]
        left = Signal(signed_shape(self.plan.bits))
        with m.If(self.pool):
            m.d.sync += left.eq(Mux(self.first, number, left - 1))
        passes = Signal()
        m.d.comb += passes.eq(self.choosing & self.pool & ~self.first & left[-1])
        return passes


def _either_of(total: Any, after: Any, again: Any) -> Any:
    """``total``, which is 0 where ``after`` is meant."""
    return total | (after & again)
