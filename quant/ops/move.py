"""Operations that move pixels and compute nothing: the shift of channels, the pixel shuffle, nearest upsampling.

Each keeps the format of the tensor it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..formats import Format
from .base import Ints, Op, Tensor

__all__ = ["MAX_FACTOR", "MAX_OFFSET", "Move", "PixelShuffle", "SpatialShift", "Upsample"]

MAX_OFFSET = 3
"""Rows and columns that a channel may move: as far as a window of 7x7 reaches, so that few rows need be held."""
MAX_FACTOR = 64
"""Of enlargement, in either direction."""


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
class PixelShuffle(Op):
    """``(C * r * r, H, W)`` to ``(C, H * r, W * r)``: ``y[c, i*r + a, j*r + b] = x[(c*r + a)*r + b, i, j]``.

    Attributes
    ----------
    factor : r, 1..64
    """

    keeps_values: ClassVar[bool] = True

    factor: int

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, H * r, W * r) of (C * r * r, H, W)."""
        (channels, height, width), fmt = read[0]
        _check_factor(self.factor)
        if channels % self.factor**2:
            raise ValueError(
                f"a pixel shuffle by {self.factor} needs a multiple of {self.factor**2} channels, not {channels}"
            )
        return Tensor((channels // self.factor**2, height * self.factor, width * self.factor), fmt)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Upsample(Op):
    """``(C, H, W)`` to ``(C, H * r, W * r)``, nearest neighbour: ``y[c, i, j] = x[c, i // r, j // r]``.

    Attributes
    ----------
    factor : r, 1..64
    """

    keeps_values: ClassVar[bool] = True

    factor: int

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, H * r, W * r)."""
        (channels, height, width), fmt = read[0]
        _check_factor(self.factor)
        return Tensor((channels, height * self.factor, width * self.factor), fmt)


Move = SpatialShift | PixelShuffle | Upsample


def _check_factor(factor: int) -> None:
    if not 1 <= factor <= MAX_FACTOR:
        raise ValueError(f"factor must be in 1..{MAX_FACTOR}, not {factor}")
