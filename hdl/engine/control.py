"""Registers of an engine: who it is, where its image stands, start, status, an interrupt."""

import json
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...common.files import sha256_of
from ..bus.register_map import BusRegister, Field, RegisterMap
from ..bus.registers import RegisterFile, Request, Response
from .plan import EnginePlan

__all__ = ["EngineControl", "engine_identity", "engine_map"]

MAGIC = int.from_bytes(b"ADXE", "big")
VERSION = 2
"""Of the map and of what stands in memory; grows with every change that software or an image could notice."""


def engine_identity(plan: EnginePlan) -> int:
    """64 bits that differ between engines for which images differ or whose RTL does."""
    value = {"version": VERSION, "plan": plan.to_json()}
    return int(sha256_of(json.dumps(value, sort_keys=True).encode())[:16], 16)


def engine_map(plan: EnginePlan) -> RegisterMap:
    """The registers of an engine of ``plan``."""

    def ro(name: str, offset: int, meaning: str, **more: Any) -> BusRegister:
        return BusRegister(name=name, offset=offset, access="ro", meaning=meaning, **{"width": 32, **more})

    status = (
        Field(name="busy", bit=0, meaning="a run has begun and has not ended"),
        Field(name="done", bit=1, meaning="a run has ended since this was cleared in `events`"),
        Field(name="error", bit=8, width=2, meaning="of the last run: 0 none, 1 a read, 2 a write was refused"),
    )  # fmt: skip
    control = (
        Field(name="start", bit=0, meaning="a one begins a run; reads as 0"),
        Field(name="interrupt", bit=1, meaning="`irq` is up while `done` is"),
    )  # fmt: skip
    events = (
        Field(name="access", bit=0, meaning="no such register, or not this way"),
        Field(name="busy", bit=1, meaning="start while a run went on; it was not heeded"),
        Field(name="done", bit=2, meaning="a run has ended"),
    )  # fmt: skip
    return RegisterMap(
        registers=(
            ro("magic", 0x00, "an addax engine: the letters ADXE, A highest", value=MAGIC),
            ro("map_version", 0x04, "version of this map and of images", value=VERSION),
            ro("build", 0x08, "hash of the Plan; that of an image must be the same", width=64,
               value=engine_identity(plan)),
            ro("lanes", 0x10, "bits 0..7 Pin, 8..15 Pout, 16..23 bits of an element",
               value=plan.pin | plan.pout << 8 | plan.bits << 16),
            ro("status", 0x18, "what it does", fields=status),
            BusRegister(name="control", offset=0x1C, width=2, access="rw", meaning="what it shall do", fields=control),
            BusRegister(name="events", offset=0x20, width=3, access="w1c", meaning="what happened", fields=events),
            BusRegister(name="base", offset=0x24, width=32, access="rw",
                        meaning=f"where the image stands, in words of {plan.word_bytes} bytes; a multiple of 4 KiB"),
            BusRegister(name="first", offset=0x28, width=8, access="rw", meaning="words of the first commands"),
            ro("cycles", 0x30, "cycles of the last run, or of this one so far", width=64),
        ),
        stages=(), stage_registers=(), stage_base=0x100, stage_stride=16, memories=(),
    )  # fmt: skip


class EngineControl(wiring.Component):
    """What the registers do.

    Members
    -------
    request, response : of the bus
    start, base, first, busy, error : of the `Engine`
    irq : Out, a run has ended, if that was asked for
    """

    def __init__(self, plan: EnginePlan):
        self.map = engine_map(plan)
        super().__init__({
            "request": In(Request(self.map.address_bits)), "response": Out(Response()),
            "start": Out(1), "base": Out(32), "first": Out(8), "busy": In(1), "error": In(2), "irq": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = file = RegisterFile(self.map, address_bits=self.map.address_bits)
        wiring.connect(m, wiring.flipped(self.request), file.request)
        wiring.connect(m, wiring.flipped(self.response), file.response)
        ports = file.ports
        asked, interrupt, was_busy = Signal(), Signal(), Signal()
        events, cycles = Signal(3), Signal(64)
        m.d.comb += [
            asked.eq(ports.control.written & ports.control.data[0]), self.start.eq(asked & ~self.busy),
            ports.control.value.eq(interrupt << 1), ports.events.value.eq(events), ports.cycles.value.eq(cycles),
            ports.base.value.eq(self.base), ports.first.value.eq(self.first),
            ports.status.value.eq(Cat(self.busy, events[2]) | self.error << 8), self.irq.eq(interrupt & events[2]),
        ]  # fmt: skip
        for port, register in ((ports.base, self.base), (ports.first, self.first)):
            with m.If(port.written & ~self.busy):
                m.d.sync += register.eq(port.data)
        with m.If(ports.control.written):
            m.d.sync += interrupt.eq(ports.control.data[1])
        found = Cat(file.refused, asked & self.busy, was_busy & ~self.busy)
        cleared = Signal(3)
        with m.If(ports.events.written):
            m.d.comb += cleared.eq(ports.events.data)
        m.d.sync += [was_busy.eq(self.busy), events.eq(events & ~cleared | found)]
        with m.If(self.start):
            m.d.sync += cycles.eq(1)
        with m.Elif(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        return m
