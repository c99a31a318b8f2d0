"""One stream for several readers."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Fork"]


class Fork(wiring.Component):
    """Gives every beat to ``count`` readers, each of which takes it when it can.

    The next beat comes when all have taken this one, in the cycle after the last of them at the earliest.

    Members
    -------
    i : In stream
    o0, o1, .. : Out streams
    """

    def __init__(self, shape: Any, *, count: int):
        if count < 2:
            raise ValueError(f"readers of a fork must be at least 2, not {count!r}")
        self.count = count
        outputs = {f"o{k}": Out(stream.Signature(shape)) for k in range(count)}
        super().__init__({"i": In(stream.Signature(shape)), **outputs})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken = Signal(self.count)
        outputs = [getattr(self, f"o{k}") for k in range(self.count)]
        done = Cat(had | (o.ready & o.valid) for had, o in zip(taken, outputs, strict=True))
        m.d.comb += self.i.ready.eq(done.all())
        for had, o in zip(taken, outputs, strict=True):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~had)]
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(self.i.ready, 0, done))
        return m
