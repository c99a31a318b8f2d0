"""Pixels of results as words for memory, and words of memory as pixels of residuals."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...streams.queue import Queue
from ..plan import EnginePlan

__all__ = ["PartedResults", "Residuals", "ResultWords"]


class ResultWords(wiring.Component):
    """Cuts pixels into words, the lowest bits of all channels first; the first word in the cycle of the pixel.

    There is no back-pressure: whoever begins a pixel has made sure of room, and leaves as many cycles as it has words.

    Members
    -------
    results : In, ``pout`` of ``plan.result``, until the next pixel
    count : In, words of a pixel
    valid : In, there is a pixel
    word : Out
    done : Out, there is a word
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "results": In(plan.pout * plan.result.bits), "count": In(3), "valid": In(1),
            "word": Out(plan.pout * plan.bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, bits = self.plan, self.plan.result.bits
        words = bits // plan.bits
        left, following, number = Signal.like(self.count), Signal(range(words)), Signal(range(words))
        m.d.comb += [self.done.eq(self.valid | (left != 0)), number.eq(Mux(self.valid, 0, following))]
        with m.If(self.done):
            m.d.sync += [following.eq(number + 1), left.eq(Mux(self.valid, self.count, left) - 1)]
        for row in range(plan.pout):
            value = self.results.word_select(row, bits)
            parts = Array(value.word_select(k, plan.bits) for k in range(words))
            m.d.comb += self.word.word_select(row, plan.bits).eq(parts[number])
        return m


class PartedResults(wiring.Component):
    """Words of results of which rows make one part after the other, each for all pixels of a band.

    The parts stand in queues of their own, so that a word can leave when its last one is there.

    Members
    -------
    i : In stream of parts of words, for which there must be room
    part, fills : In, which one it is, and that none comes behind it; those that are missing then are 0
    o : Out stream of words
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "i": In(stream.Signature(plan.pout * plan.bits)), "part": In(range(plan.made_parts)), "fills": In(1),
            "o": Out(stream.Signature(plan.word_bits)),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan = self.plan
        queues = [Queue(plan.pout * plan.bits, depth=plan.result_words, block=True) for _ in range(plan.made_parts)]
        for k, queue in enumerate(queues):
            m.submodules[f"part{k}"] = queue
            own, missing = self.part == k, self.fills & (self.part < k)
            m.d.comb += [
                queue.i.payload.eq(Mux(own, self.i.payload, 0)), queue.i.valid.eq(self.i.valid & (own | missing)),
                queue.o.ready.eq(self.o.ready & self.o.valid),
            ]  # fmt: skip
        m.d.comb += [
            self.o.payload.eq(Cat(queue.o.payload for queue in queues)),
            self.o.valid.eq(Cat(queue.o.valid for queue in queues).all()), self.i.ready.eq(1),
        ]  # fmt: skip
        return m


class Residuals(wiring.Component):
    """A queue of pixels of residuals, of one word each or of two, the lower one first.

    There is no back-pressure on the words: whoever asks for them has made sure of room. What comes out has no sign: it
    counts from the lowest value that its words can hold.

    Members
    -------
    word : In
    valid, wide : In, there is a word; it is one of a pixel of two words
    take : In, a pixel is used in this cycle
    signed, double : In, what the pixel that is used is: with a sign, of two words
    part : In, of an engine whose rows make parts of words, which part joins
    residuals : Out, ``pout`` of ``plan.residual``: the first pixel of the queue
    arrived : Out, a pixel has come
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "word": In(plan.word_bits), "valid": In(1), "wide": In(1), "take": In(1), "signed": In(1),
            "double": In(1), **({"part": In(range(plan.made_parts))} if plan.made_parts > 1 else {}),
            "residuals": Out(plan.pout * plan.residual.bits), "arrived": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, bits, whole = self.plan, self.plan.bits, self.plan.residual.bits - 1
        second = Signal()
        with m.If(self.valid):
            m.d.sync += second.eq(self.wide & ~second)
        m.d.comb += self.arrived.eq(self.valid & (second | ~self.wide))
        # The second words stand in a queue of their own, so that none has to be moved into its place.
        parts = {"low": self.valid & ~second, "high": self.arrived}
        if whole <= bits:
            del parts["high"]
        queues = []
        for name, comes in parts.items():
            m.submodules[name] = queue = Queue(plan.word_bits, depth=plan.residual_pixels, block=True)
            m.d.comb += [queue.i.payload.eq(self.word), queue.i.valid.eq(comes), queue.o.ready.eq(self.take)]
            whole_word = queue.o.payload
            queues.append(whole_word if plan.made_parts == 1 else whole_word.word_select(self.part, plan.pout * bits))
        for k in range(plan.pout):
            low, *high = (payload.word_select(k, bits) for payload in queues)
            value = _flipped(low, self.signed & ~self.double if high else self.signed)
            if high:
                value = Cat(value, Mux(self.double, _flipped(high[0], self.signed), 0))
            m.d.comb += self.residuals.word_select(k, whole + 1).eq(value)
        return m


def _flipped(value: Value, sign: Value) -> Value:
    """``value`` with its highest bit inverted where ``sign`` is up."""
    return Cat(value[:-1], value[-1] ^ sign)
