"""Operations that rearrange whole tensors: a map laid out as a vector, tensors joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from .base import LATER, Bounds, Op, Shape, Tensor
from .move import AXES

__all__ = ["Concat", "Flatten"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Flatten(Op):
    """``(C, H, W)`` to ``(C*H*W, 1, 1)`` in that order."""

    keeps_values: ClassVar[bool] = True

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each element: those of its channel."""
        (_, height, width), _ = read[0]
        least, most = of(self.source)
        return np.repeat(least, height * width), np.repeat(most, height * width)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(C*H*W, 1, 1) in the format that it reads."""
        (channels, height, width), fmt = read[0]
        return Tensor((channels * height * width, 1, 1), fmt)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Concat(Op):
    """``source`` followed by ``others``, which have its format, along ``axis``: channels beside each other, or rows or
    columns, such as a class token in front of the others.

    Attributes
    ----------
    others : one or more, whose sizes along the other axes are those of ``source``
    axis : one of `AXES`
    """

    keeps_values: ClassVar[bool] = True

    others: tuple[str, ...]
    axis: str = field(default="C", metadata=LATER)

    @property
    def sources(self) -> tuple[str, ...]:
        """``source`` and ``others``."""
        return self.source, *self.others

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each channel: those of one source after those of another, or the widest of all
        where these lie in one channel."""
        least, most = ([of(source)[end] for source in self.sources] for end in (0, 1))
        if self.axis == "C":
            return np.concatenate(least), np.concatenate(most)
        return np.stack(least).min(0), np.stack(most).max(0)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The sum of the sizes along ``axis``; the others and the format are those of ``source``."""
        if not isinstance(self.others, tuple):
            raise ValueError(f"others must be a tuple of names, not {self.others!r}")
        if self.axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}, not {self.axis!r}")
        at, ((shape, fmt), *others) = AXES.index(self.axis), read
        for name, other in zip(self.others, others, strict=True):
            if other.format != fmt or _without(other.shape, at) != _without(shape, at):
                found = f"{name} ({other.format}, {other.shape})"
                raise ValueError(f"{found} cannot stand beside {self.source} ({fmt}, {shape})")
        channels, height, width = (sum(part.shape[k] for part in read) if k == at else n for k, n in enumerate(shape))
        return Tensor((channels, height, width), fmt)


def _without(shape: Shape, axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
