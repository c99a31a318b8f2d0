"""The writer: carries out write commands in their order, as bursts of an AXI4 master."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...streams.queue import Queue
from ..plan import EnginePlan
from ..records import STRIDE_BITS, WAIT_BITS, WRITE
from .address import CommandPlace
from .axi import write_pins

__all__ = ["MemoryWriter"]


class MemoryWriter(wiring.Component):
    """Writes words to memory. A burst is announced when all its words are there, so it never waits for any.

    Address and data of a burst go out one behind the other, then the next burst is begun; at most ``plan.outstanding``
    wait for their answers. A burst never crosses a multiple of ``plan.burst`` words; words of a command that do not
    stand one behind the other are bursts of their own.

    Members
    -------
    commands : In stream of `records.WRITE`
    words : In stream
    level : In, words that are there
    base : In, the word of memory that has address 0
    stop : In, no further burst is begun
    answered : Out, commands all of whose bursts have been answered
    error : Out, the memory has answered with an error
    idle : Out, nothing is on its way
    the others : of AXI4
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "commands": In(stream.Signature(WRITE.layout)), "words": In(stream.Signature(plan.word_bits)),
            "level": In(range(plan.result_words + 1)), "base": In(32), "stop": In(1),
            "answered": Out(WAIT_BITS), "error": Out(1), "idle": Out(1), **write_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, stride = self.plan, Signal(STRIDE_BITS)
        burst, most = Signal(range(plan.burst + 1)), Signal(range(plan.burst + 1))
        apart = Signal()
        left, beat = Signal(range(plan.burst + 1)), Signal(range(max(2, plan.beats)))
        m.submodules.ends = ends = Queue(1, depth=plan.outstanding)
        m.submodules.place = place = CommandPlace(plan)
        m.d.comb += [
            apart.eq(stride != 1), most.eq(Mux(apart, 1, plan.burst - place.at[: plan.burst.bit_length() - 1])),
            burst.eq(Mux(place.left < most, place.left, most)), ends.i.payload.eq(burst == place.left),
            place.base.eq(self.base), place.address.eq(self.commands.payload.address),
            place.words.eq(self.commands.payload.words), place.advance.eq(Mux(apart, stride, burst)),
            place.burst.eq(burst), place.step.eq(ends.i.valid),
            self.wdata.eq(self.words.payload.word_select(beat, plan.memory_bits)),
        ]  # fmt: skip
        with m.FSM():
            with m.State("command"):
                m.d.comb += [self.commands.ready.eq(1), place.load.eq(1)]
                m.d.sync += stride.eq(self.commands.payload.stride)
                with m.If(self.commands.valid):
                    m.next = "begin"
            with m.State("begin"), m.If((self.level >= burst) & ends.i.ready & ~self.stop):
                m.d.comb += ends.i.valid.eq(1)
                m.d.sync += [
                    self.awvalid.eq(1), left.eq(burst), self.awlen.eq(burst * plan.beats - 1),
                    self.awaddr.eq(place.at << (plan.word_bytes.bit_length() - 1)),
                ]  # fmt: skip
                m.next = "data"
            with m.State("data"):
                last_beat = beat == plan.beats - 1
                m.d.comb += [
                    self.wvalid.eq(~self.awvalid & self.words.valid), self.wlast.eq((left == 1) & last_beat),
                    self.words.ready.eq(self.wvalid & self.wready & last_beat),
                ]  # fmt: skip
                with m.If(self.wvalid & self.wready):
                    m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
                    with m.If(last_beat):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 1):
                            with m.If(place.left == 0):
                                m.next = "command"
                            with m.Else():
                                m.next = "begin"
        with m.If(self.awvalid & self.awready):
            m.d.sync += self.awvalid.eq(0)
        m.d.comb += [self.idle.eq(~ends.o.valid), self.bready.eq(1), ends.o.ready.eq(self.bvalid)]
        with m.If(self.bvalid):
            m.d.sync += self.answered.eq(self.answered + ends.o.payload)
            with m.If(self.bresp != 0):
                m.d.sync += self.error.eq(1)
        return m
