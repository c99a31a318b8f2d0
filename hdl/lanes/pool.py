"""The array of a pool: lanes that keep the largest of their features, or add them."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ..streams.delay import trail
from .terms import typed

__all__ = ["PoolArray"]


class PoolArray(wiring.Component):
    """The array of a pool: ``lanes`` independent channels, the largest or the sum over the steps of a group.

    Members are those of `FoldedArray` without weights; ``latency`` is 2: operand registers, accumulator.
    """

    latency = 2

    def __init__(self, *, function: str, lanes: int, x: Format, total: Format):
        if function not in ("max", "sum"):
            raise ValueError(f"function of a pool must be max or sum, not {function!r}")
        self.function = function
        self.lanes = lanes
        self.x_format = x
        self.total = total
        super().__init__(
            {
                "x": In(lanes * x.bits),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "sums": Out(lanes * total.bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x_held = Signal.like(self.x)
        m.d.sync += x_held.eq(self.x)
        valid, first, last = (trail(m, s, 1) for s in (self.valid, self.first, self.last))
        for lane in range(self.lanes):
            x = typed(x_held.word_select(lane, self.x_format.bits), self.x_format)
            total = Signal(self.total.bits, name=f"total{lane}")
            before = typed(total, self.total)
            after = Mux(x > before, x, before) if self.function == "max" else before + x
            with m.If(valid):
                m.d.sync += total.eq(Mux(first, x, after))
            m.d.comb += self.sums.word_select(lane, self.total.bits).eq(total)
        m.d.sync += self.done.eq(valid & last)
        return m
