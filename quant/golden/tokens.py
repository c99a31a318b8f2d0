"""What the golden model computes for operations on tokens."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ops.base import Ints, Op
from ..ops.tokens.matmul import MatMul
from ..ops.tokens.norm import Norm
from ..ops.tokens.rearrange import Rearrange, Unfold
from ..ops.tokens.softmax import Divide, Softmax
from ..ops.window import pair
from ..program import Program
from .layout import by_channels, inside
from .loops import Loops, on_bytes
from .widths import Array, narrowest_type

__all__ = ["TOKEN_STEPS"]

_EXACT = 1 << 53
"""Up to it a double holds every integer, so that sums of integers are exact in any order."""
_ALIGN = 8
"""Terms of an L1 distance that are added up at once; zeros on both sides fill them up."""


def _matmul(program: Program, op: MatMul, loops: Loops) -> Callable[..., Array]:
    fmt, operand = program.format(op.name), program.format(op.source)
    bound = max(-fmt.lo, fmt.hi)

    def step(a: Array, b: Array) -> Array:
        # (N, heads, H, Wa, K) beside (N, heads, H or 1, R, K)
        left = _by_head(a, op.heads).transpose(0, 3, 1, 2, 4)
        right = _by_head(b, op.heads).transpose((0, 3, 1, 2, 4) if op.form == "scores" else (0, 3, 1, 4, 2))
        if op.kernel == "adder":
            sums = _distances(loops, on_bytes(left, operand), on_bytes(right, operand), bound)
        else:
            sums = _products(left, right, bound)
        # (N, heads, H, Wa, R) to (N, H, Wa, heads * R)
        return sums.transpose(0, 2, 3, 1, 4).reshape(*a.shape[:3], -1)

    return step


def _by_head(x: Array, heads: int) -> Array:
    """(N, H, W, C) to (N, H, W, heads, C / heads)."""
    return x.reshape(*x.shape[:3], heads, -1)


def _products(left: Array, right: Array, bound: int) -> Ints:
    kind: Any = np.float64 if bound < _EXACT else np.int64
    return np.matmul(left.astype(kind), right.astype(kind).swapaxes(-1, -2)).astype(np.int64)


def _distances(loops: Loops, left: Array, right: Array, bound: int) -> Ints:
    """One call of the loops for the tokens of every head of every row."""
    fill = [(0, 0)] * 4 + [(0, -left.shape[-1] % _ALIGN)]
    left, right = np.pad(left, fill), np.pad(right, fill)
    right = np.broadcast_to(right, (*left.shape[:3], *right.shape[3:]))
    sums = np.empty((*left.shape[:4], right.shape[3]), np.int64)
    for place in np.ndindex(left.shape[:3]):
        sums[place] = loops.adder(left[place], right[place], bound)
    return sums


def _softmax(program: Program, op: Softmax, loops: Loops) -> Callable[..., Array]:
    table = op.entries.astype(narrowest_type(op.format))
    # (W, 1, J), beside (N, H, W, heads, J)
    seen = None if op.mask is None else (op.mask == 1)[:, None]

    def step(x: Array) -> Array:
        scores = _by_head(x, op.heads).astype(np.int32)
        compared = scores if seen is None else np.where(seen, scores, np.iinfo(np.int32).min)
        distance = compared.max(-1, keepdims=True) - scores
        found = table[distance.clip(0, len(table) - 1)]
        return (found if seen is None else np.where(seen, found, 0).astype(table.dtype)).reshape(x.shape)

    return step


def _divide(program: Program, op: Divide, loops: Loops) -> Callable[..., Array]:
    kind = narrowest_type(op.format)

    def step(num: Array, den: Array) -> Array:
        each = num.shape[-1] // den.shape[-1]
        divisor = np.maximum(den.astype(np.int64), 1).repeat(each, axis=-1)
        total = num.astype(np.int64) * op.multiplier + divisor * op.offset
        return np.asarray((total // (divisor << op.shift)).clip(op.lo, op.hi).astype(kind))

    return step


def _norm(program: Program, op: Norm, loops: Loops) -> Callable[..., Array]:
    kind, powers = narrowest_type(op.format), op.exponents(len(op.multiplier))

    def step(x: Array) -> Array:
        channels, wide = x.shape[-1], x.astype(np.int64) << powers
        total = wide.sum(-1, keepdims=True)
        variance = channels * (wide * wide).sum(-1, keepdims=True) - total * total
        root = np.maximum(_floor_root((variance << 2 * op.fraction) + op.eps), 1)
        normalised = (channels * wide - total) * ((1 << op.reciprocal) // root) >> op.cut
        return np.asarray((normalised * op.multiplier + op.offset >> op.shift).clip(op.lo, op.hi).astype(kind))

    return step


def _floor_root(values: Ints) -> Ints:
    """The floors of square roots of integers below 2**62: those of doubles, which are off by one at most, put right."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    return np.asarray(root + ((root + 1) * (root + 1) <= values))


def _rearrange(program: Program, op: Rearrange, loops: Loops) -> Callable[..., Array]:
    order = (0, *(axis + 1 for axis in op.order))

    def step(x: Array) -> Array:
        apart = by_channels(x).reshape(len(x), *op.split).transpose(order)
        return inside(apart.reshape(len(x), *op.shape))

    return step


def _unfold(program: Program, op: Unfold, loops: Loops) -> Callable[..., Array]:
    down, right = pair(op.block)
    taps = math.prod(op.window.kernel)

    def step(x: Array) -> Array:
        images, height, width, channels = x.shape
        # (N, rows of blocks, columns of blocks, height and width of one, C)
        apart = x.reshape(images, height // down, down, width // right, right, channels).transpose(0, 1, 3, 2, 4, 5)
        blocks = np.ascontiguousarray(apart).reshape(-1, down, right, channels)
        windows = loops.patches(blocks, op.pad.astype(x.dtype), op.window).reshape(-1, taps, channels)
        _, rows, columns = program.shape(op.name)
        return windows.swapaxes(1, 2).reshape(images, rows, columns, channels * taps)

    return step


TOKEN_STEPS: Mapping[type[Op], Callable[[Program, Any, Loops], Callable[..., Array]]] = {
    MatMul: _matmul,
    Softmax: _softmax,
    Divide: _divide,
    Norm: _norm,
    Rearrange: _rearrange,
    Unfold: _unfold,
}
"""For each kind of operation on tokens the function that makes its step; see `steps.STEPS`."""
