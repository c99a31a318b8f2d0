"""The ends of a Program: the input that it begins with, and the format of the class scores that it may end in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from ..formats import Format, signed, unsigned
from .base import LATER, Op, Shape, Tensor

__all__ = ["MAX_INPUT_BITS", "PIXEL", "SCORE_BYTE", "Input", "map_shape", "score_format"]

PIXEL = unsigned(8)
"""Format of the pixels of images, which every data set holds: that of an input unless it says another."""
MAX_INPUT_BITS = 32

SCORE_BYTE = 8
"""Scores are whole bytes, so that they can stand in a packet."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Input(Op):
    """What a Program is given, as it is: the pixels of an image, or any other integers.

    Attributes
    ----------
    shape : (C, H, W), as every tensor of a Program; `of` makes it of features and of tokens as well
    format : of at most 32 bits
    """

    source: str = ""
    shape: Shape
    format: Format = field(default=PIXEL, metadata=LATER)

    @classmethod
    def of(cls, shape: Sequence[int], *, name: str = "pixels", format: Format = PIXEL) -> Self:
        """An input of features (F,), of tokens (T, F) or of a map (C, H, W); stored as `map_shape` says."""
        return cls(name=name, shape=map_shape(shape), format=format)

    @property
    def sources(self) -> tuple[str, ...]:
        """None: it reads what the Program is given."""
        return ()

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape and format that the input declares."""
        whole = isinstance(self.shape, tuple) and all(type(n) is int and n > 0 for n in self.shape)
        if not whole or len(self.shape) != 3:
            raise ValueError(f"shape must be three positive integers, not {self.shape}")
        if self.format.bits > MAX_INPUT_BITS:
            raise ValueError(f"format must have at most {MAX_INPUT_BITS} bits, not {self.format}")
        return Tensor(self.shape, self.format)


def map_shape(shape: Sequence[int]) -> Shape:
    """The (C, H, W) in which a Program holds features (F,): (F, 1, 1); T tokens of F features (T, F): (F, 1, T), a
    token being a pixel; a map (C, H, W): as it is. So every operation knows one rank alone.

    Raises
    ------
    ValueError
        for no dimension or more than three.
    """
    match tuple(shape):
        case (features,):
            return features, 1, 1
        case (tokens, features):
            return features, 1, tokens
        case (channels, height, width):
            return channels, height, width
    raise ValueError(f"shape must be features (F,), tokens (T, F) or a map (C, H, W), not {tuple(shape)}")


def score_format(accumulator: Format) -> Format:
    """Format of class scores that can never saturate when no factor M / 2**S exceeds 1.

    ``|acc * M + B| >> S`` stays below twice the accumulator's range plus that of B, which is limited to the same.
    """
    return signed(-(-(accumulator.bits + 2) // SCORE_BYTE) * SCORE_BYTE)
