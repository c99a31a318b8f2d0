"""Pixels of results as words for memory, and words of memory as pixels of residuals."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...streams.queue import Queue
from ..plan import EnginePlan

__all__ = ["Residuals", "ResultWords"]


class ResultWords(wiring.Component):
    """Cuts pixels into words, the lowest bits of all channels first; one word in every cycle from the next one on.

    There is no back-pressure: whoever begins a pixel has made sure of room, and leaves as many cycles as it has words.

    Members
    -------
    results : In, ``pout`` of ``plan.result``
    count : In, words of a pixel
    valid : In, there is a pixel
    word : Out
    done : Out, there is a word
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "results": In(plan.pout * plan.result.bits), "count": In(3), "valid": In(1), "word": Out(plan.word_bits),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, bits = self.plan, self.plan.result.bits
        left = Signal.like(self.count)
        held = [Signal(bits, name=f"held{row}", reset_less=True) for row in range(plan.pout)]
        for row in range(plan.pout):
            m.d.sync += held[row].eq(Mux(self.valid, self.results.word_select(row, bits), held[row] >> plan.bits))
        with m.If(self.valid):
            m.d.sync += left.eq(self.count)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [self.word.eq(Cat(value[: plan.bits] for value in held)), self.done.eq(left != 0)]
        return m


class Residuals(wiring.Component):
    """A queue of pixels of residuals, of one word each or of two, the lower one first.

    There is no back-pressure on the words: whoever asks for them has made sure of room.

    Members
    -------
    word : In
    valid, wide : In, there is a word; it is one of a pixel of two words
    take : In, a pixel is used in this cycle
    signed, double : In, what the pixel that is used is: with a sign, of two words
    residuals : Out, ``pout`` of ``plan.residual``: the first pixel of the queue
    arrived : Out, a pixel has come
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.pixel_bits = plan.pout * (plan.residual.bits - 1)
        super().__init__({
            "word": In(plan.word_bits), "valid": In(1), "wide": In(1), "take": In(1), "signed": In(1),
            "double": In(1), "residuals": Out(plan.pout * plan.residual.bits), "arrived": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, bits, whole = self.plan, self.plan.bits, self.plan.residual.bits - 1
        m.submodules.queue = queue = Queue(self.pixel_bits, depth=plan.residual_pixels, block=True)
        low, second = Signal(plan.word_bits), Signal()
        with m.If(self.valid):
            m.d.sync += [low.eq(self.word), second.eq(self.wide & ~second)]
        pixel = [
            Cat(Mux(second, low.word_select(k, bits), self.word.word_select(k, bits)),
                Mux(second, self.word.word_select(k, bits), 0))[:whole]
            for k in range(plan.pout)
        ]  # fmt: skip
        m.d.comb += [
            self.arrived.eq(self.valid & (second | ~self.wide)), queue.i.valid.eq(self.arrived),
            queue.i.payload.eq(Cat(pixel)), queue.o.ready.eq(self.take),
        ]  # fmt: skip
        for k in range(plan.pout):
            value = queue.o.payload[k * whole : (k + 1) * whole]
            top = Mux(self.double, value[-1], value[bits - 1]) & self.signed
            high = Mux(self.double, value[bits:], top.replicate(whole - bits)) if whole > bits else value[:0]
            m.d.comb += self.residuals.word_select(k, whole + 1).eq(Cat(value[:bits], high, top))
        return m
