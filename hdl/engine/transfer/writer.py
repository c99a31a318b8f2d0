"""The writer: carries out write commands in their order, as bursts of an AXI4 master."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...cells.known import FABRICS
from ...cells.words import plain
from ...streams.queue import Queue
from ..plan import EnginePlan
from ..records import WAIT_BITS, WRITE
from .axi import whole_words, write_pins
from .bursts import CommandBursts, area_layout, claimed

__all__ = ["MemoryWriter"]


class MemoryWriter(wiring.Component):
    """Writes words to memory. A burst is announced when all its words are there, so it never waits for any.

    The data of a burst go out from the cycle on behind the one in which its address is taken, while the next one is
    announced; at most ``plan.outstanding`` wait for their answers. A burst never crosses a multiple of ``plan.burst``
    words; words of a command that do not stand one behind the other are bursts of their own.

    A burst that has been announced has to be sent. Where ``stop`` finds words of it missing, since a broken descriptor
    made fewer than it said, zeros stand in for all that would still come.

    In an engine that skips commands one of stride 0 stands for commands that have been skipped: it waits until all
    before it have been answered, and they count as answered then.

    Members
    -------
    commands : In stream of `records.WRITE`
    words : In stream
    came : In, a word has come; it is in ``words`` three cycles later
    base : In, the word of memory that has address 0
    stop : In, no further burst is begun
    area : In, of `area_layout`; a burst that leaves it is not begun, nor is any behind it
    outside : Out, a burst leaves the area
    answered : Out, commands all of whose bursts have been answered
    error : Out, the memory has answered with an error
    idle : Out, nothing is on its way
    the others : of AXI4
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "commands": In(stream.Signature(WRITE.layout)), "words": In(stream.Signature(plan.word_bits)),
            "came": In(1), "base": In(32), "stop": In(1), "area": In(area_layout()), "outside": Out(1),
            "answered": Out(WAIT_BITS), "error": Out(1), "idle": Out(1), **write_pins(plan),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, fabric = self.plan, FABRICS[self.plan.fabric]
        m.submodules.bursts = bursts = CommandBursts(plan, WRITE)
        m.submodules.ends = ends = Queue(1, depth=plan.outstanding)
        if plan.predicates:
            self._count_skipped(m, bursts, ends)
        else:
            wiring.connect(m, wiring.flipped(self.commands), bursts.i)
        burst, fresh = bursts.o.payload, Signal()
        # Words that are there and of no burst that has been announced.
        waiting = Signal(range(plan.result_words + 1))
        m.d.sync += waiting.eq(
            fabric.add(m, [plain(waiting), claimed(burst.more, fresh)], [self.came], len(waiting), "then_waiting")
        )
        more = Cat(burst.more, Const(0, len(waiting) - len(burst.more)))
        enough = fabric.less(m, plain(more), plain(waiting), "enough")
        allowed = bursts.o.valid & ~burst.outside & enough & ends.i.ready & ~self.stop
        m.d.sync += fresh.eq(allowed & ~self.awvalid)
        with m.If(~self.awvalid):
            m.d.sync += self.awvalid.eq(allowed)
        with m.Elif(self.awready):
            m.d.sync += self.awvalid.eq(0)
        m.d.comb += [
            bursts.base.eq(self.base), bursts.area.eq(self.area), self.outside.eq(bursts.o.valid & burst.outside),
            bursts.o.ready.eq(self.awvalid & self.awready),
            self.awaddr.eq(burst.at << (plan.word_bytes.bit_length() - 1)),
            self.awlen.eq(whole_words(plan, burst.more)), ends.i.valid.eq(fresh), ends.i.payload.eq(burst.last),
        ]  # fmt: skip
        self._send(m, bursts.o.ready)
        m.d.comb += [self.idle.eq(~ends.o.valid & ~self.awvalid), self.bready.eq(1), ends.o.ready.eq(self.bvalid)]
        with m.If(self.bvalid):
            m.d.sync += self.answered.eq(self.answered + ends.o.payload)
            with m.If(self.bresp != 0):
                m.d.sync += self.error.eq(1)
        return m

    def _count_skipped(self, m: Module, bursts: CommandBursts, ends: Queue) -> None:
        """Commands on their way to become bursts, but for those that stand for others."""
        command, none, quiet = self.commands.payload, Signal(), Signal()
        m.d.comb += [
            none.eq(command.stride == 0), quiet.eq(bursts.i.ready & ~bursts.o.valid & ~self.awvalid & ~ends.o.valid),
            bursts.i.payload.eq(command), bursts.i.valid.eq(self.commands.valid & ~none),
            self.commands.ready.eq(Mux(none, quiet, bursts.i.ready)),
        ]  # fmt: skip
        with m.If(self.commands.valid & none & quiet):
            m.d.sync += self.answered.eq(self.answered + command.address[:WAIT_BITS])

    def _send(self, m: Module, addressed: Signal) -> None:
        """Words as beats of the bursts whose addresses have been taken; there are no more than wait for answers."""
        plan = self.plan
        m.submodules.lengths = lengths = Queue(len(self.awlen), depth=plan.outstanding)
        beat, places = Signal.like(self.awlen), plan.beats.bit_length() - 1
        place = beat[:places] if places else Const(0, 1)
        moves, missing = self.wvalid & self.wready, Signal()
        # From the next cycle on and for good: what is offered does not change before it is taken.
        with m.If(self.stop & lengths.o.valid & ~self.words.valid):
            m.d.sync += missing.eq(1)
        m.d.comb += [
            lengths.i.valid.eq(addressed), lengths.i.payload.eq(self.awlen),
            self.wvalid.eq(lengths.o.valid & (self.words.valid | missing)), self.wlast.eq(beat == lengths.o.payload),
            self.wdata.eq(Mux(missing, 0, self.words.payload.word_select(place, plan.memory_bits))),
            self.words.ready.eq(moves & (place == plan.beats - 1)), lengths.o.ready.eq(moves & self.wlast),
        ]  # fmt: skip
        with m.If(moves):
            m.d.sync += beat.eq(Mux(self.wlast, 0, beat + 1))
