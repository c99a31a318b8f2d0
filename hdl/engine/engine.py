"""An engine between its memory and whoever starts it: the core, the reader and the writer, and their queues."""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .activity import ACTIVITY_BITS
from .compile.transfers import queue_rooms
from .core.core import Core
from .plan import EnginePlan
from .records import READ, WRITE, Stream, descriptor_record
from .transfer.axi import read_pins, write_pins
from .transfer.queues import RecordQueue, WordQueue
from .transfer.reader import MemoryReader
from .transfer.writer import MemoryWriter

__all__ = ["ERRORS", "ERROR_BITS", "Engine", "Machine"]

ERRORS = {
    0: "none", 1: "a read was answered with an error", 2: "a write was answered with an error",
    3: "a command leaves the memory of its image, or has no words", 4: "the run takes longer than it may",
}  # fmt: skip
"""Meaning of the error codes of an engine."""
ERROR_BITS = max(ERRORS).bit_length()


class Machine(wiring.Component):
    """Runs the image that stands in memory, once after each reset.

    Members
    -------
    begin : In, for one cycle behind the reset
    base, first : In, see `transfer.reader.MemoryReader`
    words : In, how many from ``base`` on may be read and, but for the ``kept`` lowest, written; 0: all there are
    stop : In, no further burst is begun
    finished : Out, the last layer has been computed and is on its way to memory
    idle : Out, nothing is on its way from or to memory
    error : Out, of `ERRORS`
    activity, closed : Out, see `core.issuer.Issuer`
    the others : of AXI4
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "begin": In(1), "base": In(32), "first": In(8), "words": In(32), "kept": In(32), "stop": In(1),
            "finished": Out(1), "idle": Out(1), "error": Out(ERROR_BITS), "activity": Out(ACTIVITY_BITS),
            "closed": Out(1), **read_pins(plan), **write_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, rooms = self.plan, queue_rooms(self.plan)
        bits = plan.word_bits
        m.submodules.core = core = Core(plan)
        m.submodules.reader = reader = MemoryReader(plan, rooms)
        m.submodules.writer = writer = MemoryWriter(plan)
        records = {
            Stream.COMMANDS: READ, Stream.DESCRIPTORS: descriptor_record(plan), Stream.WRITES: WRITE,
        }  # fmt: skip
        queues: dict[Stream, Any] = {
            stream: RecordQueue(plan, record, records=rooms[stream] // record.words(bits))
            for stream, record in records.items()
        }
        queues[Stream.WEIGHTS] = WordQueue(plan, depth=rooms[Stream.WEIGHTS])
        for stream, queue in queues.items():
            m.submodules[stream.name.lower()] = queue
            m.d.comb += [
                queue.word.eq(reader.word), queue.valid.eq(reader.valid & (reader.stream == stream)),
                reader.left[stream.name.lower()].eq(queue.left),
            ]  # fmt: skip
        for stream, port in (
            (Stream.COMMANDS, reader.commands), (Stream.DESCRIPTORS, core.descriptors),
            (Stream.WRITES, writer.commands), (Stream.WEIGHTS, core.weights),
        ):  # fmt: skip
            wiring.connect(m, queues[stream].o, port)
        wiring.connect(m, core.results, writer.words)
        self._connect_core(m, core, reader)
        # Nothing is begun that a rest, and so a reset, would take back: only a broken image still would.
        ending = Signal()
        m.d.sync += ending.eq(core.finished)
        if plan.predicates:
            m.d.comb += [reader.marked.eq(core.marked), reader.asked.eq(core.asked)]
        for part, pins in ((reader, read_pins(plan)), (writer, write_pins(plan))):
            m.d.comb += part.base.eq(self.base), part.stop.eq(self.stop | ending)
            for name, member in pins.items():
                inner, outer = getattr(part, name), getattr(self, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += [
            reader.first.eq(self.first), reader.first_valid.eq(self.begin), reader.answered.eq(writer.answered),
            writer.came.eq(core.came), self.finished.eq(core.finished & ending),
            self.idle.eq(reader.idle & writer.idle),
            self.error.eq(Mux(reader.error, 1, Mux(writer.error, 2, Mux(reader.outside | writer.outside, 3, 0)))),
            self.activity.eq(core.activity), self.closed.eq(core.closed),
        ]  # fmt: skip
        self._bound(m, reader, writer)
        return m

    def _bound(self, m: Module, reader: MemoryReader, writer: MemoryWriter) -> None:
        """Where they may go. It is added up while the machine begins, and stays."""
        for part, begin in ((reader, self.base), (writer, self.base + self.kept)):
            m.d.sync += [
                part.area.begin.eq(begin), part.area.end.eq(self.base + self.words),
                part.area.bounded.eq(self.words != 0),
            ]  # fmt: skip

    def _connect_core(self, m: Module, core: Core, reader: MemoryReader) -> None:
        """Words that go to the core, and what it says of their room."""
        wide = reader.stream == Stream.WIDE_RESIDUALS
        m.d.comb += [
            core.feature.eq(reader.word), core.residual.eq(reader.word),
            core.feature_valid.eq(reader.valid & (reader.stream == Stream.FEATURES)),
            core.residual_valid.eq(reader.valid & (wide | (reader.stream == Stream.RESIDUALS))),
            core.residual_wide.eq(wide), reader.left.features.eq(core.freed), reader.left.residuals.eq(core.unjoined),
        ]  # fmt: skip


class Engine(wiring.Component):
    """A `Machine` that can be started again and again: it is held in reset while it does not run.

    After an error it asks for nothing more, waits for what is on its way, and is at rest; it can be started anew.

    Members
    -------
    start : In, begins a run; nothing while ``busy``
    base, first, words, kept : In, see `Machine`; must not change while ``busy``
    late : In, the run shall end, whether all is done or not
    busy : Out
    error : Out, of the last run, of `ERRORS`; 0 while it runs well
    activity, closed : Out, see `core.issuer.Issuer`; of no meaning while not ``busy``
    the others : of AXI4
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "start": In(1), "base": In(32), "first": In(8), "words": In(32), "kept": In(32), "late": In(1),
            "busy": Out(1), "error": Out(ERROR_BITS), "activity": Out(ACTIVITY_BITS), "closed": Out(1),
            **read_pins(plan), **write_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine, rest = Machine(self.plan), Signal()
        m.submodules.machine = ResetInserter(rest)(machine)
        for name, member in {**read_pins(self.plan), **write_pins(self.plan)}.items():
            inner, outer = getattr(machine, name), getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += [
            machine.base.eq(self.base), machine.first.eq(self.first), machine.words.eq(self.words),
            machine.kept.eq(self.kept), self.activity.eq(machine.activity), self.closed.eq(machine.closed),
        ]  # fmt: skip
        with m.FSM():
            with m.State("rest"):
                m.d.comb += rest.eq(1)
                with m.If(self.start):
                    m.d.sync += [self.busy.eq(1), self.error.eq(0)]
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += machine.begin.eq(1)
                m.next = "run"
            with m.State("run"):
                with m.If(machine.error != 0):
                    m.d.sync += self.error.eq(machine.error)
                    m.next = "stop"
                with m.Elif(machine.finished & machine.idle):
                    m.d.sync += self.busy.eq(0)
                    m.next = "rest"
                with m.Elif(self.late):
                    m.d.sync += self.error.eq(4)
                    m.next = "stop"
            with m.State("stop"):
                m.d.comb += machine.stop.eq(1)
                with m.If(machine.idle):
                    m.d.sync += self.busy.eq(0)
                    m.next = "rest"
        return m
