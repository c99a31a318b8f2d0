"""A window of one pixel: beats pass as they come, since nothing has to wait for others."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..streams.beats import elements

__all__ = ["DirectShape", "DirectWindow"]


@dataclass(frozen=True, kw_only=True)
class DirectShape:
    """Geometry of a window of one pixel that is read whole, in a single step.

    Attributes
    ----------
    channels, height, width : of the image
    bits : of an element
    """

    channels: int
    height: int
    width: int
    bits: int

    latency = 0
    steps = 1
    groups = 1
    longest_pause = 0
    ring_bits = 0

    @property
    def read_cycles(self) -> int:
        """Cycles per image in which groups are at work: one for each pixel."""
        return self.height * self.width

    @property
    def write_cycles(self) -> int:
        """Cycles per image that taking all beats in needs: one for each pixel."""
        return self.height * self.width


class DirectWindow(wiring.Component):
    """Takes a beat when ``go`` is up, in whose cycle its group begins and its operands are there.

    Members
    -------
    i : In stream, all channels of a pixel
    go : In
    begin, valid : Out, whether a beat is taken
    x : Out, its elements
    """

    def __init__(self, shape: DirectShape):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(elements(shape.bits, shape.channels))),
                "go": In(1),
                "begin": Out(1),
                "valid": Out(1),
                "x": Out(shape.channels * shape.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [
            self.i.ready.eq(self.go),
            self.begin.eq(self.i.valid & self.go),
            self.valid.eq(self.begin),
            self.x.eq(self.i.payload.as_value()),
        ]
        return m
