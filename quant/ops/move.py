"""Operations that move pixels and compute nothing: shifts of channels, pixel shuffle, nearest upsampling, slices.

Each keeps the format of the tensor it reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..formats import Format
from .base import Bounds, Ints, Op, Tensor

__all__ = ["AXES", "MAX_FACTOR", "MAX_OFFSET", "Move", "PixelShuffle", "Slice", "SpatialShift", "Upsample"]

MAX_OFFSET = 3
"""Rows and columns that a channel may move: as far as a window of 7x7 reaches, so that few rows need be held."""
MAX_FACTOR = 64
"""The largest factor by which a map is enlarged, in either direction."""
AXES = ("C", "H", "W")
"""Names of the axes of a tensor, in their order."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpatialShift(Op):
    """``y[c, i, j] = x[c, i - dy[c], j - dx[c]]``: every channel moves down and to the right by its own offset.

    Attributes
    ----------
    offsets : (C, 2), the rows ``dy`` and the columns ``dx`` of each channel, -3..3
    pad : (C,) in the format of the tensor it reads, what moves in from outside the image; zeros unless given
    """

    keeps_values: ClassVar[bool] = True

    offsets: Ints
    pad: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if isinstance(self.pad, np.ndarray) and isinstance(self.offsets, np.ndarray) and not self.pad.size:
            object.__setattr__(self, "pad", np.zeros(len(self.offsets), np.int64))
        super().__post_init__()

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The tensor that it reads, in shape and format."""
        (channels, _, _), fmt = read[0]
        self._check(channels, fmt)
        return read[0]

    def _check(self, channels: int, fmt: Format) -> None:
        offsets = self.offsets
        if offsets.shape != (channels, 2):
            raise ValueError(f"offsets must be rows and columns for each of {channels} channels, not {offsets.shape}")
        if offsets.min() < -MAX_OFFSET or offsets.max() > MAX_OFFSET:
            raise ValueError(f"offsets must be in -{MAX_OFFSET}..{MAX_OFFSET}, not {offsets.min()}..{offsets.max()}")
        if self.pad.shape != (channels,) or not fmt.allows(self.pad):
            raise ValueError(f"pad must be {channels} values of {fmt}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Enlargement(Op):
    """An operation that makes every axis of a map larger by one factor.

    Attributes
    ----------
    factor : r, 1..64
    """

    keeps_values: ClassVar[bool] = True

    factor: int

    def _enlarged(self, channels: int, read: Tensor) -> Tensor:
        """``channels`` maps, each larger than the one that is ``read``."""
        (_, height, width), fmt = read
        return Tensor((channels, height * self.factor, width * self.factor), fmt)

    def _check_factor(self) -> None:
        if not 1 <= self.factor <= MAX_FACTOR:
            raise ValueError(f"factor must be in 1..{MAX_FACTOR}, not {self.factor}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PixelShuffle(Enlargement):
    """``(C * r * r, H, W)`` to ``(C, H * r, W * r)``: ``y[c, i*r + a, j*r + b] = x[(c*r + a)*r + b, i, j]``."""

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, H * r, W * r) of (C * r * r, H, W)."""
        self._check_factor()
        channels = read[0].shape[0]
        if channels % self.factor**2:
            raise ValueError(
                f"a pixel shuffle by {self.factor} needs a multiple of {self.factor**2} channels, not {channels}"
            )
        return self._enlarged(channels // self.factor**2, read[0])


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Upsample(Enlargement):
    """``(C, H, W)`` to ``(C, H * r, W * r)``, nearest neighbour: ``y[c, i, j] = x[c, i // r, j // r]``."""

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, H * r, W * r)."""
        self._check_factor()
        return self._enlarged(read[0].shape[0], read[0])


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Slice(Op):
    """Every ``step``-th channel, row or column from ``start`` up to before ``stop``; the others are left out.

    Attributes
    ----------
    axis : one of `AXES`
    start, stop : ``0 <= start < stop``, ``stop`` at most the size of the axis
    step : at least 1
    """

    keeps_values: ClassVar[bool] = True

    axis: str
    start: int
    stop: int
    step: int = 1

    @property
    def kept(self) -> range:
        """Places along the axis that are kept."""
        return range(self.start, self.stop, self.step)

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The bounds of the channels that are kept."""
        least, most = of(self.source)
        kept = list(self.kept) if self.axis == "C" else slice(None)
        return least[kept], most[kept]

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The tensor that it reads with fewer channels, rows or columns."""
        shape, fmt = read[0]
        if self.axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}, not {self.axis!r}")
        at = AXES.index(self.axis)
        if not 0 <= self.start < self.stop <= shape[at] or self.step < 1:
            raise ValueError(
                f"a slice {self.start}:{self.stop}:{self.step} is no part of {shape[at]} along {self.axis}"
            )
        channels, height, width = (len(self.kept) if k == at else n for k, n in enumerate(shape))
        return Tensor((channels, height, width), fmt)


Move = SpatialShift | PixelShuffle | Upsample
"""What the dataflow family builds as a ring of rows that is read in another order."""
