"""The product of two tensors: a gate, as squeeze-and-excitation has one, or any other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..formats import format_for
from .base import Bounds, Op, Tensor

__all__ = ["MAX_OPERAND_BITS", "Product"]

MAX_OPERAND_BITS = 16
"""As for the features of a convolution."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Product(Op):
    """``y[c, i, j] = a[c, i, j] * b[c, i, j]``, or ``a[c, i, j] * b[c, 0, 0]``, exact.

    Like a convolution it gives sums: the requantise that reads it brings ``a * b * M + B`` to few bits, with all that a
    requantise has.

    Attributes
    ----------
    source : a, (C, H, W)
    other : b, of the shape of ``a`` or (C, 1, 1), one number for each channel; may be ``a`` itself
    """

    other: str

    @property
    def sources(self) -> tuple[str, ...]:
        """``a`` and ``b``."""
        return self.source, self.other

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest product of each channel."""
        ends = np.stack([a * b for a in of(self.source) for b in of(self.other)])
        return ends.min(0), ends.max(0)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape of ``a``, in the format that holds every product."""
        (shape, a), (other, b) = read
        for name, fmt in ((self.source, a), (self.other, b)):
            if fmt.bits > MAX_OPERAND_BITS:
                raise ValueError(f"a product has operands of at most {MAX_OPERAND_BITS} bits; {name} is {fmt}")
        if other not in (shape, (shape[0], 1, 1)):
            raise ValueError(f"{self.other} must be of shape {shape} or {(shape[0], 1, 1)}, not {other}")
        ends = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return Tensor(shape, format_for(min(ends), max(ends)))
