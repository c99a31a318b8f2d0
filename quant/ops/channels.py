"""Operations on the channels of every pixel by itself: the index of the largest, a choice among tensors, sums."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..formats import format_for
from .base import Bounds, Op, Tensor

__all__ = ["REDUCTIONS", "ArgMax", "Reduce", "Select"]

REDUCTIONS = ("sum", "max")
"""What a `Reduce` makes of several channels."""
_HELD = 1 << 63
"""Tensors are held in signed 64-bit integers, which lie below it."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ArgMax(Op):
    """``y[0, i, j]`` = the lowest index of the largest of ``x[:, i, j]``.

    Where it ends a Program and reads a single pixel, the channels of that are class scores, see `Program.decision`.
    """

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The first and the last index."""
        (channels, _, _), _ = read[0]
        return np.zeros(1, np.int64), np.full(1, channels - 1)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(1, H, W), unsigned, as many bits as an index takes, at least 1."""
        (channels, height, width), _ = read[0]
        return Tensor((1, height, width), format_for(0, channels - 1))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Select(Op):
    """``y[c, i, j] = b[c, i, j]``, b the branch whose number ``mask[0, i, j]`` is; a number behind that of the last
    branch stands for the last.

    Attributes
    ----------
    source : the mask, (1, H, W), unsigned: an `ArgMax`, thresholds
    branches : two or more, of one format and of one shape (C, H, W), branch 0 first; no more than the mask has numbers.
        One may stand in several places
    """

    branches: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The mask and the branches."""
        return self.source, *self.branches

    @property
    def passed_on(self) -> tuple[str, ...]:
        """The branches: a number of the mask is no value of the result."""
        return self.branches

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each channel, in whichever branch."""
        least, most = (np.stack(ends) for ends in zip(*map(of, self.branches), strict=True))
        return least.min(0), most.max(0)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """Shape and format of the branches."""
        if not isinstance(self.branches, tuple) or len(self.branches) < 2:
            raise ValueError(f"branches must be a tuple of two names or more, not {self.branches!r}")
        mask, first, *others = read
        (_, height, width), fmt = first
        for name, other in zip(self.branches[1:], others, strict=True):
            if other != first:
                raise ValueError(
                    f"branches have one format and shape; {name} is {other.format}, {other.shape}, but "
                    f"{self.branches[0]} {fmt}, {first.shape}"
                )
        if mask.shape != (1, height, width) or mask.format.signed:
            raise ValueError(
                f"the mask of branches of {height}x{width} must be unsigned, of shape {(1, height, width)}; "
                f"{self.source} is {mask.format}, {mask.shape}"
            )
        if len(self.branches) > mask.format.hi + 1:
            raise ValueError(
                f"{self.source} is {mask.format}, whose numbers name {mask.format.hi + 1} branches, not "
                f"{len(self.branches)}"
            )
        return first


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reduce(Op):
    """``y[g, i, j]`` = the sum or the largest of the channels of part g of ``x[:, i, j]``; what pools are for rows and
    columns.

    A sum is exact; a mean is that of the requantise which reads it.

    Attributes
    ----------
    how : one of `REDUCTIONS`
    parts : equal parts of the channels, neighbours together; 1: all of them
    """

    how: str
    parts: int = 1

    @property
    def passed_on(self) -> tuple[str, ...]:
        """What it reads, if it takes the largest."""
        return self.sources if self.how == "max" else ()

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Sums, or the largest, of the bounds of the channels of each part."""
        least, most = (ends.reshape(self.parts, -1) for ends in of(self.source))
        return (least.sum(1), most.sum(1)) if self.how == "sum" else (least.max(1), most.max(1))

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(parts, H, W), in the format that holds every sum; the largest in the format that it reads."""
        (channels, height, width), fmt = read[0]
        if self.how not in REDUCTIONS:
            raise ValueError(f"how must be one of {', '.join(REDUCTIONS)}, not {self.how!r}")
        if self.parts < 1 or channels % self.parts:
            raise ValueError(f"parts must divide {channels} channels, which {self.parts} does not")
        if self.how == "sum":
            each = channels // self.parts
            lo, hi = fmt.lo * each, fmt.hi * each
            if lo < -_HELD or hi >= _HELD:
                raise ValueError(f"sums of {each} channels of {fmt} leave the 64 bits in which tensors are held")
            fmt = format_for(lo, hi)
        return Tensor((self.parts, height, width), fmt)
