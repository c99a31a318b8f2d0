"""The golden model: the only software executor of a Program. Integers only, every declared width asserted.

It shares formats with the hardware, never arithmetic code. Inside, tensors are ``(N, H, W, C)`` in the narrowest type
that holds their format; its inner loops stand in ``loops``.
"""

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import Format, signed
from ..program import (
    RESIDUAL_MULTIPLIER_BITS,
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    SpatialShift,
    Threshold,
    Upsample,
    weight_values,
)  # fmt: skip
from .loops import Loops, NumpyLoops, native_loops, on_bytes

__all__ = ["Result", "WidthError", "run"]

Ints = NDArray[np.int64]
Array = NDArray[np.integer]
_BATCH_ELEMENTS = 1 << 19
"""Of the largest tensor of a batch: enough to make calls worth their while, few enough for the caches."""
_BATCH_IMAGES = 512
_ALIGN = 64
"""Terms of an L1 distance that a vector register holds. Zeros fill rows up; they are equal and add nothing."""
_KINDS = (np.uint8, np.int8, np.int16, np.int32, np.int64)


class WidthError(AssertionError):
    """A value left the width that the Program declares for it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a Program computes for a set of images.

    Attributes
    ----------
    output : (N, C, H, W), the result of the Program's ``output``: of a classifier its scores
    program : that was run
    tensors : the results of operations that were asked for, (N, C, H, W)
    """

    output: Ints
    program: Program
    tensors: dict[str, Ints] = field(default_factory=dict)

    @cached_property
    def scores(self) -> Ints:
        """(N, classes); raises `UserError` where the Program is no classifier."""
        return self.output.reshape(len(self.output), self.program.classes)

    @cached_property
    def classes(self) -> Ints:
        """(N,), the lowest index of the largest score; raises `UserError` where the Program is no classifier."""
        return self.scores.argmax(1)


def run(
    program: Program, pixels: NDArray[np.uint8], *, trace: bool | Collection[str] = False, native: bool = True,
    threads: int | None = None,
) -> Result:  # fmt: skip
    """Execute ``program`` on (N, C, H, W) uint8 images.

    Parameters
    ----------
    trace : return the results of all operations, or of those with these names
    native : use compiled inner loops where there is a compiler; the results are the same
    threads : that share the images; one per processor when None

    Raises
    ------
    ValueError
        for pixels of another type or shape.
    WidthError
        when a value leaves its declared format; a defect of whatever made the Program.
    """
    if pixels.dtype != np.uint8 or pixels.shape[1:] != program.input.shape:
        raise ValueError(
            f"pixels must be uint8 of shape (N, {', '.join(map(str, program.input.shape))}), "
            f"not {pixels.dtype} of shape {pixels.shape}"
        )
    workers = threads or os.cpu_count() or 1
    runner = _Runner(program, native_loops() if native else NumpyLoops())
    size = _batch(program, len(pixels), workers)
    batches = [pixels[begin : begin + size] for begin in range(0, len(pixels), size)]
    traced = [op.name for op in program.ops] if trace is True else list(trace or ())
    keep = list(dict.fromkeys([*traced, program.output]))
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda batch: runner.execute(batch, keep), batches))
    tensors = {name: np.concatenate([part[name] for part in parts]) for name in keep if parts}
    output = tensors[program.output] if parts else np.zeros((0, *program.shape(program.output)), np.int64)
    return Result(output=output, program=program, tensors={name: tensors[name] for name in traced if parts})


