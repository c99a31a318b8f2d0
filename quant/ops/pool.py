"""Pools: the largest value or the sum of every window of a channel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..formats import Format, format_for
from .base import Bounds, Op, Tensor, windows

__all__ = ["AveragePool", "MaxPool"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MaxPool(Op):
    """The largest of a ``size`` x ``size`` window; a padded tap never wins."""

    keeps_values: ClassVar[bool] = True

    size: int
    stride: int
    padding: int = 0

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Those of what it reads."""
        return of(self.source)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, rows, columns) in the format that it reads."""
        (channels, height, width), fmt = read[0]
        rows, columns = windows(height, width, self.size, self.size, self.stride, self.padding)
        if self.padding >= self.size:
            raise ValueError(f"padding {self.padding} would make windows of {self.size}x{self.size} that see no pixel")
        return Tensor((channels, rows, columns), fmt)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AveragePool(Op):
    """The *sum* of a ``size`` x ``size`` window, without padding; the requantise that reads it divides."""

    size: int
    stride: int

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C, rows, columns) in the format that holds every sum."""
        (channels, height, width), fmt = read[0]
        rows, columns = windows(height, width, self.size, self.size, self.stride, 0)
        return Tensor((channels, rows, columns), format_for(*self.sum_range(fmt)))

    def sum_range(self, x: Format) -> tuple[int, int]:
        """Range of the sums of ``size * size`` values of ``x``."""
        return x.lo * self.size**2, x.hi * self.size**2
