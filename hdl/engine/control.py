"""Registers of an engine: who it is, where its image stands, start, status, an interrupt."""

import json
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...common.files import sha256_of
from ..bus.counters import CounterBank, CounterPlaces
from ..bus.register_map import BusRegister, Field, RegisterMap
from ..bus.registers import RegisterFile, Request, Response
from ..streams.delay import later
from .activity import ACTIVITY_BITS, MEANINGS, CycleUse
from .engine import ERROR_BITS, ERRORS
from .plan import EnginePlan

__all__ = ["EngineControl", "engine_identity", "engine_map"]

MAGIC = int.from_bytes(b"ADXE", "big")
VERSION = 3
"""Of the map and of what stands in memory; grows with every change that software or an image could notice."""
_MEETINGS = {
    "read_beats": "a beat is read", "write_beats": "a beat is written", "work_read": "the array works, a beat is read",
    "work_write": "the array works, a beat is written", "read_write": "a beat is read, one is written",
    "work_read_write": "the array works, a beat is read, one is written",
}  # fmt: skip
"""Counters beside those of `CycleUse`, and the cycles that they count."""
_COUNTERS = 0x40
_WATCHED_BITS = 12


def engine_identity(plan: EnginePlan) -> int:
    """64 bits that differ between engines for which images differ or whose RTL does."""
    value = {"version": VERSION, "plan": plan.to_json()}
    return int(sha256_of(json.dumps(value, sort_keys=True).encode())[:16], 16)


def engine_map(plan: EnginePlan) -> RegisterMap:
    """The registers of an engine of ``plan``."""

    def ro(name: str, offset: int, meaning: str, **more: Any) -> BusRegister:
        return BusRegister(name=name, offset=offset, access="ro", meaning=meaning, **{"width": 32, **more})

    told = ", ".join(f"{code} {meaning}" for code, meaning in ERRORS.items())
    status = (
        Field(name="busy", bit=0, meaning="a run has begun and has not ended"),
        Field(name="done", bit=1, meaning="a run has ended since this was cleared in `events`"),
        Field(name="error", bit=8, width=ERROR_BITS, meaning=f"of the last run: {told}"),
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
            BusRegister(name="kept", offset=0x14, width=32, access="rw",
                        meaning="the lowest of those `words` that a run must not write"),
            ro("status", 0x18, "what it does", fields=status),
            BusRegister(name="control", offset=0x1C, width=2, access="rw", meaning="what it shall do", fields=control),
            BusRegister(name="events", offset=0x20, width=3, access="w1c", meaning="what happened", fields=events),
            BusRegister(name="base", offset=0x24, width=32, access="rw",
                        meaning=f"where the image stands, in words of {plan.word_bytes} bytes; a multiple of 4 KiB"),
            BusRegister(name="first", offset=0x28, width=8, access="rw", meaning="words of the first commands"),
            BusRegister(name="words", offset=0x2C, width=32, access="rw",
                        meaning="words from `base` on that a run may read and write, 0 for all there are"),
            ro("cycles", 0x30, "cycles of the last run, or of this one so far", width=64),
            BusRegister(name="limit", offset=0x3C, width=32, access="rw",
                        meaning="cycles behind which a run is given up, 0 for none"),
            *(_counters() if plan.counters else ()),
        ),
        stages=(), stage_registers=(), stage_base=0x100, stage_stride=16, memories=(),
    )  # fmt: skip


def _counters() -> tuple[BusRegister, ...]:
    """The registers of ``plan.counters``: those of the activities make up ``cycles``."""
    meanings = {**{f"cycles_{activity.name.lower()}": MEANINGS[activity] for activity in CycleUse}, **_MEETINGS}
    return (
        BusRegister(
            name="watched", offset=0x38, width=_WATCHED_BITS, access="rw",
            meaning="the one descriptor, from 1 on, in whose cycles counters count; 0: in all",
        ),
        *(
            BusRegister(
                name=name, offset=_COUNTERS + 4 * number, width=32, access="ro", meaning=f"cycles: {text}", counter=True
            )
            for number, (name, text) in enumerate(meanings.items())
        ),
    )  # fmt: skip


class EngineControl(wiring.Component):
    """What the registers do.

    Members
    -------
    request, response : of the bus
    start, base, first, words, kept, late, busy, error : of the `Engine`
    irq : Out, a run has ended, if that was asked for
    activity, closed, read, write : In, with ``plan.counters``; see `core.issuer.Issuer`; a beat is read, or written
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.map = engine_map(plan)
        counted = {"activity": In(ACTIVITY_BITS), "closed": In(1), "read": In(1), "write": In(1)}
        super().__init__({
            "request": In(Request(self.map.address_bits)), "response": Out(Response()),
            "start": Out(1), "base": Out(32), "first": Out(8), "words": Out(32), "kept": Out(32), "late": Out(1),
            "busy": In(1), "error": In(ERROR_BITS), "irq": Out(1),
            **(counted if plan.counters else {}),
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
            ports.status.value.eq(Cat(self.busy, events[2]) | self.error << 8), self.irq.eq(interrupt & events[2]),
        ]  # fmt: skip
        limit = Signal(32)
        places = {"base": self.base, "first": self.first, "words": self.words, "kept": self.kept, "limit": limit}
        for name, register in places.items():
            port = getattr(ports, name)
            m.d.comb += port.value.eq(register)
            with m.If(port.written & ~self.busy):
                m.d.sync += register.eq(port.data)
        # Up for one cycle; a run that has ended by then is not late.
        m.d.sync += self.late.eq((limit != 0) & (cycles[:32] == limit))
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
        if self.plan.counters:
            self._count(m, file)
        return m

    def _count(self, m: Module, file: RegisterFile) -> None:
        """Counters: a cycle behind what they count, so that the cycle of ``start``, in which they are cleared, is the
        first that counts."""
        places, watched, ports = CounterPlaces.of(self.map), Signal(_WATCHED_BITS), file.ports
        m.submodules.counters = bank = CounterBank(count=len(places.order), wide=places.wide)
        number, counts = Signal(_WATCHED_BITS, init=1, name="descriptor"), Signal(name="counts")
        word = file.request.address[2:]
        m.d.comb += ports.watched.value.eq(watched)
        with m.If(ports.watched.written & ~self.busy):
            m.d.sync += watched.eq(ports.watched.data)
        with m.If(self.start):
            m.d.sync += number.eq(1)
        with m.Elif(self.busy & self.closed):
            m.d.sync += number.eq(number + 1)
        works, read, write = self.activity == CycleUse.WORK, self.read, self.write
        events = {f"cycles_{activity.name.lower()}": self.activity == activity for activity in CycleUse} | {
            "read_beats": read, "write_beats": write, "work_read": works & read, "work_write": works & write,
            "read_write": read & write, "work_read_write": works & read & write,
        }  # fmt: skip
        starts = {f"cycles_{CycleUse.DESCRIPTORS.name.lower()}": self.start}
        m.d.comb += counts.eq(self.busy & ((watched == 0) | (watched == number)))
        m.d.comb += [
            bank.events.eq(Cat(
                later(m, (counts & events[name]) | (starts.get(name, 0) & (watched <= 1)), name=f"counts_{name}")
                for name in places.names
            )),
            bank.clear.eq(self.start), bank.read.eq(file.counting), bank.place.eq(places.at(m, word)),
            bank.high.eq(places.is_high(word)), file.counted.eq(bank.value),
        ]  # fmt: skip
