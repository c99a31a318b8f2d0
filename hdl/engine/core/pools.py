"""The pools of an engine: the largest value or the sum of the taps of a pixel, channel by channel."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...lanes.pool import Reduce
from ..plan import EnginePlan

__all__ = ["Pools"]


class Pools(wiring.Component):
    """``pin`` channels at once, a tap in every cycle; sums and ``done`` come ``latency`` cycles behind the last tap.

    Members
    -------
    x : In, ``pin`` elements
    signed : In, whether they have a sign
    largest : In, the largest tap is kept, else their sum; it holds until ``done``
    valid, first, last : In: there is a tap, the first or last of its pixel
    sums : Out, ``pin`` of ``plan.total``
    done : Out, ``sums`` are there
    """

    latency = Reduce.latency

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "x": In(plan.word_bits), "signed": In(1), "largest": In(1), "valid": In(1), "first": In(1), "last": In(1),
            "sums": Out(plan.pin * plan.sum_bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan = self.plan
        operands = []
        for k in range(plan.pin):
            raw = self.x.word_select(k, plan.bits)
            operands.append(Cat(raw, raw[-1] & self.signed))
        wide = Cat(operands)
        found = {}
        for function, total in (("max", plan.operand), ("sum", plan.total)):
            unit = Reduce(function=function, lanes=plan.pin, x=plan.operand, total=total)
            m.submodules[function] = unit
            m.d.comb += [
                unit.x.eq(wide), unit.valid.eq(self.valid), unit.first.eq(self.first), unit.last.eq(self.last),
            ]  # fmt: skip
            sums = []
            for k in range(plan.pin):
                total_k = Signal(plan.sum_bits, name=f"{function}{k}")
                m.d.comb += total_k.eq(unit.sums.word_select(k, total.bits).as_signed())
                sums.append(total_k)
            found[function] = Cat(sums)
        m.d.comb += [
            self.sums.eq(Mux(self.largest, found["max"], found["sum"])), self.done.eq(m.submodules["sum"].done),
        ]  # fmt: skip
        return m
