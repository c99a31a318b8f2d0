"""Control and status of an accelerator: registers behind a bus, a gate in front of the pixels, counters, reload."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..bus.counters import CounterBank, CounterPlaces
from ..bus.registers import RegisterFile, Request, Response
from ..bus.reload import Loader
from ..bus.service import Service
from .control_map import IN_FLIGHT_BITS

__all__ = ["Control"]


class Control(wiring.Component):
    """What the registers of a `Service` do.

    Members
    -------
    request, response : of the bus
    in_valid, in_ready, out_valid, out_ready, out_last : In; the streams at the ports
    accept : Out; pixels may pass. Falls between images only
    restart : Out; the pipeline must begin anew, since a memory has changed: what it has prefetched, padding that waits
        in a ring for the next image, are of the old contents. It is idle then, so nothing is lost.

    Parameters
    ----------
    beats : input beats of an image
    """

    def __init__(self, service: Service, *, beats: int):
        self.service = service
        self.beats = beats
        bits = service.map.address_bits
        super().__init__({
            "request": In(Request(bits)),
            "response": Out(Response()),
            "in_valid": In(1), "in_ready": In(1),
            "out_valid": In(1), "out_ready": In(1), "out_last": In(1),
            "accept": Out(1),
            "restart": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = file = RegisterFile(self.service.map, address_bits=self.service.map.address_bits)
        wiring.connect(m, wiring.flipped(self.request), file.request)
        wiring.connect(m, wiring.flipped(self.response), file.response)
        ports = file.ports
        run = Signal(init=1)
        inside = Signal()  # an image has begun and its last pixel has not come
        image_taken = Signal()
        idle = self._status(m, ports, run, inside, image_taken)
        self._reload(m, file, idle, run | inside)
        m.d.comb += ports.control.value.eq(run)
        with m.If(ports.control.written):
            m.d.sync += run.eq(ports.control.data[0])
        if (places := CounterPlaces.of(self.service.map)).order:
            self._count(m, file, places, self._events(image_taken))
        return m

    def _count(self, m: Module, file: RegisterFile, places: CounterPlaces, events: Mapping[str, Value]) -> None:
        """Count ``events``; reads of counters are answered, and ``clear`` heeded."""
        m.submodules.counters = bank = CounterBank(count=len(places.order), wide=places.wide)
        control, word = file.ports.control, file.request.address[2:]
        m.d.comb += [
            bank.events.eq(Cat(events[name] for name in places.names)),
            bank.clear.eq(control.written & control.data[1]),
            bank.read.eq(file.counting),
            bank.place.eq(places.at(m, word)),
            bank.high.eq(places.is_high(word)),
            file.counted.eq(bank.value),
        ]

    def _status(self, m: Module, ports: Any, run: Signal, inside: Signal, image_taken: Signal) -> Value:
        """Follow images in and out; returns whether memories may be written."""
        beat = Signal(range(max(2, self.beats)))
        in_flight = Signal(IN_FLIGHT_BITS)
        taken, given = self.in_valid & self.in_ready, self.out_valid & self.out_ready & self.out_last
        m.d.comb += [image_taken.eq(taken & (beat == self.beats - 1)), inside.eq(beat != 0)]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(image_taken, 0, beat + 1))
        m.d.sync += in_flight.eq(in_flight + (taken & ~inside) - given)
        # A stride may leave rows over: then an image's answer is given before its last pixel has come.
        busy, idle = Signal(), Signal()
        m.d.comb += [busy.eq((in_flight != 0) | inside), idle.eq(~busy & ~run)]
        status = self.service.map["status"]
        value = ports.status.value
        for name, what in {"running": run, "busy": busy, "idle": idle, "in_flight": in_flight}.items():
            field = status.field(name)
            m.d.comb += value[field.bit : field.bit + field.width].eq(what)
        return idle

    def _reload(self, m: Module, file: RegisterFile, idle: Value, wanted: Value) -> None:
        """Write memories while idle; keep what was refused."""
        ports = file.ports
        m.submodules.loader = loader = Loader(self.service.reload)
        data = ports.memory_data
        chosen = Mux(ports.memory_select.written, ports.memory_select.data, ports.memory_address.data)
        m.d.comb += [
            loader.select_written.eq(ports.memory_select.written),
            loader.address_written.eq(ports.memory_address.written),
            loader.data_written.eq(data.written),
            loader.data.eq(Mux(data.written, data.data, chosen)),
            ports.memory_select.value.eq(loader.select),
            ports.memory_address.value.eq(loader.address),
            ports.memory_width.value.eq(loader.width),
            ports.memory_depth.value.eq(loader.depth),
            data.refuse.eq(~idle | ~loader.inside | ~data.whole),
            self.accept.eq(wanted & ~loader.writing & ~self.restart),
        ]
        m.d.sync += self.restart.eq(loader.writing)

        found = Cat(file.refused, data.tried & ~idle, data.tried & ~loader.inside, data.tried & ~data.whole)
        errors = Signal(len(found))
        cleared = Mux(ports.errors.written, ports.errors.data, 0)
        m.d.comb += ports.errors.value.eq(errors)
        m.d.sync += errors.eq(errors & ~cleared | found)

    def _events(self, image_taken: Value) -> dict[str, Value]:
        """What each counter counts."""
        events: dict[str, Any] = {
            "cycles": Const(1),
            "input_stall": self.in_valid & ~self.in_ready,
            "output_stall": self.out_valid & ~self.out_ready,
            "images_in": image_taken,
            "images_out": self.out_valid & self.out_ready & self.out_last,
        }
        for k, stage in enumerate(self.service.stages.values()):
            events |= {
                f"stage{k}_busy": stage.busy, f"stage{k}_starved": stage.starved, f"stage{k}_stalled": stage.stalled,
            }  # fmt: skip
        return events
