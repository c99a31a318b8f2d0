"""Layer norm in integers: mean and deviation of the channels of a token, an exact root, one reciprocal per token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from ...formats import Format
from ..base import Bounds, Ints, Op, Tensor
from ..requantise import MULTIPLIER_BITS
from .width import MOST_WIDE_BITS, check_factors, check_wide, quotient_offset_format

__all__ = ["MAX_POWER", "Norm"]

MAX_POWER = 3
"""The largest power of two that a channel is multiplied by in front of a norm, as an exponent."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Norm(Op):
    """Over the C channels of each pixel, with ``x'[c] = x[c] << a[c]``, ``s1 = sum x'``, ``s2 = sum x'^2`` and
    ``v = C * s2 - s1^2``, C^2 times the variance:

    ``r = max(isqrt((v << 2 * fraction) + eps), 1)``, ``q = (1 << reciprocal) // r``,
    ``y[c] = clamp(((((C * x'[c] - s1) * q) >> cut) * G[c] + B[c]) >> S, lo, hi)``; ``isqrt`` and ``>>`` floor.

    ``C * x' - s1`` over the root of v is the normalised value, which is below the root of C and here has
    ``reciprocal - fraction - cut`` bits behind the point in front of G. Few channels of small spread have a root of few
    digits; ``fraction`` gives it more.

    Attributes
    ----------
    multiplier : G, (C,), 16 bits
    offset : B, (C,), as wide as S and ``format`` together and two bits more; it holds half a step
    shift : S, 0..47
    lo, hi : within ``format``
    fraction : bits of the root behind the point
    reciprocal : the power of two of which q is the quotient
    cut : bits that the product with q loses
    eps : at least 0: C^2 * eps of the network / step^2, with ``2 * fraction`` bits behind the point, for few channels
        of a large step may differ by 1 alone, beside which eps is no whole number
    powers : a, 0..3, one number or (C,): FQ-ViT's factors, for channels of different spread on one grid
    """

    multiplier: Ints
    offset: Ints
    shift: int
    format: Format
    lo: int
    hi: int
    fraction: int
    reciprocal: int
    cut: int
    eps: int = 0
    powers: int | Ints = 0

    def __post_init__(self) -> None:
        # One number is said as one number, so that equal operations are equal files.
        held = self.powers
        if isinstance(held, np.ndarray) and held.size and held.dtype == np.int64 and (held == held.flat[0]).all():
            object.__setattr__(self, "powers", int(held.flat[0]))
        super().__post_init__()

    def exponents(self, channels: int) -> Ints:
        """a of every channel, (C,)."""
        return self.powers if isinstance(self.powers, np.ndarray) else np.full(channels, self.powers, np.int64)

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The bounds of the clamp, for every channel."""
        return np.full(len(self.multiplier), self.lo), np.full(len(self.multiplier), self.hi)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape that it reads in ``format``."""
        shape, fmt = read[0]
        channels = shape[0]
        check_factors(self.multiplier, self.offset, self.shift, self.format, (self.lo, self.hi), channels)
        exponents = self.exponents(channels)
        if exponents.shape != (channels,):
            raise ValueError(f"powers must be one value, or {channels}, not {exponents.shape}")
        if int(exponents.min()) < 0 or int(exponents.max()) > MAX_POWER:
            raise ValueError(f"powers must be in 0..{MAX_POWER}, not {exponents.min()}..{exponents.max()}")
        for what in ("fraction", "reciprocal", "cut"):
            if not 0 <= getattr(self, what) < MOST_WIDE_BITS:
                raise ValueError(f"{what} must be in 0..{MOST_WIDE_BITS - 1}, not {getattr(self, what)}")
        if self.eps < 0:
            raise ValueError(f"eps must be 0 or more, not {self.eps}")
        self._check_widths(channels, fmt)
        return Tensor(shape, self.format)

    def _check_widths(self, channels: int, fmt: Format) -> None:
        """Of everything between what is read and what is given."""
        powers = self.exponents(channels).tolist()
        ends = [(fmt.lo << power, fmt.hi << power) for power in powers]
        least, most = (sum(end) for end in zip(*ends, strict=True))
        squares = channels * sum(max(-low, high) ** 2 for low, high in ends)
        check_wide("C * the sum of squares", max(squares, max(-least, most) ** 2))
        # No numbers vary more than those of which half lie at either end.
        span = max(high for _, high in ends) - min(low for low, _ in ends)
        check_wide("the variance under the root", (channels**2 * span**2 // 4 << 2 * self.fraction) + self.eps)
        check_wide("C * x - the sum, times the reciprocal", self.normalised(channels))
        gained = (self.normalised(channels) >> self.cut) + 1 << MULTIPLIER_BITS - 1
        check_wide("the normalised value times G, and B", gained - quotient_offset_format(self.shift, self.format).lo)

    def normalised(self, channels: int) -> int:
        """The largest magnitude of ``(C * x' - s1) * q``, whatever the format that is read.

        ``|C * x' - s1|`` is at most the root of ``(C - 1) * v``, and r, at least 1, at least half the root of v times
        ``2**fraction``, so that q is at most ``2**(reciprocal - fraction + 1)`` over the root of v. Where v is 0, the
        product is.
        """
        return ((isqrt(channels - 1) + 1) << self.reciprocal + 1) >> self.fraction
