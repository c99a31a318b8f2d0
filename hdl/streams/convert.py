"""Streams in beats of another width: gathered, split, or both."""

from math import lcm
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .beats import elements

__all__ = ["Narrow", "Widen", "adapted"]


class Widen(wiring.Component):
    """Gathers ``factor`` beats of ``count`` elements into one, the first lowest.

    Takes a beat in every cycle in which the gathered beat is incomplete or leaves; the gathered beat is there in the
    cycle after its last part.
    """

    def __init__(self, *, bits: int, count: int, factor: int):
        self.factor = factor
        super().__init__(
            {
                "i": In(stream.Signature(elements(bits, count))),
                "o": Out(stream.Signature(elements(bits, count * factor))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        part = len(self.i.payload.as_value())
        held = Signal(part * self.factor)
        missing = Signal(range(self.factor + 1), init=self.factor)
        m.d.comb += [
            self.o.payload.as_value().eq(held),
            self.o.valid.eq(missing == 0),
            self.i.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += missing.eq(Mux(self.i.valid, self.factor - 1, self.factor))
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += missing.eq(missing - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += held.eq(Cat(held, self.i.payload.as_value()) >> part)
        return m


class Narrow(wiring.Component):
    """Splits a beat into ``factor`` beats of ``count`` elements, the lowest first; one part per cycle."""

    def __init__(self, *, bits: int, count: int, factor: int):
        self.factor = factor
        super().__init__(
            {
                "i": In(stream.Signature(elements(bits, count * factor))),
                "o": Out(stream.Signature(elements(bits, count))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held = Signal.like(self.i.payload.as_value())
        left = Signal(range(self.factor + 1))
        m.d.comb += [
            self.o.payload.as_value().eq(held),
            self.o.valid.eq(left != 0),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.eq(held >> len(self.o.payload.as_value())), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload.as_value()), left.eq(self.factor)]
        return m


def adapted(m: Module, name: str, source: Any, *, bits: int, have: int, want: int) -> Any:
    """``source``, of ``have`` elements per beat, in beats of ``want``: gathered, split or both."""
    whole = lcm(have, want)
    if whole > have:
        m.submodules[f"widen_{name}"] = widen = Widen(bits=bits, count=have, factor=whole // have)
        wiring.connect(m, source, widen.i)
        source = widen.o
    if whole > want:
        m.submodules[f"split_{name}"] = narrow = Narrow(bits=bits, count=want, factor=whole // want)
        wiring.connect(m, source, narrow.i)
        source = narrow.o
    return source
