"""The input operation: pixels on their way in, normalised onto a grid or compared with thresholds."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format, format_for
from ...quant.program import Program, Requantise, Threshold
from ..streams.beats import elements
from .arithmetic import floored

__all__ = ["Entry", "entry_latency", "entry_of"]

_REQUANTISE_RANKS = 3
"""Product, offset and shift, clamp."""


def entry_of(program: Program) -> Requantise | Threshold | None:
    """The operation that reads the pixels, where it is not a layer."""
    first = program.ops[1]
    return first if isinstance(first, Requantise | Threshold) else None


def entry_latency(op: Requantise | Threshold | None) -> int:
    """Cycles from a beat of pixels to the beat that it becomes."""
    return _REQUANTISE_RANKS if isinstance(op, Requantise) else 0


class Entry(wiring.Component):
    """Turns every pixel into a feature; one beat per cycle, ``latency`` cycles later.

    Its constants are part of the RTL: they belong to how images are recorded, not to what a network has learned. Beats
    move on together whenever the output is free, so a stall costs nothing and loses nothing.

    Members
    -------
    i : In stream, the channels of one or several pixels, elements of ``x``
    o : Out stream, as many elements of ``op.format``
    """

    def __init__(self, op: Requantise | Threshold, *, channels: int, x: Format):
        self.op = op
        self.x = x
        self.channels = channels
        self.latency = entry_latency(op)
        super().__init__(
            {
                "i": In(stream.Signature(elements(x.bits, channels))),
                "o": Out(stream.Signature(elements(op.format.bits, channels))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        moving = Signal()
        m.d.comb += [moving.eq(~self.o.valid | self.o.ready), self.i.ready.eq(moving if self.latency else self.o.ready)]
        valid: Value = self.i.valid
        for k in range(self.latency):
            later = Signal(name=f"valid{k}")
            with m.If(moving):
                m.d.sync += later.eq(valid)
            valid = later
        m.d.comb += self.o.valid.eq(valid)
        make = self._levels if isinstance(self.op, Threshold) else self._affine
        own = self.op.multiplier if isinstance(self.op, Requantise) else self.op.thresholds
        words = [self.i.payload.as_value().word_select(c, self.x.bits) for c in range(self.channels)]
        features = [make(m, moving, c, c % len(own), word.as_signed() if self.x.signed else word)
                    for c, word in enumerate(words)]  # fmt: skip
        m.d.comb += self.o.payload.as_value().eq(Cat(*features))
        return m

    def _levels(self, m: Module, moving: Value, number: int, channel: int, pixel: Value) -> Value:
        op = self.op
        assert isinstance(op, Threshold)
        levels = op.thresholds[channel].tolist()
        reached = sum((pixel >= level for level in levels[1:]), pixel >= levels[0])
        feature = Signal(op.format.bits, name=f"feature{number}")
        m.d.comb += feature.eq(len(levels) - reached if int(op.falling[channel]) else reached)
        return feature

    def _affine(self, m: Module, moving: Value, number: int, channel: int, pixel: Value) -> Value:
        op = self.op
        assert isinstance(op, Requantise)
        factor, offset = int(op.multiplier[channel]), int(op.offset[channel])
        shift = int(op.shifts[channel])
        second, lower = int(op.seconds[channel]), int(op.second_offsets[channel])
        ends = [0, *(scale * end for scale in (factor, second) for end in (self.x.lo, self.x.hi))]
        sums = format_for(min(ends) + min(offset, lower, 0), max(ends) + max(offset, lower, 0))
        product = Signal(signed_shape(sums.bits + 1), name=f"product{number}")
        shifted = Signal(signed_shape(sums.bits + 1), name=f"shifted{number}")
        feature = Signal(op.format.bits, name=f"feature{number}")
        scaled, added = pixel * factor, offset
        if op.bends:
            above, was = pixel >= int(op.knees[channel]), Signal(name=f"above{number}")
            scaled, added = Mux(above, scaled, pixel * second), Mux(was, offset, lower)
            with m.If(moving):
                m.d.sync += was.eq(above)
        with m.If(moving):
            m.d.sync += [
                product.eq(scaled),
                shifted.eq(floored(m, product + added, shift, even=op.ties == "even", name=f"rest{number}")),
                feature.eq(Mux(shifted < op.lo, op.lo, Mux(shifted > op.hi, op.hi, shifted))),
            ]
        return feature
