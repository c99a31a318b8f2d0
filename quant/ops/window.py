"""Windows: what slides over a map, and the fields of operations that describe it."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Pair", "Sides", "Window", "is_pair", "is_sides", "merged", "pair", "sides"]

Pair = int | tuple[int, int]
"""One number for both directions, or (vertical, horizontal)."""
Sides = int | tuple[int, int, int, int]
"""One number for all sides, or (top, left, bottom, right)."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What slides over a map: rows first, then columns.

    Attributes
    ----------
    kernel : height and width, without what dilation puts between
    strides, dilations : per direction
    pads : at the top, on the left, at the bottom, on the right
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width with what dilation puts between."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a map of ``size`` with its padding."""
        return size[0] + self.pads[0] + self.pads[2], size[1] + self.pads[1] + self.pads[3]

    def result(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that it makes of a map of ``size``; less than 1 where it is larger than the padded map."""
        rows, columns = (
            (n - extent) // stride + 1
            for n, extent, stride in zip(self.padded(size), self.extent, self.strides, strict=True)
        )
        return rows, columns

    def checked(self, size: tuple[int, int]) -> tuple[int, int]:
        """As `result`; ``ValueError`` where this is no window, or makes nothing of a map of ``size``."""
        kernel, stride, padding = "x".join(map(str, self.kernel)), merged(self.strides, 2), merged(self.pads, 4)
        if min(*self.kernel, *self.strides, *self.dilations) < 1 or not 0 <= min(self.pads) <= max(self.pads) < max(
            *self.extent, 2
        ):
            dilation = "" if self.dilations == (1, 1) else f", dilation {merged(self.dilations, 2)}"
            raise ValueError(f"window {kernel}, stride {stride}, padding {padding}{dilation} is not a window")
        made = self.result(size)
        if min(made) < 1:
            extent = "x".join(map(str, self.extent))
            raise ValueError(f"window {extent} is larger than the padded image {size[0]}x{size[1]}")
        return made


def pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal)."""
    return (value, value) if isinstance(value, int) else value


def sides(value: Sides) -> tuple[int, int, int, int]:
    """(top, left, bottom, right)."""
    return (value, value, value, value) if isinstance(value, int) else value


def merged(value: Any, count: int) -> Any:
    """``value`` as a field of ``count`` numbers holds it: one integer where all are equal, else a tuple.

    What is no such numbers stays, to be refused.
    """
    if not isinstance(value, tuple | list):
        return value
    numbers = tuple(value)
    same = len(numbers) == count and all(type(number) is int for number in numbers) and len(set(numbers)) == 1
    return numbers[0] if same else numbers


def is_pair(value: object) -> bool:
    """Whether ``value`` is a `Pair`."""
    return _whole(value, 2)


def is_sides(value: object) -> bool:
    """Whether ``value`` is of type `Sides`."""
    return _whole(value, 4)


def _whole(value: object, count: int) -> bool:
    if isinstance(value, tuple):
        return len(value) == count and all(type(number) is int for number in value)
    return isinstance(value, int) and not isinstance(value, bool)
