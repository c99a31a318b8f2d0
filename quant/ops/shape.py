"""Operations that rearrange whole tensors: a map laid out as a vector, channels joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Bounds, Op, Tensor

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
    """The channels of ``source`` followed by those of ``others``, which have its format, height and width."""

    keeps_values: ClassVar[bool] = True

    others: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """``source`` and ``others``."""
        return self.source, *self.others

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each channel, those of one source after those of another."""
        parts = [of(source) for source in self.sources]
        return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The sum of the channels; height, width and format of ``source``."""
        if not isinstance(self.others, tuple):
            raise ValueError(f"others must be a tuple of names, not {self.others!r}")
        (shape, fmt), *others = read
        for name, other in zip(self.others, others, strict=True):
            if other.format != fmt or other.shape[1:] != shape[1:]:
                found = f"{name} ({other.format}, {other.shape})"
                raise ValueError(f"{found} cannot stand beside {self.source} ({fmt}, {shape})")
        return Tensor((sum(part.shape[0] for part in read), *shape[1:]), fmt)