def _batch(program: Program, images: int, workers: int) -> int:
    """Images that are executed together."""
    largest = max(int(np.prod(program.shape(op.name))) for op in program.ops)
    return max(1, min(_BATCH_ELEMENTS // largest, _BATCH_IMAGES, -(-images // workers)))


def _kind(fmt: Format) -> Any:
    """The narrowest type that holds ``fmt``."""
    return next(kind for kind in _KINDS if np.iinfo(kind).min <= fmt.lo and fmt.hi <= np.iinfo(kind).max)


class _Runner:
    """A Program with its constants in the order and type that the loops want."""

    def __init__(self, program: Program, loops: Loops):
        self.program = program
        self.loops = loops
        self.filters = {op.name: self._filters(op) for op in program.ops if isinstance(op, Convolution)}
        self.last_reader: dict[str, str] = {}
        for op in program.ops:
            for source in program.sources(op):
                self.last_reader[source] = op.name

    def execute(self, pixels: NDArray[np.uint8], keep: list[str]) -> dict[str, Ints]:
        """The results called ``keep`` for a batch, as (N, C, H, W)."""
        values: dict[str, Array] = {}
        kept: dict[str, Ints] = {}
        for op in self.program.ops:
            result = self._execute(op, values, pixels)
            declared = self.program.format(op.name)
            if not declared.allows(result):
                raise WidthError(f"{op.name} leaves {declared}: {int(result.min())}..{int(result.max())}")
            values[op.name] = result
            if op.name in keep:
                kept[op.name] = np.ascontiguousarray(result.transpose(0, 3, 1, 2), dtype=np.int64)
            for source in self.program.sources(op):
                if self.last_reader[source] == op.name:
                    values.pop(source, None)
        return kept

    def _execute(self, op: Op, values: dict[str, Array], pixels: NDArray[np.uint8]) -> Array:
        match op:
            case Input():
                return pixels.transpose(0, 2, 3, 1)
            case Convolution():
                return self._convolution(op, values[op.source])
            case Requantise():
                return self._requantise(op, values)
            case Threshold():
                return self._threshold(op, values[op.source])
            case Concat():
                return np.concatenate([values[name] for name in self.program.sources(op)], axis=-1)
            case MaxPool():
                x = values[op.source]
                lowest = np.full(x.shape[-1], self.program.format(op.source).lo, x.dtype)
                return np.asarray(self._windows(op, x, lowest, op.padding).max(-2))
            case AveragePool():
                x = values[op.source]
                return np.asarray(self._windows(op, x, np.zeros(x.shape[-1], x.dtype), 0).sum(-2, dtype=np.int64))
            case SpatialShift():
                return _shifted(op, values[op.source])
            case PixelShuffle():
                return _shuffled(op, values[op.source])
            case Upsample():
                return values[op.source].repeat(op.factor, axis=1).repeat(op.factor, axis=2)
            case Flatten():
                return values[op.source].transpose(0, 3, 1, 2).reshape(len(pixels), 1, 1, -1)
            case ArgMax():
                return values[op.source].argmax(-1)[..., None]
        raise TypeError(f"unknown operation {type(op).__name__}")

    def _windows(self, op: MaxPool | AveragePool, x: Array, pad: Array, padding: int) -> Array:
        """(N, rows, columns, window, C)."""
        _, rows, columns = self.program.shape(op.name)
        patches = self.loops.patches(x, pad, (op.size, op.size), op.stride, padding)
        return patches.reshape(len(x), rows, columns, op.size**2, x.shape[-1])

    # Convolutions

    def _filters(self, op: Convolution) -> list[Array]:
        """Per group (O, kh * kw * I), in the type of its products."""
        operands = (("weights", op.weight_format, op.weight), ("pad", self.program.format(op.source), op.pad))
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

    def _convolution(self, op: Convolution, x: Array) -> Array:
        _, _, kh, kw = op.weight.shape
        _, rows, columns = self.program.shape(op.name)
        fmt = self.program.format(op.source)
        width = x.shape[-1] // op.groups
        sums = []
        for group, filters in enumerate(self.filters[op.name]):
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
            patches = self.loops.patches(operands[0], operands[1], (kh, kw), op.stride, op.padding, align)
            if op.kernel == "xnor":
                patches = _words(patches if early else _bytes_of(patches))
            sums.append(self._products(op, patches, filters))
        joined = sums[0] if len(sums) == 1 else np.concatenate(sums, axis=1)
        return joined.reshape(len(x), rows, columns, -1)

    def _products(self, op: Convolution, patches: Any, filters: Any) -> Ints:
        declared = self.program.format(op.name)
        bound = max(-declared.lo, declared.hi)
        match op.kernel:
            case "adder":
                return self.loops.adder(patches, filters, bound)
            case "xnor":
                return op.taps - 2 * self.loops.differing(patches, filters)
            case _:
                return self.loops.mult(patches, filters, bound)

    # From sums to features

    def _requantise(self, op: Requantise, values: dict[str, Array]) -> Array:
        residual = None if op.residual is None else values[op.residual].astype(np.int64)
        bits = self.program.offset_format(op).bits
        if op.residual is not None:
            bits = max(bits, self.program.format(op.residual).bits + RESIDUAL_MULTIPLIER_BITS) + 1
        result, least, most = self.loops.requantise(
            values[op.source].astype(np.int64, copy=False), op.multiplier, op.offset, residual,
            op.residual_multipliers, op.shifts, op.ties == "even", op.lo, op.hi, np.dtype(_kind(op.format)),
        )  # fmt: skip
        if not signed(min(bits + 1, 63)).allows(np.array([least, most])):
            raise WidthError(f"{op.name}: acc * M + r * R + B leaves {bits + 1} bits")
        return result

    def _threshold(self, op: Threshold, acc: Array) -> Array:
        levels = self.loops.threshold(acc.astype(np.int64, copy=False), op.thresholds, op.falling)
        return levels.astype(_kind(op.format), copy=False)


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


def _narrowest(values: Ints) -> Array:
    kind = next(k for k in _KINDS if np.iinfo(k).min <= values.min() and values.max() <= np.iinfo(k).max)
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
