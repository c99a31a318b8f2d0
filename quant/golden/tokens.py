"""What the golden model computes for operations on tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ops.base import Ints, Op
from ..ops.tokens.matmul import MatMul
from ..program import Program
from .loops import Loops, on_bytes
from .widths import Array

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


TOKEN_STEPS: Mapping[type[Op], Callable[[Program, Any, Loops], Callable[..., Array]]] = {MatMul: _matmul}
"""For each kind of operation on tokens the function that makes its step; see `steps.STEPS`."""
