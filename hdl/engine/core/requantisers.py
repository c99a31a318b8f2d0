"""The requantisers of an engine: one for each row of the array, with constants that come with the weights."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...activation.arithmetic import PLAIN, Arithmetic
from ...streams.delay import later
from ..plan import EnginePlan
from ..records import constants_record

__all__ = ["Requantisers", "requantise_arithmetic"]


def requantise_arithmetic(plan: EnginePlan) -> Arithmetic:
    """What a requantiser computes; it says its latency."""
    return Arithmetic(offset=plan.offset, result=plan.result, scale=PLAIN, residual=plan.residual, moving=False)


class Requantisers(wiring.Component):
    """``y = clamp((acc * M + r * R + B) >> S, low, high)`` of ``pout`` channels in every cycle, in a pipeline.

    Constants must not move while a pixel is on its way: from its ``valid`` to its ``done``.

    Members
    -------
    word : In, an element of every channel's constants, see `records.constants_record`
    shift : In; ``word`` is taken
    sums : In, ``pout`` of ``plan.total``
    residuals : In, ``pout`` of ``plan.residual``; zeros where none joins
    valid : In, there is a pixel
    low, high : In, of the layer
    results : Out, ``pout`` of ``plan.result``, ``latency`` cycles behind their sums
    done : Out, ``results`` are there
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.arithmetic = requantise_arithmetic(plan)
        self.latency = self.arithmetic.latency
        result = plan.result.bits
        super().__init__({
            "word": In(plan.pout * plan.bits), "shift": In(1),
            "sums": In(plan.pout * plan.sum_bits), "residuals": In(plan.pout * plan.residual.bits), "valid": In(1),
            "low": In(result), "high": In(result),
            "results": Out(plan.pout * result), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, record = self.plan, constants_record(self.plan)
        count = record.words(plan.bits)
        results = []
        for row in range(plan.pout):
            held = Signal(count * plan.bits, name=f"constants{row}", reset_less=True)
            with m.If(self.shift):
                m.d.sync += held.eq(Cat(held, self.word.word_select(row, plan.bits))[plan.bits :])
            at = 0
            field = {}
            for item in record.fields:
                bits = held[at : at + item.bits]
                field[item.name] = bits.as_signed() if item.signed else bits
                at += item.bits
            results.append(self.arithmetic.built(
                m, str(row), acc=self.sums.word_select(row, plan.sum_bits).as_signed(), factor=field["multiplier"],
                offset=field["offset"], shift=field["shift"][:6], lo=self.low.as_signed(), hi=self.high.as_signed(),
                residual=self.residuals.word_select(row, plan.residual.bits).as_signed(),
                residual_factor=field["residual_multiplier"],
            ))  # fmt: skip
        m.d.comb += [self.results.eq(Cat(results)), self.done.eq(later(m, self.valid, self.latency, name="busy"))]
        return m
