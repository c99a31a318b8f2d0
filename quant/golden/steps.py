"""What the golden model computes for every kind of operation.

A step is an operation with its constants in the order and type that the loops want. Its arrays are ``(N, H, W, C)``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import Format, signed
from ..ops.convolution import Convolution, weight_values
from ..ops.ends import ArgMax, Input
from ..ops.move import PixelShuffle, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.register import Register
from ..ops.requantise import RESIDUAL_MULTIPLIER_BITS, Requantise
from ..ops.shape import Concat, Flatten
from ..ops.threshold import Threshold
from ..program import Program
from .loops import Loops, on_bytes

__all__ = ["STEPS", "Array", "Ints", "Step", "WidthError", "narrowest_type"]

Ints = NDArray[np.int64]
Array = NDArray[np.integer]
Step = Callable[..., Array]
"""Called with the results of an operation's sources, in their order; that of an input with (N, C, H, W) pixels."""
STEPS: Register[Callable[[Program, Any, Loops], Step]] = Register("the golden model")
"""Of each kind of operation a function of the Program, the operation and the inner loops that gives its `Step`."""
_ALIGN = 64
"""Terms of an L1 distance that a vector register holds. Zeros fill rows up; they are equal and add nothing."""
_TYPES = (np.uint8, np.int8, np.int16, np.int32, np.int64)


class WidthError(AssertionError):
    """A value left the width that the Program declares for it."""


def narrowest_type(fmt: Format) -> Any:
    """The narrowest type that holds ``fmt``."""
    return next(kind for kind in _TYPES if np.iinfo(kind).min <= fmt.lo and fmt.hi <= np.iinfo(kind).max)


# Ends, shapes and moves


@STEPS.handles(Input)
def _input(program: Program, op: Input, loops: Loops) -> Step:
    return lambda pixels: pixels.transpose(0, 2, 3, 1)


@STEPS.handles(ArgMax)
def _argmax(program: Program, op: ArgMax, loops: Loops) -> Step:
    return lambda x: x.argmax(-1)[..., None]


@STEPS.handles(Concat)
def _concat(program: Program, op: Concat, loops: Loops) -> Step:
    return lambda *parts: np.concatenate(parts, axis=-1)


@STEPS.handles(Flatten)
def _flatten(program: Program, op: Flatten, loops: Loops) -> Step:
    return lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


@STEPS.handles(SpatialShift)
def _spatial_shift(program: Program, op: SpatialShift, loops: Loops) -> Step:
    return lambda x: _shifted(op, x)


@STEPS.handles(PixelShuffle)
def _pixel_shuffle(program: Program, op: PixelShuffle, loops: Loops) -> Step:
    return lambda x: _shuffled(op, x)


@STEPS.handles(Upsample)
def _upsample(program: Program, op: Upsample, loops: Loops) -> Step:
    return lambda x: x.repeat(op.factor, axis=1).repeat(op.factor, axis=2)


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
        return np.asarray(_windows(program, op, loops, x, pad, op.padding).max(-2))

    return step


@STEPS.handles(AveragePool)
def _average_pool(program: Program, op: AveragePool, loops: Loops) -> Step:
    def step(x: Array) -> Array:
        pad = np.zeros(x.shape[-1], x.dtype)
        return np.asarray(_windows(program, op, loops, x, pad, 0).sum(-2, dtype=np.int64))

    return step


def _windows(program: Program, op: MaxPool | AveragePool, loops: Loops, x: Array, pad: Array, padding: int) -> Array:
    """(N, rows, columns, window, C)."""
    _, rows, columns = program.shape(op.name)
    patches = loops.patches(x, pad, (op.size, op.size), op.stride, padding)
    return patches.reshape(len(x), rows, columns, op.size**2, x.shape[-1])


# Convolutions


@STEPS.handles(Convolution)
def _convolution(program: Program, op: Convolution, loops: Loops) -> Step:
    filters = _filters(program, op)
    return lambda x: _sums(program, op, loops, filters, x)


