"""The threshold: sums counted into a few levels, without a factor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..formats import Format, format_for, unsigned
from .base import Ints, Op, Tensor

__all__ = ["MAX_THRESHOLDS", "Threshold", "threshold_format"]

MAX_THRESHOLDS = 255
"""Per channel: results of up to 8 bits. Wider ones are cheaper to make with a factor."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Threshold(Op):
    """``y[o]`` = how many of ``thresholds[o]`` ``acc[o]`` reaches; where ``falling[o]``, how many it does not.

    Batch norm and an activation of few bits in one operation, without a factor. It reads sums or a tensor. The
    thresholds are for ``>=``; a source that fires on ``>`` brings them one higher.

    Attributes
    ----------
    thresholds : (O, n), ascending, within `threshold_format` of the tensor it reads
    falling : (O,), 0 or 1
    format : unsigned, holds n
    """

    thresholds: Ints
    falling: Ints
    format: Format

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape of the sums in ``format``."""
        shape, fmt = read[0]
        if self.thresholds.ndim != 2 or self.thresholds.shape[0] != shape[0] or self.thresholds.shape[1] < 1:
            raise ValueError(f"thresholds must be a row for each of {shape[0]} channels, not {self.thresholds.shape}")
        if self.falling.shape != (shape[0],) or not unsigned(1).allows(self.falling):
            raise ValueError(f"falling must be {shape[0]} values, 0 or 1")
        levels = self.thresholds.shape[1]
        if levels > MAX_THRESHOLDS:
            raise ValueError(f"{levels} thresholds per channel are too many; the limit is {MAX_THRESHOLDS}")
        if self.format.signed or levels > self.format.hi:
            raise ValueError(f"{levels} thresholds do not fit {self.format}")
        if np.any(np.diff(self.thresholds, axis=1) < 0):
            raise ValueError("thresholds of a channel must ascend")
        if int(self.thresholds.min()) < fmt.lo or int(self.thresholds.max()) > fmt.hi + 1:
            raise ValueError(f"thresholds must be in {fmt.lo}..{fmt.hi + 1}")
        return Tensor(shape, self.format)


def threshold_format(accumulator: Format) -> Format:
    """Format of a threshold: one more than the largest sum means never."""
    return format_for(accumulator.lo, accumulator.hi + 1)
