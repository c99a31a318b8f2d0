"""Queues that the reader fills: words, or records that take several of them."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...streams.convert import Widen
from ...streams.queue import Queue
from ..plan import EnginePlan
from ..record import Record

__all__ = ["RecordQueue", "WordQueue"]


class WordQueue(wiring.Component):
    """Words first in, first out. There is no back-pressure on the side that writes: it has claimed the room.

    Members
    -------
    word, valid : In
    o : Out stream of words
    left : Out, a word has left
    """

    def __init__(self, plan: EnginePlan, *, depth: int):
        self.plan = plan
        self.depth = depth
        super().__init__({
            "word": In(plan.word_bits), "valid": In(1), "o": Out(stream.Signature(plan.word_bits)), "left": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = Queue(self.plan.word_bits, depth=self.depth, block=True)
        m.d.comb += [
            queue.i.payload.eq(self.word), queue.i.valid.eq(self.valid), self.o.payload.eq(queue.o.payload),
            self.o.valid.eq(queue.o.valid), queue.o.ready.eq(self.o.ready), self.left.eq(self.o.valid & self.o.ready),
        ]  # fmt: skip
        return m


class RecordQueue(wiring.Component):
    """Words first in, records first out. Members are those of `WordQueue`, but ``o`` is a stream of records."""

    def __init__(self, plan: EnginePlan, record: Record, *, records: int):
        self.plan = plan
        self.record = record
        self.count = record.words(plan.word_bits)
        self.depth = self.count * records
        super().__init__({
            "word": In(plan.word_bits), "valid": In(1), "o": Out(stream.Signature(record.layout)), "left": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = WordQueue(self.plan, depth=self.depth)
        m.submodules.widen = widen = Widen(bits=self.plan.word_bits, count=1, factor=self.count)
        m.d.comb += [
            words.word.eq(self.word), words.valid.eq(self.valid), self.left.eq(words.left),
            widen.i.payload.as_value().eq(words.o.payload), widen.i.valid.eq(words.o.valid),
            words.o.ready.eq(widen.i.ready),
            self.o.payload.as_value().eq(widen.o.payload.as_value()), self.o.valid.eq(widen.o.valid),
            widen.o.ready.eq(self.o.ready),
        ]  # fmt: skip
        return m
