"""Second slopes: on which side of its knee a sum lies, and what stands for M and B below it."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import same
from ...cells.known import FABRICS
from ...cells.words import Word
from ..plan import EnginePlan
from ..records import slopes_record
from .held import held_fields

__all__ = ["Knees"]


class Knees(wiring.Component):
    """Compares the sums of ``pout`` channels with their knees, and holds the N and D of each.

    Members
    -------
    word : In, an element of every channel's second slope, see `records.slopes_record`
    shift : In; ``word`` is taken
    bends : In, the layer has a second slope
    sums : In, ``pout`` of ``plan.total``
    below : Out, for each whether N and D are meant, one cycle behind its sum
    multipliers, offsets : Out, N and D
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "word": In(plan.pout * plan.bits), "shift": In(1), "bends": In(1), "sums": In(plan.pout * plan.sum_bits),
            "below": Out(plan.pout), "multipliers": Out(plan.pout * plan.factor.bits),
            "offsets": Out(plan.pout * plan.offset.bits),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, fabric, record = self.plan, FABRICS[self.plan.fabric], slopes_record(self.plan)
        fields = [
            held_fields(m, plan, record, row, word=self.word, shift=self.shift, name="second")
            for row in range(plan.pout)
        ]
        for row, field in enumerate(fields):
            own, knee = (
                Word(inputs=(value.as_unsigned(),), function=same, flip=True)
                for value in (self.sums.word_select(row, plan.sum_bits), field["knee"])
            )
            below = Signal(name=f"below{row}", reset_less=True)
            m.d.sync += below.eq(fabric.less(m, own, knee, f"less{row}", enable=self.bends))
            m.d.comb += self.below[row].eq(below)
        m.d.comb += [
            self.multipliers.eq(Cat(field["multiplier"] for field in fields)),
            self.offsets.eq(Cat(field["offset"] for field in fields)),
        ]  # fmt: skip
        return m
