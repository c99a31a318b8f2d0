"""The ends of a Program: the input that it begins with, and the arg-max that a classifier ends in."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..formats import Format, format_for, signed, unsigned
from .base import Op, Shape, Tensor

__all__ = ["SCORE_BYTE", "ArgMax", "Input", "score_format"]

SCORE_BYTE = 8
"""Scores are whole bytes, so that they can stand in a packet."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Input(Op):
    """Unsigned 8-bit pixels, as they are."""

    source: str = ""
    shape: Shape

    @property
    def format(self) -> Format:
        """Pixels are unsigned bytes."""
        return unsigned(8)

    @property
    def sources(self) -> tuple[str, ...]:
        """None: it reads what the Program is given."""
        return ()

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """Its own shape and format."""
        whole = isinstance(self.shape, tuple) and all(type(n) is int and n > 0 for n in self.shape)
        if not whole or len(self.shape) != 3:
            raise ValueError(f"shape must be three positive integers, not {self.shape}")
        return Tensor(self.shape, self.format)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ArgMax(Op):
    """The lowest index of the largest score; the end of a classifier."""

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """One index; a ``ValueError`` where it does not read one score per class, (C, 1, 1)."""
        (channels, height, width), _ = read[0]
        if (height, width) != (1, 1):
            raise ValueError(f"arg-max reads one score per class, not a map of {height}x{width}")
        return Tensor((1, 1, 1), format_for(0, max(channels - 1, 1)))


def score_format(accumulator: Format) -> Format:
    """Format of class scores that can never saturate when no factor M / 2**S exceeds 1.

    ``|acc * M + B| >> S`` stays below twice the accumulator's range plus that of B, which is limited to the same.
    """
    return signed(-(-(accumulator.bits + 2) // SCORE_BYTE) * SCORE_BYTE)
