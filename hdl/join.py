"""Concatenation: streams side by side become one, pixel by pixel, channels of the first stream first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from .counters import Counter
from .streams import elements

__all__ = ["CONCAT", "Join", "JoinShape"]

CONCAT = "concat"
"""Kind of a stage that joins streams."""


@dataclass(frozen=True, kw_only=True)
class JoinShape:
    """Streams that are joined, and the fold.

    Attributes
    ----------
    parts : channels of each stream
    height, width : of all
    simd : channels per beat; divides those of every stream
    """

    parts: tuple[int, ...]
    height: int
    width: int
    bits: int
    simd: int

    steps = 1
    """A group is a single beat."""
    latency = 0
    longest_pause = 0
    taps = 1
    rows = 0
    """There is no ring."""

    def __post_init__(self) -> None:
        if self.simd < 1 or any(part % self.simd for part in self.parts):
            channels = " and ".join(map(str, self.parts))
            raise ValueError(f"simd must divide the {channels} channels that are joined, not be {self.simd}")

    @property
    def beats(self) -> tuple[int, ...]:
        """Beats per pixel of each stream."""
        return tuple(part // self.simd for part in self.parts)

    @property
    def bank_row(self) -> int:
        """Beats per row of the map."""
        return self.width * sum(self.beats)

    @property
    def read_cycles(self) -> int:
        """Cycles per image in which a beat passes."""
        return self.height * self.bank_row

    @property
    def write_cycles(self) -> int:
        """The same: a beat that comes leaves."""
        return self.read_cycles

    def places(self, port: int, images: int) -> NDArray[np.int64]:
        """Where the beats of a stream stand among all, for so many images."""
        pixels = np.arange(images * self.height * self.width)[:, None] * sum(self.beats)
        return np.asarray((pixels + sum(self.beats[:port]) + np.arange(self.beats[port])).reshape(-1))

    def in_order(self, came: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """One value for each beat of each stream, in the order of the beats that leave."""
        images = len(came[0]) // (self.height * self.width * self.beats[0])
        result = np.empty(sum(map(len, came)), np.int64)
        for port, values in enumerate(came):
            result[self.places(port, images)] = values
        return result

    def latest(self, came: Sequence[NDArray[np.int64]]) -> int:
        """The stream that the join waits for longest, given when beats come."""
        images = len(came[0]) // (self.height * self.width * self.beats[0])
        delays = [int((values - self.places(port, images)).max()) for port, values in enumerate(came)]
        return delays.index(max(delays))


class Join(wiring.Component):
    """Passes the beats of one stream after the other, so many of each as make a pixel; latency 0.

    Members
    -------
    i0, i1, .. : In streams, simd elements; pixels row by row, all channels of a pixel before the next
    o : Out stream, simd elements
    """

    def __init__(self, shape: JoinShape):
        self.shape = shape
        layout = elements(shape.bits, shape.simd)
        inputs = {f"i{k}": In(stream.Signature(layout)) for k in range(len(shape.parts))}
        super().__init__({**inputs, "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        turn = Counter(m, len(s.parts), "turn")
        beat = Counter(m, max(s.beats), "beat")
        with m.Switch(turn.value):
            for k, beats in enumerate(s.beats):
                with m.Case(k):
                    source = getattr(self, f"i{k}")
                    m.d.comb += [
                        self.o.payload.eq(source.payload), self.o.valid.eq(source.valid), source.ready.eq(self.o.ready),
                    ]  # fmt: skip
                    with m.If(source.valid & self.o.ready):
                        beat.step()
                        with m.If(beat.value == beats - 1):
                            beat.clear()
                            turn.step()
        return m
