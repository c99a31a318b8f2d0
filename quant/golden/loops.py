"""The inner loops of the golden model, twice: in numpy, and compiled from ``loops.cpp`` where there is a compiler.

Both take the same arrays and give the same integers; tests compare them. Tensors are ``(N, H, W, C)`` here, so that
what a window reads of a row lies together.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...common.native import compiled
from ..formats import Format
from ..ops.window import Window

__all__ = ["Loops", "NativeLoops", "NumpyLoops", "native_loops", "on_bytes"]

Array = NDArray[np.integer]
Ints = NDArray[np.int64]

_SOURCE = Path(__file__).with_name("loops.cpp")
_UINT8_TAPS = 1 << 24
_INT32 = (1 << 31) - 1


class Loops(Protocol):
    """What both implementations do.

    ``patches`` and ``filters`` are (P, K) and (O, K); results are (P, O), exact, 64 bits. ``bound`` is the largest
    magnitude that any sum can have.
    """

    name: str

    def patches(self, x: Array, pad: Array, window: Window, align: int = 1) -> Array:
        """(N, H, W, C) to (N * rows * columns, kh * kw * C); what lies outside reads ``pad`` (C,).

        Zeros fill rows up to a multiple of ``align`` elements.
        """

    def adder(self, patches: Array, filters: Array, bound: int) -> Ints:
        """``-sum |x - w|``; both operands have one type, and unsigned bytes are fast."""

    def mult(self, patches: Array, filters: Array, bound: int) -> Ints:
        """``sum x * w``."""

    def differing(self, patches: NDArray[np.uint64], filters: NDArray[np.uint64]) -> Ints:
        """The number of bits in which the rows of words differ."""

    def threshold(self, acc: Ints, levels: Ints, falling: Ints) -> NDArray[np.uint8]:
        """How many of ``levels[c]`` (C, n) a (.., C) tensor reaches; where ``falling[c]``, how many it does not."""

    def requantise(
        self, acc: Ints, factor: Ints, offset: Ints, residual: Ints | None, residual_factor: Ints, shift: Ints,
        even: bool, lo: int, hi: int, kind: np.dtype[Any], second: tuple[Ints, Ints, Ints] | None = None,
    ) -> tuple[Array, int, int]:  # fmt: skip
        """``clamp((acc * M + r * R + B) >> S)`` of (.., C) tensors as ``kind``, and the range before the shift.

        M, R, B and S are (C,). ``second`` is N, D and T0, (C,), or None: N and D stand for M and B where ``acc < T0``.
        B and D hold the half of ``1 << S``; where ``even``, every S is at least 1 and ties go to the even number.
        """


class NumpyLoops:
    """The loops as numpy writes them: the plain definition."""

    name = "numpy"

    def patches(self, x: Array, pad: Array, window: Window, align: int = 1) -> Array:
        """As `Loops` says."""
        if any(window.pads):
            top, left, _, _ = window.pads
            count, height, width, channels = x.shape
            framed = np.empty((count, *window.padded((height, width)), channels), x.dtype)
            framed[:] = pad
            framed[:, top : top + height, left : left + width] = x
            x = framed
        (down, right), (dh, dw) = window.strides, window.dilations
        # (N, rows, columns, C, kh, kw)
        windows = sliding_window_view(x, window.extent, axis=(1, 2))[:, ::down, ::right, :, ::dh, ::dw]
        count, rows, columns, channels, kh, kw = windows.shape
        taps = kh * kw * channels
        found = windows.transpose(0, 1, 2, 4, 5, 3).reshape(count * rows * columns, taps)
        return np.pad(found, ((0, 0), (0, -taps % align)))

    def adder(self, patches: Array, filters: Array, bound: int) -> Ints:
        """As `Loops` says."""
        kind: Any = np.int32 if bound <= _INT32 else np.int64
        wide = patches.astype(kind)
        difference = np.empty_like(wide)
        out = np.empty((len(patches), len(filters)), np.int64)
        for o, row in enumerate(filters.astype(kind)):
            np.subtract(wide, row, out=difference)
            np.abs(difference, out=difference)
            out[:, o] = -difference.sum(1, dtype=kind)
        return out

    def mult(self, patches: Array, filters: Array, bound: int) -> Ints:
        """As `Loops` says."""
        kind: Any = np.int32 if bound <= _INT32 else np.int64
        return np.asarray(patches.astype(kind) @ filters.astype(kind).T, np.int64)

    def differing(self, patches: NDArray[np.uint64], filters: NDArray[np.uint64]) -> Ints:
        """As `Loops` says."""
        out = np.empty((len(patches), len(filters)), np.int64)
        for o, row in enumerate(filters):
            out[:, o] = np.bitwise_count(patches ^ row).sum(1, dtype=np.int64)
        return out

    def threshold(self, acc: Ints, levels: Ints, falling: Ints) -> NDArray[np.uint8]:
        """As `Loops` says."""
        reached = (acc[..., None] >= levels).sum(-1)
        return np.where(falling == 1, levels.shape[1] - reached, reached).astype(np.uint8)

    def requantise(
        self, acc: Ints, factor: Ints, offset: Ints, residual: Ints | None, residual_factor: Ints, shift: Ints,
        even: bool, lo: int, hi: int, kind: np.dtype[Any], second: tuple[Ints, Ints, Ints] | None = None,
    ) -> tuple[Array, int, int]:  # fmt: skip
        """As `Loops` says."""
        wide = acc * factor + offset
        if second is not None:
            below, lower, knee = second
            wide = np.where(acc >= knee, wide, acc * below + lower)
        if residual is not None:
            wide += residual * residual_factor
        # The sum without its half is t; t + half - 1 + (whether t >> S is odd) floors to the nearest, ties to even.
        short = 1 - ((wide - (1 << shift >> 1)) >> shift & 1) if even else 0
        return ((wide - short) >> shift).clip(lo, hi).astype(kind), int(wide.min(initial=0)), int(wide.max(initial=0))


class NativeLoops:
    """The loops compiled for this processor."""

    name = "native"
    _KINDS = ((np.dtype(np.uint8), "u8"), (np.dtype(np.int16), "i16"), (np.dtype(np.int32), "i32"))

    def __init__(self, library: ctypes.CDLL):
        self._library = library

    def _call(self, name: str, *arguments: Any) -> None:
        function: Callable[..., None] = getattr(self._library, f"addax_{name}")
        function(*(
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray)
            else ctypes.c_int64(a) if isinstance(a, int) else a
            for a in arguments
        ))  # fmt: skip

    def patches(self, x: Array, pad: Array, window: Window, align: int = 1) -> Array:
        """As `Loops` says."""
        x, pad = np.ascontiguousarray(x), np.ascontiguousarray(pad, dtype=x.dtype)
        count, height, width, channels = x.shape
        if window == Window(kernel=(1, 1)) and channels % align == 0:
            return x.reshape(-1, channels)
        rows, columns = window.result((height, width))
        taps = window.kernel[0] * window.kernel[1] * channels
        out = np.empty((count * rows * columns, taps + -taps % align), x.dtype)
        self._call(
            "patches", x, pad, out, count, height, width, channels * x.itemsize, rows, columns, *window.kernel,
            *window.strides, *window.dilations, *window.pads[:2], out.shape[1] * x.itemsize,
        )  # fmt: skip
        return out

    def _products(self, name: str, patches: Array, filters: Array) -> Ints:
        out = np.empty((len(patches), len(filters)), np.int64)
        patches, filters = np.ascontiguousarray(patches), np.ascontiguousarray(filters)
        self._call(name, patches, filters, out, len(patches), len(filters), patches.shape[1])
        return out

    def adder(self, patches: Array, filters: Array, bound: int) -> Ints:
        """As `Loops` says."""
        if patches.dtype == filters.dtype == np.uint8 and patches.shape[1] < _UINT8_TAPS:
            return self._products("adder_u8", patches, filters)
        return self._products("adder_i32", patches.astype(np.int32), filters.astype(np.int32))

    def mult(self, patches: Array, filters: Array, bound: int) -> Ints:
        """As `Loops` says."""
        narrow = all(np.can_cast(a.dtype, np.int16) for a in (patches, filters))
        if narrow and bound <= _INT32:
            return self._products("mult_i16", patches.astype(np.int16), filters.astype(np.int16))
        return self._products("mult_i32", patches.astype(np.int32), filters.astype(np.int32))

    def differing(self, patches: NDArray[np.uint64], filters: NDArray[np.uint64]) -> Ints:
        """As `Loops` says."""
        return self._products("differing_u64", patches, filters)

    def threshold(self, acc: Ints, levels: Ints, falling: Ints) -> NDArray[np.uint8]:
        """As `Loops` says."""
        out = np.empty(acc.shape, np.uint8)
        acc, levels, falling = (np.ascontiguousarray(a, dtype=np.int64) for a in (acc, levels, falling))
        channels, steps = levels.shape
        self._call("threshold", acc, levels, falling, out, acc.size // channels, channels, steps)
        return out

    def requantise(
        self, acc: Ints, factor: Ints, offset: Ints, residual: Ints | None, residual_factor: Ints, shift: Ints,
        even: bool, lo: int, hi: int, kind: np.dtype[Any], second: tuple[Ints, Ints, Ints] | None = None,
    ) -> tuple[Array, int, int]:  # fmt: skip
        """As `Loops` says."""
        suffix = next((s for k, s in self._KINDS if k == kind), "i64")
        out = np.empty(acc.shape, kind if suffix != "i64" else np.int64)
        span = np.zeros(2, np.int64)
        none = ctypes.c_void_p(None)
        acc, *constants = (
            np.ascontiguousarray(a, dtype=np.int64) for a in (acc, factor, offset, residual_factor, shift)
        )  # fmt: skip
        other = none if residual is None else np.ascontiguousarray(residual, dtype=np.int64)
        bend = (none,) * 3 if second is None else tuple(np.ascontiguousarray(a, dtype=np.int64) for a in second)
        channels = acc.shape[-1]
        self._call(
            f"requantise_{suffix}", acc, other, *constants, *bend, int(even), lo, hi, out,
            acc.size // channels, channels, span,
        )  # fmt: skip
        return out.astype(kind, copy=False), int(span[0]), int(span[1])


@functools.cache
def native_loops() -> Loops:
    """The compiled loops, made once per machine and cached; the numpy ones where there is no working compiler."""
    library = compiled(_SOURCE)
    return NumpyLoops() if library is None else NativeLoops(library)


def on_bytes(values: Array, fmt: Format) -> Array:
    """Operands of an L1 distance as unsigned bytes where they fit: moving both by the same amount changes nothing."""
    if fmt.bits > 8:
        return values
    return values.astype(np.uint8) if not fmt.signed else (values.astype(np.int16) - fmt.lo).astype(np.uint8)
