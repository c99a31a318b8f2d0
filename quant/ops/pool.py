"""Pools: the largest value or the sum of every window of a channel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..formats import Format, format_for
from .base import Bounds, Op, Tensor
from .window import Pair, Sides, Window, merged, pair, sides

__all__ = ["AveragePool", "MaxPool"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MaxPool(Op):
    """The largest of a window; a padded tap never wins.

    Attributes
    ----------
    size, stride : one number, or (vertical, horizontal)
    padding : one number, or (top, left, bottom, right)
    """

    keeps_values: ClassVar[bool] = True

    size: Pair
    stride: Pair
    padding: Sides = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, count in (("size", 2), ("stride", 2), ("padding", 4)):
            object.__setattr__(self, name, merged(getattr(self, name), count))

    @property
    def window(self) -> Window:
        """What slides over the map."""
        return Window(kernel=pair(self.size), strides=pair(self.stride), pads=sides(self.padding))

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each channel: those of the map, for a pool makes no others."""
        return of(self.source)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, rows, columns) in the format that it reads."""
        (channels, height, width), fmt = read[0]
        window = self.window
        rows, columns = window.checked((height, width))
        if any(padding >= size for padding, size in zip(window.pads, window.kernel * 2, strict=True)):
            kernel = "x".join(map(str, window.kernel))
            raise ValueError(f"padding {self.padding} would make windows of {kernel} that see no pixel")
        return Tensor((channels, rows, columns), fmt)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AveragePool(Op):
    """The *sum* of a window, without padding; the requantise that reads it divides.

    Attributes
    ----------
    size, stride : one number, or (vertical, horizontal)
    """

    size: Pair
    stride: Pair

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "stride"):
            object.__setattr__(self, name, merged(getattr(self, name), 2))

    @property
    def window(self) -> Window:
        """What slides over the map."""
        return Window(kernel=pair(self.size), strides=pair(self.stride))

    @property
    def taps(self) -> int:
        """Number of values in one sum."""
        height, width = pair(self.size)
        return height * width

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, rows, columns) in the format that holds every sum."""
        (channels, height, width), fmt = read[0]
        rows, columns = self.window.checked((height, width))
        return Tensor((channels, rows, columns), format_for(*self.sum_range(fmt)))

    def sum_range(self, x: Format) -> tuple[int, int]:
        """Range of the sums of `taps` values of ``x``."""
        return x.lo * self.taps, x.hi * self.taps
