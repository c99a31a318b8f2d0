"""Moves of whole tensors: axes cut and permuted, and the windows of every block laid out as tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..base import Bounds, Ints, Op, Shape, Tensor
from ..window import Pair, Sides, Window, merged, pair, sides

__all__ = ["MAX_SPLIT", "Rearrange", "Unfold"]

MAX_SPLIT = 8
"""Into how many axes a tensor may be cut."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rearrange(Op):
    """The tensor read as an array of the sizes ``split``, its axes in another ``order``, and that read as ``shape``;
    elements lie row by row, the last axis closest, each time. A transposition of channels and tokens (4, 1, 3) is
    ``split=(4, 3), order=(1, 0), shape=(3, 1, 4)``.

    Attributes
    ----------
    split : sizes, up to 8 of them, whose product is that of (C, H, W)
    order : which of those axes comes first, second, ..
    shape : (C, H, W) of the result
    """

    keeps_values: ClassVar[bool] = True

    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: Shape

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The widest of the bounds of the channels that a channel comes from."""
        least, most = (self._moved(ends, read[0].shape) for ends in of(self.source))
        return least.min(1), most.max(1)

    def _moved(self, ends: Ints, shape: Shape) -> Ints:
        held = np.broadcast_to(ends[:, None, None], shape).reshape(self.split)
        return held.transpose(self.order).reshape(self.shape[0], -1)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """``shape`` in the format that is read."""
        found, fmt = read[0]
        for what in ("split", "order", "shape"):
            value = getattr(self, what)
            if not isinstance(value, tuple) or not all(type(number) is int for number in value):
                raise ValueError(f"{what} must be a tuple of integers, not {value!r}")
        if not 1 <= len(self.split) <= MAX_SPLIT or min(self.split) < 1 or prod(self.split) != prod(found):
            raise ValueError(f"split must be 1 to {MAX_SPLIT} sizes whose product is that of {found}, not {self.split}")
        if sorted(self.order) != list(range(len(self.split))):
            raise ValueError(f"order must name each of {len(self.split)} axes once, not {self.order}")
        if len(self.shape) != 3 or min(self.shape) < 1 or prod(self.shape) != prod(found):
            raise ValueError(f"shape must be three sizes whose product is that of {found}, not {self.shape}")
        return Tensor(self.shape, fmt)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Unfold(Op):
    """The map cut into blocks, and of every block the windows that slide over it, each one token:
    ``y[(c * kh + ky) * kw + kx, block, window] = x[c, ..]``, blocks and windows row by row. A tap outside of the
    *block* reads ``pad[c]``. A convolution in every block by itself, such as TNT's first, is one of 1x1 behind it.

    Attributes
    ----------
    block : height and width of a block, one number or two, of which the map has whole ones
    size, stride : of a window, one number, or (vertical, horizontal)
    padding : one number, or (top, left, bottom, right)
    pad : (C,) in the format that is read
    """

    keeps_values: ClassVar[bool] = True

    block: Pair
    size: Pair
    stride: Pair
    pad: Ints
    padding: Sides = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, count in (("block", 2), ("size", 2), ("stride", 2), ("padding", 4)):
            object.__setattr__(self, name, merged(getattr(self, name), count))

    @property
    def window(self) -> Window:
        """What slides over a block."""
        return Window(kernel=pair(self.size), strides=pair(self.stride), pads=sides(self.padding))

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The bounds of the channel that is read, and what is read outside of a block."""
        least, most = of(self.source)
        if any(self.window.pads):
            least, most = np.minimum(least, self.pad), np.maximum(most, self.pad)
        taps = prod(pair(self.size))
        return np.repeat(least, taps), np.repeat(most, taps)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C * kh * kw, blocks, windows) in the format that is read."""
        (channels, height, width), fmt = read[0]
        down, right = pair(self.block)
        if min(down, right) < 1 or height % down or width % right:
            raise ValueError(f"blocks of {down}x{right} do not divide a map of {height}x{width}")
        if self.pad.shape != (channels,) or not fmt.allows(self.pad):
            raise ValueError(f"pad must be {channels} values of {fmt}")
        windows = prod(self.window.checked((down, right)))
        return Tensor((channels * prod(pair(self.size)), height // down * (width // right), windows), fmt)
