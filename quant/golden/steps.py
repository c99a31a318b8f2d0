"""What the golden model computes for every kind of operation.

A step is an operation with its constants in the order and type that the loops want. Its arrays lie as `layout` says.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import signed
from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.move import PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.register import Register
from ..ops.requantise import RESIDUAL_MULTIPLIER_BITS, Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold
from ..program import Program
from .convolve import filters_of, sums_of
from .layout import LAYOUT, by_channels, held, inside
from .loops import Loops
from .tokens import TOKEN_STEPS
from .widths import Array, WidthError, narrowest_type

__all__ = ["STEPS", "Step"]

Step = Callable[..., Array]
"""Called with the results of an operation's sources, in their order; that of an input with (N, C, H, W) values."""
STEPS: Register[Callable[[Program, Any, Loops], Step]] = Register("the golden model")
"""For each kind of operation the function that makes its `Step` of the Program, the operation and the inner loops."""
for _kind, _maker in TOKEN_STEPS.items():
    STEPS.register(_kind, _maker)


# Ends, shapes and moves


@STEPS.handles(Input)
def _input(program: Program, op: Input, loops: Loops) -> Step:
    return lambda values: held(op, values)


@STEPS.handles(Constant)
def _constant(program: Program, op: Constant, loops: Loops) -> Step:
    value = inside(op.value[None]).astype(narrowest_type(op.format))
    return lambda values: np.broadcast_to(value, (len(values), *value.shape[1:]))


@STEPS.handles(Concat)
def _concat(program: Program, op: Concat, loops: Loops) -> Step:
    axis = LAYOUT.index(op.axis)
    return lambda *parts: np.concatenate(parts, axis=axis)


@STEPS.handles(Flatten)
def _flatten(program: Program, op: Flatten, loops: Loops) -> Step:
    return lambda x: by_channels(x).reshape(len(x), 1, 1, -1)


@STEPS.handles(SpatialShift)
def _spatial_shift(program: Program, op: SpatialShift, loops: Loops) -> Step:
    return lambda x: _shifted(op, x)


@STEPS.handles(PixelShuffle)
def _pixel_shuffle(program: Program, op: PixelShuffle, loops: Loops) -> Step:
    return lambda x: _shuffled(op, x)


@STEPS.handles(Upsample)
def _upsample(program: Program, op: Upsample, loops: Loops) -> Step:
    return lambda x: x.repeat(op.factor, axis=1).repeat(op.factor, axis=2)


@STEPS.handles(Slice)
def _slice(program: Program, op: Slice, loops: Loops) -> Step:
    cut = [slice(None)] * len(LAYOUT)
    cut[LAYOUT.index(op.axis)] = slice(op.start, op.stop, op.step)
    return lambda x: x[tuple(cut)]


def _shifted(op: SpatialShift, x: Array) -> Array:
    _, height, width, _ = x.shape
    result = np.empty(x.shape, x.dtype)
    result[:] = op.pad
    offsets, which = np.unique(op.offsets, axis=0, return_inverse=True)
    for k, (down, right) in enumerate(offsets.tolist()):
        (to_rows, rows), (to_columns, columns) = _overlap(height, down), _overlap(width, right)
        some = _as_slice(np.flatnonzero(which.reshape(-1) == k))
        result[:, to_rows, to_columns, some] = x[:, rows, columns, some]
    return result


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Where what moves by ``offset`` arrives, and where it comes from."""
    kept = max(size - abs(offset), 0)
    arrives, leaves = max(offset, 0), max(-offset, 0)
    return slice(arrives, arrives + kept), slice(leaves, leaves + kept)


def _as_slice(channels: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Ascending channels as a slice, which is faster, where they are neighbours."""
    first, last = int(channels[0]), int(channels[-1])
    return slice(first, last + 1) if last - first == len(channels) - 1 else channels


