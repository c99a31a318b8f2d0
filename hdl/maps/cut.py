"""Slices: of a stream of pixels some channels, rows or columns pass, and the others are dropped.

Nothing is kept: a beat passes in the cycle in which it comes, or is taken and dropped.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..memory.loops import Counter
from ..streams.beats import elements

__all__ = ["SLICE", "Cut", "CutShape", "cut_folds"]

SLICE = "slice"
"""Kind of a stage that drops channels, rows or columns."""


def cut_folds(axis: str, channels: int, kept: range) -> list[int]:
    """How many channels can come at once: all of a beat pass, or none; or whole pixels come, of which parts pass."""
    folds = [n for n in range(1, channels + 1) if channels % n == 0]
    if axis != "C":
        return folds
    inside = set(kept)
    whole = [n for n in folds if all(len(inside & set(range(at, at + n))) in (0, n) for at in range(0, channels, n))]
    return sorted({*whole, channels})


@dataclass(frozen=True, kw_only=True)
class CutShape:
    """What a slice keeps, and its fold.

    Attributes
    ----------
    axis : one of `quant.ops.move.AXES`
    kept : places along it
    channels, height, width : of the map that comes
    simd : channels of a pixel that come at once, one of `cut_folds`
    """

    axis: str
    kept: range
    channels: int
    height: int
    width: int
    bits: int
    simd: int

    steps = 1
    """A group is a single beat."""
    latency = 0
    longest_pause = 0
    ring_bits = 0
    """There is no ring."""

    def __post_init__(self) -> None:
        folds = cut_folds(self.axis, self.channels, self.kept)
        if self.simd not in folds:
            known = ", ".join(map(str, folds))
            raise ValueError(f"simd must be one of {known} for a slice of {self.channels} channels, not {self.simd}")

    @property
    def chunks(self) -> int:
        """Beats per pixel that come."""
        return self.channels // self.simd

    @property
    def within(self) -> tuple[int, ...]:
        """Elements of a beat that pass, where the beat does."""
        whole = self.axis == "C" and self.chunks == 1
        return tuple(self.kept) if whole else tuple(range(self.simd))

    @property
    def sizes(self) -> dict[str, int]:
        """Beats along each axis, the slowest first."""
        return {"H": self.height, "W": self.width, "C": self.chunks}

    @property
    def passing(self) -> tuple[int, ...]:
        """Places along the axis at which beats pass."""
        if self.axis != "C":
            return tuple(self.kept)
        return (0,) if self.chunks == 1 else tuple(sorted({place // self.simd for place in self.kept}))

    @cached_property
    def passes(self) -> NDArray[np.bool_]:
        """Whether each beat of an image passes, in the order of the stream."""
        beats = np.zeros(tuple(self.sizes.values()), np.bool_)
        at: list[Any] = [slice(None)] * 3
        at[list(self.sizes).index(self.axis)] = list(self.passing)
        beats[tuple(at)] = True
        return beats.reshape(-1)

    @cached_property
    def burst(self) -> int:
        """Beats by which those that have passed are ahead of their average, or behind: while a long stretch is dropped,
        a reader lives on what a queue holds."""
        passed = np.concatenate([[0], np.cumsum(self.passes)])
        ahead = passed - self.passes.mean() * np.arange(len(passed))
        return int(np.ceil(np.ptp(ahead)))

    @property
    def read_cycles(self) -> int:
        """Cycles per image in which a beat passes."""
        return int(self.passes.sum())

    @property
    def write_cycles(self) -> int:
        """Cycles per image in which a beat comes."""
        return len(self.passes)


class Cut(wiring.Component):
    """Passes beats or drops them; latency 0.

    Members
    -------
    i : In stream, simd elements; pixels row by row, all channels of a pixel before the next
    o : Out stream, the elements ``shape.within`` of those that pass
    """

    def __init__(self, shape: CutShape):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(elements(shape.bits, shape.simd))),
                "o": Out(stream.Signature(elements(shape.bits, len(shape.within)))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        # The axis that is cut and all slower ones count, those that are faster only tell when to count on.
        counters = {axis: Counter(m, n, f"place_{axis.lower()}") for axis, n in s.sizes.items()}
        passes: Value = Const(1)
        if len(s.passing) < s.sizes[s.axis]:
            passes = counters[s.axis].value.matches(*s.passing)
        m.d.comb += [
            self.o.payload.as_value().eq(Cat(self.i.payload[k] for k in s.within)),
            self.o.valid.eq(self.i.valid & passes),
            self.i.ready.eq(self.o.ready | ~passes),
        ]
        with m.If(self.i.valid & self.i.ready):
            ends: Value = Const(1)
            for axis in reversed(list(s.sizes)):
                with m.If(ends):
                    counters[axis].step()
                ends = ends & counters[axis].at_end
                if axis == s.axis:
                    break
        return m
