"""The end of an accelerator, one packet per image: the scores and the class of a classifier, or the raw result."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ...quant.program import Program
from ..memory.loops import Counter
from .beats import element_bits, elements

__all__ = [
    "Packet", "RawPacket", "beat_bits", "packet_bits", "packet_latency", "packet_layout", "packet_of",
]  # fmt: skip


def packet_of(program: Program, outputs: int) -> "Packet | RawPacket":
    """What ends the accelerator of ``program``, in beats of ``outputs`` elements where it is no classifier."""
    if program.classifies:
        return Packet(score=program.score_format, classes=program.classes)
    channels, height, width = program.shape(program.output)
    return RawPacket(element=program.format(program.output), count=outputs, beats=channels * height * width // outputs)


def beat_bits(program: Program, outputs: int) -> int:
    """Width of a beat of `packet_of`."""
    if program.classifies:
        return packet_bits(program.score_format, program.classes)
    return outputs * element_bits(program.format(program.output))


def packet_latency(program: Program) -> int:
    """Cycles from the last beat that enters `packet_of` to the last one that leaves it: a score waits one cycle, and
    the class comes another one later; a raw result leaves at once."""
    return 2 if program.classifies else 0


def packet_layout(program: Program, outputs: int) -> dict[str, Any]:
    """What a BUILD's manifest says of its packets."""
    bits = beat_bits(program, outputs)
    if program.classifies:
        fmt = program.score_format
        return {
            "order": "scores, class 0 first, then the class; tlast on the last beat",
            "score": {"bits": fmt.bits, "signed": fmt.signed},
            "beat_bits": bits,
        }
    fmt = program.format(program.output)
    return {
        "order": "elements of the result, pixels row by row, all channels of a pixel before the next; the first of a "
        "beat lowest; tlast on the last beat",
        "shape": list(program.shape(program.output)),
        "element": {"bits": fmt.bits, "signed": fmt.signed, "stored_bits": element_bits(fmt)},
        "elements_per_beat": outputs,
        "beats": int(np.prod(program.shape(program.output))) // outputs,
        "beat_bits": bits,
    }


def packet_bits(score: Format, classes: int) -> int:
    """Width of a beat: whole bytes that hold a score, and the index of a class."""
    return -(-max(score.bits, (classes - 1).bit_length()) // 8) * 8


class Packet(wiring.Component):
    """Passes the scores on, sign-extended to whole bytes, and ends the packet with the index of the largest.

    ``classes`` beats of scores, class 0 first, then the class itself with ``last``; the lowest index wins a tie.
    A score leaves in the cycle after the one in which it comes; the class takes one cycle more.

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
        # A score waits in a register for its comparison, which takes most of a cycle.
        raw, full = Signal(self.score.bits, name="held"), Signal()
        score = raw.as_signed() if self.score.signed else raw
        best = Signal(score.shape())
        best_class = Signal(range(max(2, self.classes)))
        index = Signal(range(self.classes + 1))
        at_class, leaves = Signal(), Signal()
        m.d.comb += [
            at_class.eq(index == self.classes),
            self.o.valid.eq(at_class | full),
            self.o.payload.value.eq(Mux(at_class, best_class, score)),
            self.o.payload.last.eq(at_class),
            leaves.eq(full & self.o.ready & ~at_class),
            self.i.ready.eq(~full | leaves),
        ]
        with m.If(self.i.ready):
            m.d.sync += [raw.eq(self.i.payload[0]), full.eq(self.i.valid)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(at_class, 0, index + 1))
        with m.If(leaves & ((index == 0) | (score > best))):
            m.d.sync += [best.eq(score), best_class.eq(index)]
        return m


class RawPacket(wiring.Component):
    """Passes the elements of a result on, each extended to whole bytes, by its sign if it has one; ``last`` comes with
    the last beat of an image. A beat leaves in the cycle in which it comes.

    Members
    -------
    i : In stream, ``count`` elements
    o : Out stream of ``value`` (width bits: the elements, the first lowest) and ``last``

    Parameters
    ----------
    beats : per image
    """

    def __init__(self, *, element: Format, count: int, beats: int):
        self.element = element
        self.beats = beats
        self.width = count * element_bits(element)
        super().__init__(
            {
                "i": In(stream.Signature(elements(element.bits, count))),
                "o": Out(stream.Signature(data.StructLayout({"value": self.width, "last": 1}))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat = Counter(m, self.beats, "beat")
        words: list[Signal] = []
        for element in self.i.payload:
            word = Signal(element_bits(self.element), name=f"word{len(words)}")
            m.d.comb += word.eq(element.as_signed() if self.element.signed else element)
            words.append(word)
        m.d.comb += [
            self.o.payload.value.eq(Cat(words)),
            self.o.payload.last.eq(beat.at_end),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        with m.If(self.o.valid & self.o.ready):
            beat.step()
        return m