def _filters(program: Program, op: Convolution) -> list[Array]:
    """Per group (O, kh * kw * I), in the type of its products."""
    operands = (("weights", op.weight_format, op.weight), ("pad", program.format(op.source), op.pad))
    for what, fmt, held in operands:
        if not fmt.allows(held):
            raise WidthError(f"{op.name}: {what} leave {fmt}: {int(held.min())}..{int(held.max())}")
    values = weight_values(op) if op.kernel in ("mult", "shift") else op.weight
    rows = values.transpose(0, 2, 3, 1).reshape(op.groups, len(op.weight) // op.groups, op.taps)
    if op.kernel == "xnor":
        return [_words(_bytes_of(part)) for part in rows]
    if op.kernel == "adder":
        return [np.pad(on_bytes(part, op.weight_format), ((0, 0), (0, -op.taps % _ALIGN))) for part in rows]
    return [_narrowest(part) for part in rows]


def _sums(program: Program, op: Convolution, loops: Loops, prepared: list[Array], x: Array) -> Ints:
    _, _, kh, kw = op.weight.shape
    _, rows, columns = program.shape(op.name)
    fmt = program.format(op.source)
    width = x.shape[-1] // op.groups
    sums = []
    for group, filters in enumerate(prepared):
        part = slice(group * width, (group + 1) * width)
        operands: list[Array] = [x[..., part], op.pad[part]]
        # Whole bytes per pixel are packed before windows repeat them.
        early = op.kernel == "xnor" and width % 8 == 0
        align = 1
        if op.kernel == "adder":
            operands = [on_bytes(values, fmt) for values in operands]
            align = _ALIGN
        elif early:
            operands = [_bytes_of(values) for values in operands]
            align = 8
        patches = loops.patches(operands[0], operands[1], (kh, kw), op.stride, op.padding, align)
        if op.kernel == "xnor":
            patches = _words(patches if early else _bytes_of(patches))
        sums.append(_products(program, op, loops, patches, filters))
    joined = sums[0] if len(sums) == 1 else np.concatenate(sums, axis=1)
    return joined.reshape(len(x), rows, columns, -1)


def _products(program: Program, op: Convolution, loops: Loops, patches: Any, filters: Any) -> Ints:
    declared = program.format(op.name)
    bound = max(-declared.lo, declared.hi)
    match op.kernel:
        case "adder":
            return loops.adder(patches, filters, bound)
        case "xnor":
            return op.taps - 2 * loops.differing(patches, filters)
        case _:
            return loops.mult(patches, filters, bound)


def _narrowest(values: Ints) -> Array:
    kind = next(k for k in _TYPES if np.iinfo(k).min <= values.min() and values.max() <= np.iinfo(k).max)
    return values.astype(kind)


def _bytes_of(bits: Array) -> NDArray[np.uint8]:
    """The last axis of 0 and 1 in bytes, lowest bit first; what fills the last byte is 0."""
    return np.packbits(bits.astype(np.uint8, copy=False), axis=-1, bitorder="little")


def _words(packed: Array) -> NDArray[np.uint64]:
    """Rows of bytes as rows of words; what fills the last word is 0."""
    missing = -packed.shape[1] % 8
    if missing:
        packed = np.pad(packed, ((0, 0), (0, missing)))
    return np.ascontiguousarray(packed).view(np.uint64)


# From sums to features


@STEPS.handles(Requantise)
def _requantise(program: Program, op: Requantise, loops: Loops) -> Step:
    kind = np.dtype(narrowest_type(op.format))
    bits = program.offset_format(op).bits
    if op.residual is not None:
        bits = max(bits, program.format(op.residual).bits + RESIDUAL_MULTIPLIER_BITS) + 1

    def step(acc: Array, joined: Array | None = None) -> Array:
        residual = None if joined is None else joined.astype(np.int64)
        result, least, most = loops.requantise(
            acc.astype(np.int64, copy=False), op.multiplier, op.offset, residual, op.residual_multipliers, op.shifts,
            op.ties == "even", op.lo, op.hi, kind,
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
