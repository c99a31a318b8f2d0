"""Concatenation: streams side by side become one, pixel by pixel, channels of the first stream first.

Beats of the streams pass one after the other; or, where their channels have no divisor in common, whole pixels at once.
Parts may be constants, the same for every pixel: no stream brings them, the join puts them in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from types import MappingProxyType
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..memory.loops import Counter
from ..streams.beats import elements

__all__ = ["CONCAT", "Join", "JoinShape", "join_folds", "join_takes"]

CONCAT = "concat"
"""Kind of a stage that joins streams."""
_LONG_AGO = 1 << 40
"""When a constant behind all streams of a pixel was ready."""


def join_folds(parts: Sequence[int]) -> list[int]:
    """How many channels can pass at once: divisors of those of every stream, or all."""
    common = gcd(*parts)
    return sorted({n for n in range(1, common + 1) if common % n == 0} | {sum(parts)})


def join_takes(parts: tuple[int, ...], simd: int) -> tuple[int, ...]:
    """Elements per beat of each stream when ``simd`` channels pass at once."""
    return parts if any(part % simd for part in parts) else (simd,) * len(parts)


@dataclass(frozen=True, kw_only=True)
class JoinShape:
    """Streams that are joined, and the fold.

    Attributes
    ----------
    parts : channels of each stream, and of each constant
    height, width : of all
    simd : channels per beat; divides those of every part, or is all of them: then whole pixels pass at once
    constants : of parts that are constants, by their numbers, a word for each channel
    """

    parts: tuple[int, ...]
    height: int
    width: int
    bits: int
    simd: int
    constants: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))

    steps = 1
    """A group is a single beat."""
    latency = 0
    longest_pause = 0
    ring_bits = 0
    """There is no ring."""

    def __post_init__(self) -> None:
        if self.simd not in join_folds(self.parts):
            channels, known = " and ".join(map(str, self.parts)), ", ".join(map(str, join_folds(self.parts)))
            raise ValueError(f"simd must be one of {known} to join {channels} channels, not {self.simd}")

    @property
    def at_once(self) -> bool:
        """Whether all streams pass in the same beat."""
        return any(part % self.simd for part in self.parts)

    @property
    def takes(self) -> tuple[int, ...]:
        """Elements per beat of each part."""
        return join_takes(self.parts, self.simd)

    @property
    def beats(self) -> tuple[int, ...]:
        """Beats per pixel of each part."""
        return tuple(part // take for part, take in zip(self.parts, self.takes, strict=True))

    @property
    def streams(self) -> tuple[int, ...]:
        """Numbers of the parts that streams bring."""
        return tuple(part for part in range(len(self.parts)) if part not in self.constants)

    def next_stream(self, part: int) -> int | None:
        """The first stream behind the constant ``part`` in a pixel: its beat begins the constant, which so never runs
        ahead of the pixel."""
        return next((stream for stream in self.streams if stream > part), None)

    @property
    def bank_row(self) -> int:
        """Beats per row of the map."""
        return self.width * sum(self.parts) // self.simd

    @property
    def read_cycles(self) -> int:
        """Cycles per image in which a beat passes."""
        return self.height * self.bank_row

    @property
    def write_cycles(self) -> int:
        """Cycles per image in which a beat comes: as many as in which one passes, for nothing is stored."""
        return self.read_cycles

    def places(self, port: int, images: int) -> NDArray[np.int64]:
        """Numbers, among all beats that pass during ``images`` images, of those of the stream at ``port``."""
        pixels = np.arange(images * self.height * self.width)
        if self.at_once:
            return pixels
        return self._places(self.streams[port], images)

    def wanted_places(self, port: int, images: int) -> NDArray[np.int64]:
        """Where beats of a stream must be there: where they stand, or where the constants begin that the first of a
        pixel lets in."""
        places, part = self.places(port, images).copy(), self.streams[port]
        if not self.at_once:
            ahead = sum(self.beats[other] for other in self.constants if self.next_stream(other) == part)
            places[:: self.beats[part]] -= ahead
        return places

    def _places(self, part: int, images: int) -> NDArray[np.int64]:
        pixels = np.arange(images * self.height * self.width)[:, None] * sum(self.beats)
        return np.asarray((pixels + sum(self.beats[:part]) + np.arange(self.beats[part])).reshape(-1))

    def in_order(self, came: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """One value for each beat of each stream, in the order of the beats that leave; of several the largest."""
        if self.at_once:
            return np.asarray(np.maximum.reduce(list(came)))
        images = self._images(came)
        result = np.empty(images * self.read_cycles, np.int64)
        for port, values in enumerate(came):
            result[self.places(port, images)] = values
        for part in self.constants:
            behind = self.next_stream(part)
            begin: NDArray[np.int64] | int = -_LONG_AGO
            if behind is not None:
                firsts = came[self.streams.index(behind)][:: self.beats[behind]]
                begin = np.repeat(firsts, self.beats[part])
            result[self._places(part, images)] = begin
        return result

    def latest(self, came: Sequence[NDArray[np.int64]]) -> int:
        """The stream that the join waits for longest, given when beats come."""
        images = self._images(came)
        delays = [int((values - self.places(port, images)).max()) for port, values in enumerate(came)]
        return delays.index(max(delays))

    def _images(self, came: Sequence[NDArray[np.int64]]) -> int:
        return len(came[0]) // (self.height * self.width * self.beats[self.streams[0]])


class Join(wiring.Component):
    """Passes the beats of one stream after the other, so many of each as make a pixel, or all at once; latency 0.

    Members
    -------
    i0, i1, .. : In streams, for each of ``shape.streams`` as many elements as it ``takes``; pixels row by row, all
        channels of a pixel before the next
    o : Out stream, simd elements
    """

    def __init__(self, shape: JoinShape):
        self.shape = shape
        taken = [shape.takes[part] for part in shape.streams]
        inputs = {f"i{k}": In(stream.Signature(elements(shape.bits, n))) for k, n in enumerate(taken)}
        super().__init__({**inputs, "o": Out(stream.Signature(elements(shape.bits, shape.simd)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        if s.at_once:
            inputs = [self._stream(part) for part in s.streams]
            m.d.comb += [
                self.o.payload.as_value().eq(Cat(self._pixel(part) for part in range(len(s.parts)))),
                self.o.valid.eq(Cat(source.valid for source in inputs).all()),
                *(source.ready.eq(self.o.valid & self.o.ready) for source in inputs),
            ]
            return m
        turn = Counter(m, len(s.parts), "turn")
        beat = Counter(m, max(s.beats), "beat")
        with m.Switch(turn.value):
            for k, beats in enumerate(s.beats):
                with m.Case(k):
                    if k in s.constants:
                        self._insert(m, k, turn, beat)
                        continue
                    source = self._stream(k)
                    m.d.comb += [
                        self.o.payload.eq(source.payload), self.o.valid.eq(source.valid), source.ready.eq(self.o.ready),
                    ]  # fmt: skip
                    with m.If(source.valid & self.o.ready):
                        beat.step()
                        with m.If(beat.value == beats - 1):
                            beat.clear()
                            turn.step()
        return m

    def _stream(self, part: int) -> Any:
        return getattr(self, f"i{self.shape.streams.index(part)}")

    def _pixel(self, part: int) -> Value:
        """All channels of a part at once."""
        s = self.shape
        if part not in s.constants:
            return Value.cast(self._stream(part).payload.as_value())
        return Cat(Const(word, s.bits) for word in s.constants[part])

    def _insert(self, m: Module, part: int, turn: Counter, beat: Counter) -> None:
        """The beats of a constant, when its turn has come."""
        s = self.shape
        words, count = s.constants[part], s.beats[part]
        behind = s.next_stream(part)
        with m.Switch(beat.value):
            for k in range(count):
                with m.Case(k) if k < count - 1 else m.Default():
                    here = words[k * s.simd : (k + 1) * s.simd]
                    m.d.comb += self.o.payload.as_value().eq(Cat(Const(word, s.bits) for word in here))
        valid = Const(1) if behind is None else self._stream(behind).valid
        m.d.comb += self.o.valid.eq(valid)
        with m.If(valid & self.o.ready):
            beat.step()
            with m.If(beat.value == count - 1):
                beat.clear()
                turn.step()