def _shuffled(op: PixelShuffle, x: Array) -> Array:
    images, height, width, channels = x.shape
    r = op.factor
    parts = x.reshape(images, height, width, channels // r**2, r, r).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(images, height * r, width * r, channels // r**2)


# Pools


@STEPS.handles(MaxPool)
def _max_pool(program: Program, op: MaxPool, loops: Loops) -> Step:
    lowest = program.format(op.source).lo

    def step(x: Array) -> Array:
        pad = np.full(x.shape[-1], lowest, x.dtype)
        return np.asarray(_windows(program, op, loops, x, pad).max(-2))

    return step


@STEPS.handles(AveragePool)
def _average_pool(program: Program, op: AveragePool, loops: Loops) -> Step:
    def step(x: Array) -> Array:
        pad = np.zeros(x.shape[-1], x.dtype)
        return np.asarray(_windows(program, op, loops, x, pad).sum(-2, dtype=np.int64))

    return step


def _windows(program: Program, op: MaxPool | AveragePool, loops: Loops, x: Array, pad: Array) -> Array:
    """(N, rows, columns, window, C)."""
    _, rows, columns = program.shape(op.name)
    patches = loops.patches(x, pad, op.window)
    return patches.reshape(len(x), rows, columns, -1, x.shape[-1])


# Convolutions


@STEPS.handles(Convolution)
def _convolution(program: Program, op: Convolution, loops: Loops) -> Step:
    filters = filters_of(program, op)
    return lambda x: sums_of(program, op, loops, filters, x)


@STEPS.handles(Product)
def _product(program: Program, op: Product, loops: Loops) -> Step:
    return lambda a, b: a.astype(np.int64) * b.astype(np.int64)


# The channels of every pixel


@STEPS.handles(ArgMax)
def _argmax(program: Program, op: ArgMax, loops: Loops) -> Step:
    kind = narrowest_type(program.format(op.name))
    return lambda x: x.argmax(-1)[..., None].astype(kind)


@STEPS.handles(Select)
def _select(program: Program, op: Select, loops: Loops) -> Step:
    def step(mask: Array, *branches: Array) -> Array:
        result = branches[-1]
        for number, branch in enumerate(branches[:-1]):
            result = np.where(mask == number, branch, result)
        return result

    return step


@STEPS.handles(Reduce)
def _reduce(program: Program, op: Reduce, loops: Loops) -> Step:
    def step(x: Array) -> Array:
        parts = x.reshape(*x.shape[:-1], op.parts, -1)
        return np.asarray(parts.sum(-1, dtype=np.int64) if op.how == "sum" else parts.max(-1))

    return step


# From sums to features, and from features to others


@STEPS.handles(Table)
def _table(program: Program, op: Table, loops: Loops) -> Step:
    rows = op.rows.astype(narrowest_type(op.format))
    lowest, begins = program.format(op.source).lo, np.arange(len(rows)) * rows.shape[1]
    return lambda x: rows.reshape(-1)[x.astype(np.int64) - lowest + begins]


@STEPS.handles(Requantise)
def _requantise(program: Program, op: Requantise, loops: Loops) -> Step:
    kind = np.dtype(narrowest_type(op.format))
    bits = program.offset_format(op).bits
    if op.residual is not None:
        bits = max(bits, program.format(op.residual).bits + RESIDUAL_MULTIPLIER_BITS) + 1
    second = (op.second, op.second_offsets, op.knees) if op.second is not None else None

    def step(acc: Array, joined: Array | None = None) -> Array:
        residual = None if joined is None else joined.astype(np.int64)
        result, least, most = loops.requantise(
            acc.astype(np.int64, copy=False), op.multiplier, op.offset, residual, op.residual_multipliers, op.shifts,
            op.ties == "even", op.lo, op.hi, kind, second,
        )  # fmt: skip
        if not signed(min(bits + 1, 63)).allows(np.array([least, most])):
            raise WidthError(f"{op.name}: acc * M + r * R + B leaves {bits + 1} bits")
        return result

    return step


@STEPS.handles(Threshold)
def _threshold(program: Program, op: Threshold, loops: Loops) -> Step:
    def step(acc: Array) -> Array:
        levels = loops.threshold(acc.astype(np.int64, copy=False), op.thresholds, op.falling)
        return levels.astype(narrowest_type(op.format), copy=False)

    return step
