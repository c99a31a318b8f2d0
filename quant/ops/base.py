"""What every operation of a Program is, and how a Program asks it."""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from .window import Pair, Sides, is_pair, is_sides

__all__ = ["LATER", "Bounds", "Ints", "Op", "Shape", "Tensor", "left_out", "per_channel"]

Shape = tuple[int, int, int]
Ints = NDArray[np.int64]
Bounds = tuple[Ints, Ints]
"""Smallest and largest value of every channel of a tensor, each (C,)."""
LATER = {"later": True}
"""Metadata of a field that came after files had been written: where it has its default, no file says it, so that old
and new files of one Program are the same bytes."""


class Tensor(NamedTuple):
    """The result of an operation.

    Attributes
    ----------
    shape : (C, H, W)
    format : of its integers
    """

    shape: Shape
    format: Format


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Op:
    """An operation called ``name`` that reads the result of ``source``.

    A kind of operation is a subclass with `infer`, and with `sources` where it reads more than one result. Its arrays
    are copied when it is made and cannot be written afterwards.
    """

    name: str
    source: str

    keeps_values: ClassVar[bool] = False
    """Whether every value of the result is one of those that are read, as in a maximum or a move."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and (value.flags.writeable or value.base is not None):
                held = value.copy(order="K")
                held.setflags(write=False)
                object.__setattr__(self, item.name, held)

    def __repr__(self) -> str:
        said = (f"{item.name}={_short(getattr(self, item.name))}" for item in fields(self) if not left_out(self, item))
        return f"{type(self).__name__}({', '.join(said)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor: numpy unpickles every array as one that can be written.
        return partial(type(self), **{item.name: getattr(self, item.name) for item in fields(self)}), ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the operations that this one reads, in the order in which `infer` gets their results."""
        return (self.source,)

    @property
    def passed_on(self) -> tuple[str, ...]:
        """Those of `sources` whose values, and no others, the result has; none where it may have others."""
        return self.sources if self.keeps_values else ()

    @property
    def parameters(self) -> int:
        """Number of integer weights."""
        return 0

    def macs(self, result: Shape, read: Sequence[Tensor]) -> int:
        """Terms of the sums in one image, of a ``result`` of this (C, H, W) and of the results of `sources`."""
        return 0

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """Shape and format of the result.

        Parameters
        ----------
        read : the results of `sources`, in their order

        Raises
        ------
        ValueError
            when the operation does not fit what it reads.
        """
        raise ValueError(f"unknown operation {type(self).__name__}")

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Smallest and largest value of every channel of the result, whatever the image: what the format holds, where
        an operation does not know better.

        Parameters
        ----------
        read : the results of `sources`, in their order
        of : the same of an operation that is read, by its name
        """
        (channels, _, _), fmt = self.infer(read)
        return np.full(channels, fmt.lo), np.full(channels, fmt.hi)

    def sum_range(self, x: Format) -> tuple[int, int]:
        """Exact range of the sums that the operation makes of ``x``; a ``TypeError`` where it makes none."""
        raise TypeError(f"{self.name} is a {type(self).__name__}, which makes no sums")

    def check_scores(self, read: Sequence[Tensor]) -> None:
        """Raise ``ValueError`` where class scores that this operation makes could saturate."""

    def check_fields(self) -> None:
        """Raise ``ValueError`` for a field whose value is not of the type that the dataclass declares."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type is int and (not isinstance(value, int) or isinstance(value, bool)):
                raise ValueError(f"{item.name} must be an integer, not {value!r}")
            if item.type == int | Ints and (not isinstance(value, int | np.ndarray) or isinstance(value, bool)):
                raise ValueError(f"{item.name} must be an integer or one for each channel, not {value!r}")
            if item.type == Pair and not is_pair(value):
                raise ValueError(f"{item.name} must be an integer or two, vertical and horizontal, not {value!r}")
            if item.type == Sides and not is_sides(value):
                raise ValueError(f"{item.name} must be an integer or four, top, left, bottom and right, not {value!r}")
            if item.type is str and not isinstance(value, str):
                raise ValueError(f"{item.name} must be text, not {value!r}")
            if item.type is Format and not isinstance(value, Format):
                raise ValueError(f"{item.name} must be a Format, not {value!r}")
            if (item.type == Ints or (item.type == Ints | None and value is not None)) and not isinstance(
                value, np.ndarray
            ):
                raise ValueError(f"{item.name} must be a numpy array of 64-bit integers, not {type(value).__name__}")
            if isinstance(value, np.ndarray) and value.dtype != np.int64:
                raise ValueError(f"{item.name} must be 64-bit integers, not {value.dtype}")
            if isinstance(value, Format) and value.hi >= 1 << 63:
                raise ValueError(f"{item.name} must fit signed 64-bit integers, in which tensors are held, not {value}")


def left_out(op: Op, item: "Field[Any]") -> bool:
    """Whether a file of ``op`` leaves its field ``item`` out."""
    value = getattr(op, item.name)
    return bool(item.metadata.get("later")) and not isinstance(value, np.ndarray) and bool(value == item.default)


def per_channel(value: int | Ints, channels: int) -> Ints:
    """A number for all channels, or one for each, as (O,)."""
    return value if isinstance(value, np.ndarray) else np.full(channels, value, np.int64)


def _short(value: object) -> str:
    """An array as its type and shape, ``int64[16, 3, 5, 5]``; anything else as it is."""
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else str(value)
