"""Operations that move pixels and compute nothing: the shift of channels, the pixel shuffle, nearest upsampling.

Each keeps the format of the tensor it reads.
"""

from dataclasses import dataclass, field

import numpy as np

from ..formats import Format
from .base import Ints, Op, Shape

__all__ = ["MAX_FACTOR", "MAX_OFFSET", "Move", "PixelShuffle", "SpatialShift", "Upsample", "infer_move"]

MAX_OFFSET = 3
"""Rows and columns that a channel may move: as far as a window of 7x7 reaches, so that few rows need be held."""
MAX_FACTOR = 64
"""Of enlargement, in either direction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialShift(Op):
    """``y[c, i, j] = x[c, i - dy[c], j - dx[c]]``: every channel moves down and to the right by its own offset.

    Attributes
    ----------
    offsets : (C, 2), the rows ``dy`` and the columns ``dx`` of each channel, -3..3
    pad : (C,) in the format of the tensor it reads, what moves in from outside the image; zeros unless given
    """

    offsets: Ints
    pad: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if isinstance(self.pad, np.ndarray) and isinstance(self.offsets, np.ndarray) and not self.pad.size:
            object.__setattr__(self, "pad", np.zeros(len(self.offsets), np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelShuffle(Op):
    """``(C * r * r, H, W)`` to ``(C, H * r, W * r)``: ``y[c, i*r + a, j*r + b] = x[(c*r + a)*r + b, i, j]``.

    Attributes
    ----------
    factor : r, 1..64
    """

    factor: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Upsample(Op):
    """``(C, H, W)`` to ``(C, H * r, W * r)``, nearest neighbour: ``y[c, i, j] = x[c, i // r, j // r]``.

    Attributes
    ----------
    factor : r, 1..64
    """

    factor: int


Move = SpatialShift | PixelShuffle | Upsample


def infer_move(op: Move, shape: Shape, fmt: Format) -> tuple[Shape, Format]:
    """Shape and format of the result of ``op`` on a tensor of ``shape`` and ``fmt``.

    Raises
    ------
    ValueError
        when ``op`` does not fit it.
    """
    channels, height, width = shape
    if isinstance(op, SpatialShift):
        _check_shift(op, channels, fmt)
        return shape, fmt
    if not 1 <= op.factor <= MAX_FACTOR:
        raise ValueError(f"factor must be in 1..{MAX_FACTOR}, not {op.factor}")
    if isinstance(op, PixelShuffle):
        if channels % op.factor**2:
            raise ValueError(
                f"a pixel shuffle by {op.factor} needs a multiple of {op.factor**2} channels, not {channels}"
            )
        channels //= op.factor**2
    return (channels, height * op.factor, width * op.factor), fmt


def _check_shift(op: SpatialShift, channels: int, fmt: Format) -> None:
    if op.offsets.shape != (channels, 2):
        raise ValueError(f"offsets must be rows and columns for each of {channels} channels, not {op.offsets.shape}")
    if op.offsets.min() < -MAX_OFFSET or op.offsets.max() > MAX_OFFSET:
        raise ValueError(f"offsets must be in -{MAX_OFFSET}..{MAX_OFFSET}, not {op.offsets.min()}..{op.offsets.max()}")
    if op.pad.shape != (channels,) or not fmt.allows(op.pad):
        raise ValueError(f"pad must be {channels} values of {fmt}")
