"""The convolution: sums of products of a window of features and a filter, by one of four kernels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..formats import Format, format_for
from .base import LATER, Bounds, Ints, Op, Shape, Tensor
from .kernels import Kernel, check_operands, term_range
from .window import Pair, Sides, Window, is_pair, merged, pair, sides

__all__ = ["Convolution", "sum_bounds", "weight_values"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Convolution(Op):
    """``acc[o,y,x] = sum over taps f(x[i, y*s+ky*d-p, x*s+kx*d-p], w[o,i,ky,kx])``, exact.

    ``f`` is ``-abs(x - w)`` for the kernel ``adder``, ``x * w`` for ``mult`` and ``shift``, and for ``xnor`` +1 where
    both bits are equal, else -1. A tap outside the image reads ``pad[i]``. Dense layers are the 1x1 case on a
    ``(C, 1, 1)`` tensor.

    Attributes
    ----------
    weight : (O, I / groups, Kh, Kw), words of ``weight_format`` as the hardware stores them: a single bit is +1 or, as
        0, -1; a word of ``shift`` is a sign above a code, see `weight_values`
    weight_format : for ``adder`` the format of the tensor it reads: one grid for both operands
    stride, dilation : one number, or (vertical, horizontal); a dilation along which the window has one tap is 1
    padding : one number, or (top, left, bottom, right)
    pad : (I,) in the format of the tensor it reads
    groups : filters and channels are cut into so many parts; a filter reads the channels of its own part
    """

    kernel: Kernel
    weight: Ints
    weight_format: Format
    stride: Pair = 1
    padding: Sides = 0
    pad: Ints
    groups: int = 1
    dilation: Pair = field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        dilation: Any = merged(self.dilation, 2)
        if is_pair(dilation) and np.ndim(self.weight) == 4:
            # Nothing lies between the taps of a side that has one.
            down, right = (
                d if k > 1 else min(d, 1) for d, k in zip(pair(dilation), self.weight.shape[2:], strict=True)
            )
            dilation = merged((down, right), 2)
        for name, value in (
            ("stride", merged(self.stride, 2)), ("padding", merged(self.padding, 4)), ("dilation", dilation),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def window(self) -> Window:
        """What slides over the map."""
        _, _, height, width = self.weight.shape
        return Window(
            kernel=(height, width), strides=pair(self.stride), pads=sides(self.padding), dilations=pair(self.dilation)
        )

    @property
    def taps(self) -> int:
        """Number of products in one output: I / groups * Kh * Kw."""
        return int(np.prod(self.weight.shape[1:]))

    @property
    def parameters(self) -> int:
        """Number of words in ``weight``."""
        return self.weight.size

    def macs(self, result: Shape, read: Sequence[Tensor]) -> int:
        """`taps` for each of the values of ``result``."""
        return self.taps * int(np.prod(result))

    def sum_range(self, x: Format) -> tuple[int, int]:
        """Range of the sums for any features of ``x`` and any weights of ``weight_format``."""
        lo, hi = term_range(self.kernel, x, self.weight_format)
        return lo * self.taps, hi * self.taps

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest sum of each filter with its own weights, for any features of the format."""
        return sum_bounds(self, read[0].format)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(O, rows, columns) in the format of the accumulator for any weights."""
        (channels, height, width), fmt = read[0]
        check_operands(self.kernel, fmt, self.weight_format)
        self._check_groups(read[0].shape)
        self._check_formats(fmt)
        if self.pad.shape != (channels,) or not fmt.allows(self.pad):
            raise ValueError(f"pad must be {channels} values of {fmt}")
        rows, columns = self.window.checked((height, width))
        return Tensor((len(self.weight), rows, columns), format_for(*self.sum_range(fmt)))

    def _check_groups(self, shape: Shape) -> None:
        if self.groups < 1 or shape[0] % self.groups:
            raise ValueError(f"groups must divide {shape[0]} channels, not be {self.groups}")
        weight = self.weight
        if weight.ndim != 4 or weight.shape[1] * self.groups != shape[0] or weight.size == 0:
            raise ValueError(f"weight of shape {weight.shape} does not fit a tensor of shape {shape}")
        if len(weight) % self.groups:
            raise ValueError(f"groups must divide {len(weight)} filters, not be {self.groups}")

    def _check_formats(self, fmt: Format) -> None:
        words = self.weight_format
        if self.kernel == "adder" and words != fmt:
            raise ValueError(f"an adder kernel needs one grid for both operands, not {fmt} and {words}")
        if (words.bits == 1 or self.kernel == "shift") and words.signed:
            raise ValueError(f"weights of {self.kernel} are words whose sign has a meaning of its own, not {words}")
        if self.kernel == "xnor" and fmt.signed:
            raise ValueError("features of the xnor kernel are single unsigned bits, 0 for -1")
        if not words.allows(self.weight):
            raise ValueError(f"weights leave {words}: {self.weight.min()}..{self.weight.max()}")


def sum_bounds(op: Convolution, x: Format) -> tuple[Ints, Ints]:
    """Smallest and largest sum of every filter of ``op``, each (O,), for any features of ``x``."""
    filters = weight_values(op).reshape(len(op.weight), -1)
    if op.kernel == "adder":
        outside = np.maximum(np.maximum(filters - x.hi, x.lo - filters), 0)
        return -np.maximum(np.abs(filters - x.lo), np.abs(x.hi - filters)).sum(1), -outside.sum(1)
    if op.kernel == "xnor":
        return np.full(len(filters), -op.taps), np.full(len(filters), op.taps)
    ends = np.stack([filters * x.lo, filters * x.hi])
    return ends.min(0).sum(1), ends.max(0).sum(1)


def weight_values(op: Convolution) -> Ints:
    """What the words of ``op.weight`` stand for, see `word_values`."""
    return word_values(op.kernel, op.weight, op.weight_format)


def word_values(kernel: str, words: Ints, fmt: Format) -> Ints:
    """What weights of ``kernel``, stored as ``words`` of format ``fmt``, stand for, in the same shape: for ``shift`` 0,
    ±1, ±2, .. ±64, for words of a single bit ±1, else themselves."""
    if kernel == "shift":
        code, sign = words & 7, words >> 3
        return np.where(code == 0, 0, (1 - 2 * sign) << np.maximum(code - 1, 0))
    return 2 * words - 1 if fmt.bits == 1 else words
