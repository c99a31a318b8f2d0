"""Softmax: how far the scores of a token lie below the largest of them."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import EnginePlan
from .widths import NormTiming

__all__ = ["ScoreDistances", "distance_latency"]


def distance_latency(arrival: int) -> int:
    """Cycles from a tap to the distances of its scores, where features come ``arrival`` cycles behind it."""
    return arrival + 1


class ScoreDistances(wiring.Component):
    """``m - s`` of the scores of a head, m the largest of a token, in the place of sums in front of the requantisers.

    A band of tokens goes by twice, as that of a layer norm does: for the largest score of each, which stands in a
    memory, and for the distances to it. What follows is a requantise that changes nothing but clamps, and a table.

    Members
    -------
    word, signed : In, scores, ``arrival`` cycles behind their tap, and whether they have a sign
    counts : In, with them, of which channels there are scores: the lowest bit of each element
    pixel, issued : In, number of the token, in the cycle of its tap; there is one
    scaling, opens, closes : In, with it: the band goes by the second time; the first block of the first time; the
        last tap of the last one
    there : Out, a band may go by the second time
    sums : Out, ``pout`` of ``plan.total``
    done : Out, ``sums`` are those of a token
    """

    def __init__(self, plan: EnginePlan, arrival: int):
        self.plan, self.arrival, self.timing = plan, arrival, NormTiming.of(plan, arrival)
        super().__init__({
            "word": In(plan.word_bits), "signed": In(1), "counts": In(plan.word_bits),
            "pixel": In(range(plan.pixels)), "issued": In(1), "scaling": In(1), "opens": In(1), "closes": In(1),
            "there": Out(1, init=1), "sums": Out(plan.pout * plan.sum_bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, summed = self.plan, self.timing.summed
        again, adds = self.issued & self.scaling, self.issued & ~self.scaling
        # From here on scores count from the lowest value, which only inverts the highest bit.
        scores = [
            Cat(own[:-1], own[-1] ^ self.signed)
            for own in (self.word.word_select(row, plan.bits) for row in range(plan.pin))
        ]
        m.submodules.held = held = memory.Memory(shape=plan.bits, depth=plan.pixels, init=[])
        write = held.write_port()
        read = held.read_port(transparent_for=(write,))
        fetched = later(m, self.pixel, summed - 2, name="fetched")
        before, largest = Signal(plan.bits, reset_less=True), self._largest(m, scores)
        first = later(m, self.opens, summed, name="first")
        m.d.comb += read.addr.eq(Mux(again, self.pixel, fetched))
        m.d.sync += [
            before.eq(read.data), write.data.eq(Mux(first | (largest > before), largest, before)),
            write.addr.eq(later(m, fetched, 2, name="place")), write.en.eq(later(m, adds, summed, name="adds")),
        ]  # fmt: skip
        with m.If(later(m, self.closes, summed + 1, name="closes")):
            m.d.sync += self.there.eq(1)
        with m.Elif(adds):
            m.d.sync += self.there.eq(0)
        self._distances(m, scores, before)
        m.d.comb += self.done.eq(later(m, again, distance_latency(self.arrival), name="done"))
        return m

    def _largest(self, m: Module, scores: list[Value]) -> Value:
        """The largest score of a word, ``timing.summed`` cycles behind its tap; what is none counts as the lowest."""
        ranked: list[Value] = []
        for row, score in enumerate(scores):
            kept = Signal(self.plan.bits, name=f"score{row}", reset_less=True)
            m.d.sync += kept.eq(Mux(self.counts.word_select(row, self.plan.bits)[0], score, 0))
            ranked.append(kept)
        level = 0
        while len(ranked) > 1:
            pairs = list(zip(ranked[::2], ranked[1::2], strict=True))
            ranked = [Signal(self.plan.bits, name=f"larger{level}_{k}", reset_less=True) for k in range(len(pairs))]
            m.d.sync += [larger.eq(Mux(a > b, a, b)) for larger, (a, b) in zip(ranked, pairs, strict=True)]
            level += 1
        return later(m, ranked[0], name="largest")

    def _distances(self, m: Module, scores: list[Value], largest: Value) -> None:
        """Of each row, a cycle behind its features."""
        late = later(m, largest, self.arrival - 2, name="late")
        sums = []
        for row, score in enumerate(scores):
            distance = Signal(signed_shape(self.plan.bits + 1), name=f"distance{row}", reset_less=True)
            total = Signal(signed_shape(self.plan.sum_bits), name=f"total{row}")
            m.d.sync += distance.eq(late - score)
            m.d.comb += total.eq(distance)
            sums.append(total)
        m.d.comb += self.sums.eq(Cat(sums))
