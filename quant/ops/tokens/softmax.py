"""Softmax in integers, its division deferred: exponentials by a table, and the quotient that is taken behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...formats import Format
from ..base import Bounds, Ints, Op, Tensor
from ..requantise import MULTIPLIER_BITS
from .width import check_factors, check_wide, quotient_offset_format

__all__ = ["MAX_DECAY_BITS", "Divide", "Softmax"]

MAX_DECAY_BITS = 12
"""Bits of a distance to the largest score: as of what a table reads."""
_MOST_SCORE_BITS = 16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Softmax(Op):
    """Exponentials of scores, not yet divided by their sum: of each of ``heads`` equal parts of the channels of a pixel
    ``y[j] = T[min(m - s[j], L)]``, where ``m`` is the largest score of the part and L the last index of T.

    A `Reduce` to the sum of as many parts makes the denominators. What is linear in the exponentials, a `MatMul` with
    values above all, is made of them first and divided once, by a `Divide`: fewer divisions, and less is rounded.

    Attributes
    ----------
    source : scores, (heads * J, H, W), of at most 16 bits: of each token of a row those of J others, head by head
    entries : T, (2**k,), k up to 12: what stands for a distance to the largest score, each at least 0 and T[0], which
        stands for the largest itself, at least 1, so that no denominator is 0; within ``format``
    format : unsigned
    heads : how many equal parts the channels have, neighbours together
    mask : (W, J), 1 where the token in a column sees token j, 0 where it does not: that score is none of those of which
        ``m`` is the largest, and its exponential is 0. Each token sees one at least. None: all see all
    """

    entries: Ints
    format: Format
    heads: int = 1
    mask: Ints | None = None

    def __post_init__(self) -> None:
        # Equal operations are equal files.
        if isinstance(self.mask, np.ndarray) and self.mask.size and (self.mask == 1).all():
            object.__setattr__(self, "mask", None)
        super().__post_init__()

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The smallest and the largest entry of the table; 0 where a mask hides."""
        (channels, _, _), _ = read[0]
        least = int(self.entries.min()) if self.mask is None else 0
        return np.full(channels, least), np.full(channels, int(self.entries.max()))

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape of the scores in ``format``."""
        shape, fmt = read[0]
        if fmt.bits > _MOST_SCORE_BITS:
            raise ValueError(f"a softmax reads scores of at most {_MOST_SCORE_BITS} bits; {self.source} is {fmt}")
        if self.heads < 1 or shape[0] % self.heads:
            raise ValueError(f"heads must divide {shape[0]} channels, which {self.heads} does not")
        size = len(self.entries) if self.entries.ndim == 1 else 0
        if not 1 <= size <= 1 << MAX_DECAY_BITS or size & (size - 1):
            raise ValueError(
                f"entries must be a power of two up to {1 << MAX_DECAY_BITS} of them, not {self.entries.shape}"
            )
        if self.format.signed or not self.format.allows(self.entries):
            ends = f"{self.entries.min()}..{self.entries.max()}"
            raise ValueError(f"entries must fit an unsigned format, not {ends} in {self.format}")
        if self.entries[0] < 1:
            raise ValueError(f"the entry of the largest score must be at least 1, not {self.entries[0]}")
        self._check_mask(shape[2], shape[0] // self.heads)
        return Tensor(shape, self.format)

    def _check_mask(self, width: int, others: int) -> None:
        if self.mask is None:
            return
        if self.mask.shape != (width, others) or not np.isin(self.mask, (0, 1)).all():
            raise ValueError(f"mask must be 0 or 1, {width} tokens by {others} that they see, not {self.mask.shape}")
        if blind := np.flatnonzero(self.mask.max(1) == 0).tolist():
            raise ValueError(f"each token sees one at least; token {blind[0]} sees none")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Divide(Op):
    """``y[c] = clamp((num[c] * M[c] + d * B[c]) // (d << S), lo, hi)``, ``//`` floors; ``d`` is the denominator of the
    part of the channels that c is in, or 1 where that is 0.

    It is the requantise of a quotient: ``num / d`` times ``M / 2**S``, and ``B / 2**S`` added, which holds half a step.

    Attributes
    ----------
    source : num, (C, H, W)
    denominator : d, (parts, H, W), unsigned; parts divides C, neighbours together
    multiplier : M, (C,), 16 bits
    offset : B, (C,), as wide as S and ``format`` together and two bits more
    shift : S, 0..47
    lo, hi : within ``format``
    """

    denominator: str
    multiplier: Ints
    offset: Ints
    shift: int
    format: Format
    lo: int
    hi: int

    @property
    def sources(self) -> tuple[str, ...]:
        """Numerators and denominators."""
        return self.source, self.denominator

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The bounds of the clamp, for every channel."""
        return np.full(len(self.multiplier), self.lo), np.full(len(self.multiplier), self.hi)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape of the numerators in ``format``."""
        (channels, *size), num = read[0]
        (parts, *sizes), den = read[1]
        if den.signed or sizes != size or channels % parts:
            raise ValueError(
                f"denominators must be unsigned, of {'x'.join(map(str, size))} pixels, and their channels divide "
                f"{channels}; {self.denominator} is {den}, {read[1].shape}"
            )
        check_factors(self.multiplier, self.offset, self.shift, self.format, (self.lo, self.hi), channels)
        offset = -quotient_offset_format(self.shift, self.format).lo
        check_wide("num * M + d * B", (max(-num.lo, num.hi) << MULTIPLIER_BITS - 1) + den.hi * offset)
        check_wide("d << S", den.hi << self.shift)
        return Tensor((channels, size[0], size[1]), self.format)
