"""The loader: takes pads, constants and weights of a step from their queue while the step before is computed."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..plan import EnginePlan
from ..records import Unit, constants_record, further_records
from .steps import goes_twice, step_layout

__all__ = ["StepLoader"]


class StepLoader(wiring.Component):
    """Hands a step on when all that comes with it is there; the one before has begun then.

    Constants wait until no result is on its way (``quiet``), for those that are used stand in the same place. Weights
    of a step can be handed on ``plan.set_words + 1`` cycles after the step before it, at the earliest; with pad one
    more.

    Members
    -------
    i, o : In and Out streams of steps
    words : In stream of words, see `compile.weights`
    quiet : In, no result of an earlier step is still to come
    pad, constant, weight : Out; the word is taken as what this says
    further : Out, of an engine that has `records.further_records`; the word is one of them
    table : Out, the same of a word of a table, which comes in front of all these; where ``plan.tables`` is not 0
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        step = step_layout(plan)
        self._further = {name: record.words(plan.bits) for name, record in further_records(plan).items()}
        super().__init__({
            "i": In(stream.Signature(step)), "o": Out(stream.Signature(step)),
            "words": In(stream.Signature(plan.word_bits)), "quiet": In(1),
            "pad": Out(1), "constant": Out(1), "weight": Out(1), **({"further": Out(1)} if self._further else {}),
            **({"table": Out(1)} if plan.tables else {}),
        })  # fmt: skip

    @property
    def _most_entries(self) -> int:
        return 1 << self.plan.tables if self.plan.tables else 0

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        step = Signal(self.i.payload.shape())
        constants = constants_record(self.plan).words(self.plan.bits)
        left = Signal(range(max(constants, self.plan.set_words, *self._further.values(), self._most_entries) + 1))
        m.d.comb += self.o.payload.eq(step)

        with m.FSM():
            with m.State("step"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += step.eq(self.i.payload)
                with m.If(self.i.valid):
                    with m.If(self.i.payload.pads):
                        m.next = "pad"
                    with m.Else():
                        self._behind_pad(m, left, self.i.payload)
            with m.State("pad"), m.If(self._taken(m, self.pad)):
                self._behind_pad(m, left, step)
            if self._most_entries:
                with m.State("table"), m.If(self._taken(m, self.table, self.quiet)):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        self._to_constants(m, left, step)
            if self._further:
                with m.State("further"), m.If(self._taken(m, self.further, self.quiet)):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        self._to_constants(m, left)
            with m.State("constants"), m.If(self._taken(m, self.constant, self.quiet)):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    with m.If(step.unit == Unit.ARRAY):
                        self._to_weights(m, left)
                    with m.Else():
                        m.next = "ready"
            with m.State("weights"), m.If(self._taken(m, self.weight)):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    # The set is whole when the lanes take it, which is later than the step is handed on.
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        m.next = "step"
                    with m.Else():
                        m.next = "ready"
            with m.State("ready"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "step"
        return m

    def _behind_pad(self, m: Module, left: Signal, step: Any) -> None:
        """On to what ``step`` has behind a word of pad."""
        with m.If(step.last):
            self._to_constants(m, left, step, table=True)
        if self.plan.twice:
            with m.Elif(goes_twice(self.plan, step)):
                m.next = "ready"
        with m.Else():
            self._to_weights(m, left)

    def _to_weights(self, m: Module, left: Signal) -> None:
        m.d.sync += left.eq(self.plan.set_words - 1)
        m.next = "weights"

    def _to_constants(self, m: Module, left: Signal, step: Any = None, *, table: bool = False) -> None:
        """On to the constants, or, of ``step`` where it is given, to what it has in front of them: a ``table``, too."""
        m.d.sync += left.eq(constants_record(self.plan).words(self.plan.bits) - 1)
        m.next = "constants"
        for name, words in self._further.items() if step is not None else ():
            with m.If(step[name]):
                m.d.sync += left.eq(words - 1)
                m.next = "further"
        if table and self._most_entries:
            with m.If(step.loads):
                m.d.sync += left.eq(step.table - 1)
                m.next = "table"

    def _taken(self, m: Module, kind: Signal, allowed: Any = 1) -> Any:
        """Take a word as ``kind``; returns whether there is one."""
        m.d.comb += [kind.eq(self.words.valid & allowed), self.words.ready.eq(allowed)]
        return self.words.valid & allowed
