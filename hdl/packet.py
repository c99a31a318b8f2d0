"""The end of a classifier: scores in, one packet of scores and class out."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..quant.formats import Format
from .streams import elements

__all__ = ["Packet", "packet_bits"]


def packet_bits(score: Format, classes: int) -> int:
    """Width of a beat: whole bytes that hold a score, and the index of a class."""
    return -(-max(score.bits, (classes - 1).bit_length()) // 8) * 8


class Packet(wiring.Component):
    """Passes the scores on, sign-extended to whole bytes, and ends the packet with the index of the largest.

    ``classes`` beats of scores, class 0 first, then the class itself with ``last``; the lowest index wins a tie.
    A score leaves in the cycle in which it comes; the class takes one cycle more.

    Members
    -------
    i : In stream, one score
    o : Out stream of ``value`` (width bits) and ``last``
    """

    def __init__(self, *, score: Format, classes: int):
        self.score = score
        self.classes = classes
        self.width = packet_bits(score, classes)
        super().__init__(
            {
                "i": In(stream.Signature(elements(score.bits, 1))),
                "o": Out(stream.Signature(data.StructLayout({"value": self.width, "last": 1}))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        raw = self.i.payload[0]
        score = raw.as_signed() if self.score.signed else raw
        best = Signal(score.shape())
        best_class = Signal(range(max(2, self.classes)))
        index = Signal(range(self.classes + 1))
        at_class = Signal()
        m.d.comb += [
            at_class.eq(index == self.classes),
            self.o.valid.eq(at_class | self.i.valid),
            self.o.payload.value.eq(Mux(at_class, best_class, score)),
            self.o.payload.last.eq(at_class),
            self.i.ready.eq(self.o.ready & ~at_class),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(at_class, 0, index + 1))
            with m.If(~at_class & ((index == 0) | (score > best))):
                m.d.sync += [best.eq(score), best_class.eq(index)]
        return m
