"""The reader: carries out read commands in their order, as bursts of an AXI4 master."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...cells.known import FABRICS
from ...cells.words import plain
from ...streams.queue import Queue
from ..plan import EnginePlan
from ..records import READ, STREAM_BITS, WAIT_BITS, Stream
from .address import CommandPlace
from .axi import read_pins

__all__ = ["MemoryReader"]


class MemoryReader(wiring.Component):
    """Reads words for the queues of `Stream`; a burst is asked for in every cycle in which one may be.

    A burst is asked for when what the command waits for has been written, when its queue has room for all of it, and
    when fewer than ``plan.outstanding`` are on their way. It never crosses a multiple of ``plan.burst`` words, so no
    page either. Words come out one cycle behind their last beat, and always have room.

    Members
    -------
    commands : In stream of `records.READ`
    first, first_valid : In; the words of the first block of commands, at address 0, are read at the beginning
    base : In, the word of memory that has address 0
    answered : In, write commands that have been answered
    left : In, a structure with the words that have left each queue in this cycle
    stop : In, no further burst is asked for
    word, valid : Out, a word of `stream`
    stream : Out
    error : Out, the memory has answered with an error
    idle : Out, no burst is on its way
    the others : of AXI4

    Parameters
    ----------
    rooms : words that each queue holds
    """

    def __init__(self, plan: EnginePlan, rooms: Mapping[Stream, int]):
        self.plan = plan
        self.rooms = dict(rooms)
        self.left_layout = data.StructLayout({
            stream.name.lower(): range(words + 1) for stream, words in rooms.items()
        })  # fmt: skip
        super().__init__({
            "commands": In(stream.Signature(READ.layout)),
            "first": In(8), "first_valid": In(1), "base": In(32), "answered": In(WAIT_BITS),
            "left": In(self.left_layout), "stop": In(1),
            "word": Out(plan.word_bits), "valid": Out(1), "stream": Out(STREAM_BITS), "error": Out(1), "idle": Out(1),
            **read_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan = self.plan
        command, have = Signal(data.StructLayout({"stream": STREAM_BITS, "wait": WAIT_BITS})), Signal()
        m.submodules.place = place = CommandPlace(plan)
        burst, ask, sent = Signal(range(plan.burst + 1)), Signal(), Signal()
        most = Signal.like(burst)
        m.d.comb += [
            most.eq(plan.burst - place.at[: plan.burst.bit_length() - 1]),
            burst.eq(Mux(place.left < most, place.left, most)),
        ]  # fmt: skip
        m.submodules.ahead = ahead = Queue(
            data.StructLayout({"stream": STREAM_BITS, "words": range(plan.burst)}), depth=plan.outstanding
        )
        room, fabric = self._rooms(m, command.stream, sent, burst), FABRICS[plan.fabric]
        early = fabric.less(m, plain(self.answered), plain(command.wait), "early")
        full = fabric.less(m, plain(room), plain(Cat(burst, Const(0, len(room) - len(burst)))), "full")
        m.d.comb += [
            ask.eq(have & ~early & ~full & ahead.i.ready & ~self.stop),
            sent.eq(ask & (~self.arvalid | self.arready)),
            ahead.i.valid.eq(sent), ahead.i.payload.stream.eq(command.stream), ahead.i.payload.words.eq(burst - 1),
        ]  # fmt: skip
        done = sent & (burst == place.left)
        self._next(m, command, have, place, done)
        m.d.comb += [place.step.eq(sent), place.burst.eq(burst), place.advance.eq(burst), place.base.eq(self.base)]
        with m.If(self.arready):
            m.d.sync += self.arvalid.eq(0)
        with m.If(sent):
            m.d.sync += [
                self.arvalid.eq(1), self.araddr.eq(place.at << (plan.word_bytes.bit_length() - 1)),
                self.arlen.eq(burst * plan.beats - 1),
            ]  # fmt: skip
        self._receive(m, ahead)
        return m

    def _next(self, m: Module, command: Any, have: Signal, place: CommandPlace, done: Value) -> None:
        """The command that is carried out: what is left of it, or the next one. The first one is no record."""
        payload = self.commands.payload
        m.d.comb += [
            self.commands.ready.eq((~have | done) & ~self.first_valid),
            place.load.eq(self.first_valid | (self.commands.valid & self.commands.ready)),
        ]  # fmt: skip
        # Before the first commands there are none: their queue shows zeros.
        m.d.comb += [
            place.address.eq(payload.address), place.words.eq(payload.words | Mux(self.first_valid, self.first, 0)),
        ]  # fmt: skip
        with m.If(done):
            m.d.sync += have.eq(0)
        with m.If(place.load):
            m.d.sync += have.eq(1)
            with m.If(self.first_valid):
                m.d.sync += [command.stream.eq(Stream.COMMANDS), command.wait.eq(0)]
            with m.Else():
                m.d.sync += [command.stream.eq(payload.stream), command.wait.eq(payload.wait)]

    def _rooms(self, m: Module, stream: Value, sent: Value, burst: Value) -> Value:
        """Room of the queue of ``stream``; counts what is claimed by bursts and what has left."""
        values: list[Any] = [Const(0)] * (1 << STREAM_BITS)
        fabric = FABRICS[self.plan.fabric]
        for number, depth in self.rooms.items():
            name = number.name.lower()
            free = Signal(range(depth + 1), name=f"free_{name}", init=depth)
            mine = (stream == number) | ((stream == Stream.WIDE_RESIDUALS) & (number is Stream.RESIDUALS))
            # The two are few: they are added up before they meet the long number.
            more = Signal(signed(max(len(burst), len(self.left[name])) + 1), name=f"more_{name}")
            m.d.comb += more.eq(self.left[name] - Mux(sent & mine, burst, 0))
            total = fabric.add(m, [plain(free), plain(more.as_unsigned(), signed=True)], (), len(free), f"then_{name}")
            m.d.sync += free.eq(total)
            values[number] = free
        values[Stream.WIDE_RESIDUALS] = values[Stream.RESIDUALS]
        room = Signal(range(max(self.rooms.values()) + 1), name="room")
        m.d.comb += room.eq(Array(values)[stream])
        return room

    def _receive(self, m: Module, ahead: Queue) -> None:
        """Beats as words, each with the stream of its burst."""
        plan = self.plan
        held = Signal(plan.word_bits)
        beat, word = Signal(range(max(2, plan.beats))), Signal(range(plan.burst))
        last_beat = beat == plan.beats - 1
        last_word = word == ahead.o.payload.words
        taken = self.rvalid & self.rready
        m.d.comb += [
            self.rready.eq(1), self.word.eq(held), self.idle.eq(~ahead.o.valid & ~self.arvalid),
            ahead.o.ready.eq(taken & last_beat & last_word),
        ]  # fmt: skip
        m.d.sync += [self.valid.eq(taken & last_beat), self.stream.eq(ahead.o.payload.stream)]
        with m.If(taken):
            m.d.sync += [held.eq(Cat(held, self.rdata)[plan.memory_bits :]), beat.eq(Mux(last_beat, 0, beat + 1))]
            with m.If(self.rresp != 0):
                m.d.sync += self.error.eq(1)
            with m.If(last_beat):
                m.d.sync += word.eq(Mux(last_word, 0, word + 1))
