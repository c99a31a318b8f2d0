"""The reader: carries out read commands in their order, as bursts of an AXI4 master."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...cells.known import FABRICS
from ...cells.words import plain
from ...streams.delay import later
from ...streams.queue import Queue
from ..plan import EnginePlan
from ..records import READ, STREAM_BITS, WAIT_BITS, Stream
from .axi import read_pins, whole_words
from .bursts import CommandBursts, area_layout, claimed
from .skips import CommandSkips

__all__ = ["MemoryReader"]


class MemoryReader(wiring.Component):
    """Reads words for the queues of `Stream`; a burst is asked for in every other cycle in which one may be.

    A burst is asked for one cycle behind the one in which what the command waits for has been written, its queue has
    room for all of it, and fewer than ``plan.outstanding`` are on their way. So what decides is a register, which has
    time to reach the accounts of room. It never crosses a multiple of ``plan.burst`` words, so no page either. Words
    come out one cycle behind their last beat, and always have room.

    Members
    -------
    commands : In stream of `records.READ`
    first, first_valid : In; the words of the first block of commands, at address 0, are read at the beginning
    base : In, the word of memory that has address 0
    answered : In, write commands that have been answered
    marked, asked : In, of an engine that skips commands, see `skips.CommandSkips`
    left : In, a structure with the words that have left each queue in this cycle
    stop : In, no further burst is asked for
    area : In, of `area_layout`; a burst that leaves it is not asked for, nor is any behind it
    outside : Out, a burst leaves the area
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
        several = {Stream.FEATURES: range(rooms[Stream.FEATURES] + 1), Stream.RESIDUALS: 2}
        self.left_layout = data.StructLayout({stream.name.lower(): several.get(stream, 1) for stream in rooms})
        super().__init__({
            "commands": In(stream.Signature(READ.layout)),
            "first": In(8), "first_valid": In(1), "base": In(32), "answered": In(WAIT_BITS),
            "left": In(self.left_layout), "stop": In(1), "area": In(area_layout()), "outside": Out(1),
            "word": Out(plan.word_bits), "valid": Out(1), "stream": Out(STREAM_BITS), "error": Out(1), "idle": Out(1),
            **({"marked": In(1), "asked": In(plan.pout)} if plan.predicates else {}), **read_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, fabric = self.plan, FABRICS[self.plan.fabric]
        m.submodules.bursts = bursts = CommandBursts(plan, READ)
        m.submodules.ahead = ahead = Queue(
            data.StructLayout({"stream": STREAM_BITS, "more": range(plan.burst)}), depth=plan.outstanding
        )
        commands: Any = self.commands
        if plan.predicates:
            m.submodules.skips = skips = CommandSkips(plan)
            wiring.connect(m, wiring.flipped(self.commands), skips.i)
            m.d.comb += [
                skips.answered.eq(self.answered), skips.marked.eq(self.marked), skips.asked.eq(self.asked)
            ]  # fmt: skip
            commands = skips.o
        # The first command is no record. Before there are others their queue shows zeros, as it shall have.
        m.d.comb += [
            bursts.base.eq(self.base), bursts.area.eq(self.area), bursts.i.payload.eq(commands.payload),
            bursts.i.payload.words.eq(commands.payload.words | Mux(self.first_valid, self.first, 0)),
            bursts.i.valid.eq(commands.valid | self.first_valid), commands.ready.eq(bursts.i.ready),
        ]  # fmt: skip
        burst, fresh = bursts.o.payload, Signal()
        room = self._rooms(m, burst.stream, fresh, burst.more)
        early = fabric.less(m, plain(self.answered), plain(burst.wait), "early")
        more = Cat(burst.more, Const(0, len(room) - len(burst.more)))
        enough = fabric.less(m, plain(more), plain(room), "enough")
        allowed = bursts.o.valid & ~burst.outside & ~early & enough & ahead.i.ready & ~self.stop
        accepted = self.arvalid & self.arready
        m.d.sync += fresh.eq(allowed & ~self.arvalid)
        with m.If(~self.arvalid):
            m.d.sync += self.arvalid.eq(allowed)
        with m.Elif(self.arready):
            m.d.sync += self.arvalid.eq(0)
        m.d.comb += [
            bursts.o.ready.eq(accepted), self.araddr.eq(burst.at << (plan.word_bytes.bit_length() - 1)),
            self.arlen.eq(whole_words(plan, burst.more)), ahead.i.valid.eq(fresh),
            self.outside.eq(bursts.o.valid & burst.outside), ahead.i.payload.stream.eq(burst.stream),
            ahead.i.payload.more.eq(burst.more),
        ]  # fmt: skip
        self._receive(m, ahead)
        return m

    def _rooms(self, m: Module, stream: Value, claims: Value, more: Value) -> Value:
        """Room of the queue of ``stream``; counts what is claimed by bursts and what has left."""
        values: list[Any] = [Const(0)] * (1 << STREAM_BITS)
        fabric = FABRICS[self.plan.fabric]
        for number, depth in self.rooms.items():
            name = number.name.lower()
            free = Signal(range(depth + 1), name=f"free_{name}", init=depth)
            own = Signal(name=f"claims_{name}")
            mine = (stream == number) | ((stream == Stream.WIDE_RESIDUALS) & (number is Stream.RESIDUALS))
            m.d.comb += own.eq(claims & mine)
            # Who empties a queue has little time left to say so.
            left, change, carries = later(m, self.left[name], name=f"left_{name}"), claimed(more, own), []
            if len(left) == 1:
                carries = [left]
            else:
                # The two are few: they are added up before they meet the long number.
                wide = max(len(more), len(left)) + 1
                changed = fabric.add(m, [plain(left), change], (), wide, f"change_{name}")
                change = plain(changed, signed=True)
            total = fabric.add(m, [plain(free), change], carries, len(free), f"then_{name}")
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
        last_word = word == ahead.o.payload.more
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
