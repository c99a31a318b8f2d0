"""Integer number formats as objects."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Format", "format_for", "signed", "unsigned"]

MAX_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Format:
    """Two's-complement or unsigned integers of ``bits`` bits; values in ``lo..hi``."""

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits of a format must be an integer in 1..{MAX_BITS}, not {self.bits!r}")
        if not isinstance(self.signed, bool):
            raise ValueError(f"signed must be true or false, not {self.signed!r}")

    @property
    def lo(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1

    def allows(self, values: NDArray[np.integer] | int) -> bool:
        """Whether every value can be written in this format."""
        array = np.asarray(values)
        return array.size == 0 or (int(array.min()) >= self.lo and int(array.max()) <= self.hi)

    def encode(self, value: int) -> int:
        """The bit pattern of ``value``; raises ``ValueError`` outside ``lo..hi``."""
        if not self.lo <= value <= self.hi:
            raise ValueError(f"value must be in {self.lo}..{self.hi} for {self}, not {value}")
        return value & ((1 << self.bits) - 1)

    def decode(self, word: int) -> int:
        """The value whose bit pattern is ``word``."""
        return word - (1 << self.bits) if self.signed and word >> (self.bits - 1) else word

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"


def signed(bits: int) -> Format:
    """Two's complement of ``bits`` bits."""
    return Format(bits=bits, signed=True)


def unsigned(bits: int) -> Format:
    """Unsigned integers of ``bits`` bits."""
    return Format(bits=bits, signed=False)


@lru_cache(maxsize=1 << 14)
def format_for(lo: int, hi: int) -> Format:
    """The narrowest format that holds ``lo..hi``; signed only when ``lo`` is negative."""
    if lo < 0:
        return signed(max((-lo - 1).bit_length(), max(hi, 0).bit_length()) + 1)
    return unsigned(max(hi.bit_length(), 1))
