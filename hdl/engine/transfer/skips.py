"""Commands that are skipped: those of a band of a tensor whose pixels nobody has asked for."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...cells.known import FABRICS
from ...cells.words import plain
from ..plan import EnginePlan
from ..records import READ, RUN_BITS, SKIP, WAIT_BITS, Stream

__all__ = ["CommandSkips"]


class CommandSkips(wiring.Component):
    """Hands commands on, but for those of `Stream.SKIP` and those that they skip.

    The numbers of a band of an arg-max that commands depend on are kept as one bit for each number, in the order in
    which the bands are computed. A skip waits until its bands have been written, looks at them, one in a cycle, and is
    gone two cycles behind the last. What it skips leaves one in a cycle; commands that fetch commands are never
    skipped, and not counted.

    Members
    -------
    i, o : In and Out streams of `records.READ`; what is handed on is there in the same cycle
    answered : In, write commands that have been answered
    marked : In, a band has been computed, in which ``asked`` numbers are
    asked : In, a bit for each number
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "i": In(stream.Signature(READ.layout)), "o": Out(stream.Signature(READ.layout)),
            "answered": In(WAIT_BITS), "marked": In(1), "asked": In(plan.pout),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, command = self.plan, self.i.payload
        m.submodules.bands = bands = memory.Memory(shape=plan.pout, depth=plan.predicates, init=[])
        write, read = bands.write_port(), bands.read_port()
        m.d.comb += [write.addr.eq(self._count(m)), write.data.eq(self.asked), write.en.eq(self.marked)]
        skip = Signal(SKIP.layout)
        m.d.comb += skip.as_value().eq(command.address[: SKIP.bits])
        at, more = Signal.like(read.addr, name="at"), Signal.like(skip.bands, name="more")
        left, drops, known, found = Signal(RUN_BITS), Signal(), Signal(), Signal()
        early = FABRICS[plan.fabric].less(m, plain(self.answered), plain(command.wait), "early")
        is_skip, stays = command.stream == Stream.SKIP, command.stream == Stream.COMMANDS
        m.d.comb += [drops.eq(left != 0), read.addr.eq(at), self.o.payload.eq(command)]
        asked = (read.data >> skip.number)[0]
        with m.If(known):
            m.d.sync += found.eq(found | asked)
        m.d.sync += known.eq(0)
        with m.FSM():
            with m.State("pass"):
                with m.If(drops & ~stays):
                    m.d.comb += self.i.ready.eq(1)
                    with m.If(self.i.valid):
                        m.d.sync += left.eq(left - 1)
                with m.Elif(~is_skip):
                    m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
                with m.Elif(self.i.valid & ~early):
                    m.d.sync += [at.eq(skip.first), more.eq(skip.bands), found.eq(0)]
                    m.next = "look"
            with m.State("look"):
                m.d.sync += [at.eq(at + 1), more.eq(more - 1), known.eq(1)]
                with m.If(more == 0):
                    m.next = "last"
            with m.State("last"):
                m.next = "tell"
            with m.State("tell"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(found == skip.where):
                    m.d.sync += left.eq(command.words)
                m.next = "pass"
        return m

    def _count(self, m: Module) -> Value:
        """Bands so far."""
        count = Signal(range(self.plan.predicates), name="count")
        with m.If(self.marked):
            m.d.sync += count.eq(count + 1)
        return count
