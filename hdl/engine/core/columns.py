"""The last words of a row, which a depthwise layer takes together: columns of its window side by side."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..plan import EnginePlan

__all__ = ["WindowColumns"]


class WindowColumns(wiring.Component):
    """The word of this cycle and ``plan.depthwise - 1`` words before it; those that are not wanted are 0.

    Members
    -------
    x : In, a word of features, or the part of it that the rows read
    valid : In, it is one that was asked for
    together : In, words that are wanted; a cycle before that of ``x``
    columns : Out, word k is the one that came k words before ``x``
    """

    def __init__(self, plan: EnginePlan):
        self.count, self.width = plan.depthwise, plan.pout * plan.bits
        super().__init__({
            "x": In(self.width), "valid": In(1), "together": In(range(self.count + 1)),
            "columns": Out(self.count * self.width),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = [self.x, *(Signal(self.width, name=f"before{k}") for k in range(1, self.count))]
        for k in range(1, self.count):
            with m.If(self.together <= k):
                m.d.sync += words[k].eq(0)
            with m.Elif(self.valid):
                m.d.sync += words[k].eq(words[k - 1])
        m.d.comb += self.columns.eq(Cat(words))
        return m
