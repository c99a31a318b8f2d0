"""Tables: a function of one value, looked up behind the clamp of the requantisers."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...memory.ring import NO_COLLISION
from ...streams.delay import later
from ..plan import EnginePlan

__all__ = ["RowTables"]


_ATTRIBUTES = {**NO_COLLISION, "ram_style": "block"}
"""As lookup tables it would take 64 of them a row, for 256 entries of 8 bits."""


class RowTables(wiring.Component):
    """Results as they are, or what the table of their row has at their place.

    Two rows share a block RAM, each with a port and half of the words. A word of memory brings an entry of every row,
    as constants come. What comes out of it has a register before anything else.

    Members
    -------
    word, load : In, a word of entries, the next one of the table; none while a result is on its way
    begin : In, the next word that is loaded is entry 0
    results : In, ``pout`` of ``plan.result``, until the next ``valid``; those that are looked up are 0 or more
    valid : In, there is a pixel
    look : In, it is looked up; must not change while a pixel is on its way
    values : Out, ``pout`` of ``plan.result``, ``latency`` cycles later, until the next ``done``; of what was looked up
        the bits of an element alone
    done : Out, ``values`` are there
    """

    latency = 2

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        results = plan.pout * plan.result.bits
        super().__init__({
            "word": In(plan.pout * plan.bits), "load": In(1), "begin": In(1), "results": In(results), "valid": In(1),
            "look": In(1), "values": Out(results), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, place, values = self.plan, Signal(self.plan.tables), []
        with m.If(self.load):
            m.d.sync += place.eq(place + 1)
        with m.If(self.begin):
            m.d.sync += place.eq(0)
        for row in range(plan.pout):
            if row % 2 == 0:
                m.submodules[f"tables{row}"] = tables = memory.Memory(
                    shape=plan.bits, depth=2 << plan.tables, init=[], attrs=_ATTRIBUTES
                )
            result = self.results.word_select(row, plan.result.bits)
            at = Signal(plan.tables + 1, name=f"at{row}")
            write, read = tables.write_port(), tables.read_port()
            m.d.comb += [
                at.eq(Cat(Mux(self.load, place, result[: plan.tables]), Const(row % 2, 1))),
                write.addr.eq(at), write.data.eq(self.word.word_select(row, plan.bits)), write.en.eq(self.load),
                read.addr.eq(at), read.en.eq(~self.load),
            ]  # fmt: skip
            late, value = (Signal(plan.result.bits, name=f"{name}{row}", reset_less=True) for name in ("late", "value"))
            m.d.sync += [late.eq(result), value.eq(Mux(self.look, read.data, late))]
            values.append(value)
        m.d.comb += [self.values.eq(Cat(values)), self.done.eq(later(m, self.valid, self.latency, name="done"))]
        return m
