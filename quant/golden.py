"""The golden model: the only software executor of a Program. Integers only, every declared width asserted.

It shares formats with the hardware, never arithmetic code.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .formats import signed
from .program import (
    RESIDUAL_MULTIPLIER_BITS,
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    Program,
    Requantise,
)  # fmt: skip

__all__ = ["Result", "WidthError", "run"]

Ints = NDArray[np.int64]
_BATCH = 32
_INT32 = (1 << 31) - 1


class WidthError(AssertionError):
    """A value left the width that the Program declares for it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a Program computes for a set of images.

    Attributes
    ----------
    scores : (N, classes)
    classes : (N,)
    tensors : every operation's result, (N, C, H, W), when a trace was asked for
    """

    scores: Ints
    classes: Ints
    tensors: dict[str, Ints] = field(default_factory=dict)


def run(program: Program, pixels: NDArray[np.uint8], *, trace: bool = False) -> Result:
    """Execute ``program`` on (N, C, H, W) uint8 images.

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
    kept: dict[str, list[Ints]] = {op.name: [] for op in program.ops} if trace else {}
    scores: list[Ints] = [np.zeros((0, program.classes), np.int64)]
    for begin in range(0, len(pixels), _BATCH):
        values: dict[str, Ints] = {}
        for op in program.ops:
            result = _execute(program, op, values, pixels[begin : begin + _BATCH])
            if not program.format(op.name).allows(result):
                raise WidthError(
                    f"{op.name} leaves {program.format(op.name)}: {int(result.min())}..{int(result.max())}"
                )
            values[op.name] = result
        scores.append(values[program.ops[-1].source][:, :, 0, 0])
        for name, parts in kept.items():
            parts.append(values[name])
    joined = np.concatenate(scores)
    return Result(
        scores=joined,
        classes=joined.argmax(1),
        tensors={name: np.concatenate(parts) for name, parts in kept.items() if parts},
    )


def _execute(program: Program, op: Op, values: dict[str, Ints], pixels: NDArray[np.uint8]) -> Ints:
    match op:
        case Input():
            return pixels.astype(np.int64)
        case Convolution():
            return _convolution(program, op, values[op.source])
        case Requantise():
            return _requantise(program, op, values)
        case MaxPool():
            x = _padded(values[op.source], op.padding, program.format(op.source).lo)
            return np.asarray(_windows(x, op.size, op.size, op.stride).max((-2, -1)))
        case AveragePool():
            return np.asarray(_windows(values[op.source], op.size, op.size, op.stride).sum((-2, -1)))
        case Flatten():
            return values[op.source].reshape(len(pixels), -1, 1, 1)
        case ArgMax():
            return values[op.source].argmax(1)[:, None]
    raise TypeError(f"unknown operation {type(op).__name__}")


def _padded(x: Ints, padding: int, value: Ints | int) -> Ints:
    if padding == 0:
        return x
    count, channels, height, width = x.shape
    out = np.empty((count, channels, height + 2 * padding, width + 2 * padding), np.int64)
    out[:] = np.asarray(value).reshape(-1, 1, 1)
    out[:, :, padding : padding + height, padding : padding + width] = x
    return out


def _windows(x: Ints, kh: int, kw: int, stride: int) -> Ints:
    """(N, C, H', W', kh, kw)."""
    return sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]


def _convolution(program: Program, op: Convolution, x: Ints) -> Ints:
    outputs, _, kh, kw = op.weight.shape
    windows = _windows(_padded(x, op.padding, op.pad), kh, kw, op.stride)
    count, _, rows, columns = windows.shape[:4]
    declared = program.format(op.name)
    small = max(-declared.lo, declared.hi) <= _INT32  # exact in 32 bits: the declared range bounds every partial sum
    kind: Any = np.int32 if small else np.int64
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count * rows * columns, op.taps).astype(kind)
    filters = op.weight.reshape(outputs, op.taps).astype(kind)
    if op.kernel == "mult":
        acc = patches @ filters.T
    else:
        acc = np.empty((len(patches), outputs), kind)
        difference = np.empty_like(patches)
        for o in range(outputs):
            np.subtract(patches, filters[o], out=difference)
            np.abs(difference, out=difference)
            np.negative(difference.sum(1, dtype=kind), out=acc[:, o])
    return acc.reshape(count, rows, columns, outputs).transpose(0, 3, 1, 2).astype(np.int64)


def _requantise(program: Program, op: Requantise, values: dict[str, Ints]) -> Ints:
    acc = values[op.source]
    wide = acc * op.multiplier[:, None, None] + op.offset[:, None, None]
    bits = program.offset_format(op).bits
    if op.residual is not None:
        wide = wide + values[op.residual] * op.residual_multiplier
        bits = max(bits, program.format(op.residual).bits + RESIDUAL_MULTIPLIER_BITS) + 1
    if not signed(min(bits + 1, 63)).allows(wide):
        raise WidthError(f"{op.name}: acc * M + r * R + B leaves {bits + 1} bits")
    return np.asarray((wide >> op.shift).clip(op.lo, op.hi))
