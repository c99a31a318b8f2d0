"""What the C templates of operations on tokens read of them."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from ...ops.base import Op
from ...ops.tokens.matmul import MatMul
from ...ops.tokens.norm import Norm
from ...ops.tokens.rearrange import Rearrange, Unfold
from ...ops.tokens.softmax import Divide, Softmax
from ...ops.window import Window, pair
from ...program import Program

__all__ = ["TOKEN_TEMPLATES", "window_facts"]


def _matmul(program: Program, op: MatMul, index: Mapping[str, int]) -> dict[str, Any]:
    channels, rows, tokens = program.shape(op.other)
    each, scores = channels // op.heads, op.form == "scores"
    return {
        "heads": op.heads, "each": each, "rows": rows, "tokens": tokens, "other": index[op.other],
        "terms": each if scores else tokens, "results": tokens if scores else each, "term": op.kernel.upper(),
        "channel": "k" if scores else "r", "token": "r" if scores else "k", "row": "h" if rows > 1 else "0",
    }  # fmt: skip


def _softmax(program: Program, op: Softmax, index: Mapping[str, int]) -> dict[str, Any]:
    others = program.shape(op.name)[0] // op.heads
    return {"heads": op.heads, "others": others, "masked": op.mask is not None, "last": len(op.entries) - 1}


def _divide(program: Program, op: Divide, index: Mapping[str, int]) -> dict[str, Any]:
    each = program.shape(op.name)[0] // program.shape(op.denominator)[0]
    return {"denominator": index[op.denominator], "each": each, **_scaled(op)}


def _norm(program: Program, op: Norm, index: Mapping[str, int]) -> dict[str, Any]:
    given = {name: getattr(op, name) for name in ("fraction", "reciprocal", "cut", "eps")}
    return {"power": op.powers if isinstance(op.powers, int) else f"{op.name}_powers[c]", **given, **_scaled(op)}


def _scaled(op: Divide | Norm) -> dict[str, Any]:
    return {"shift": op.shift, "lo": op.lo, "hi": op.hi}


def _rearrange(program: Program, op: Rearrange, index: Mapping[str, int]) -> dict[str, Any]:
    """Of each axis of the result its size, how many elements of the result and of what is read lie behind one of it."""
    sizes = [op.split[axis] for axis in op.order]
    axes = [
        {"size": op.split[axis], "inner": prod(sizes[place + 1 :]), "step": prod(op.split[axis + 1 :])}
        for place, axis in enumerate(op.order)
    ]
    return {"axes": axes}


def _unfold(program: Program, op: Unfold, index: Mapping[str, int]) -> dict[str, Any]:
    down, right = pair(op.block)
    _, columns = op.window.result((down, right))
    across = program.shape(op.source)[2] // right
    return {"down": down, "right": right, "columns": columns, "across": across, **window_facts(op.window)}


def window_facts(window: Window) -> dict[str, Any]:
    """The taps of a window, and in C the row and the column of tap ``ky``, ``kx`` of the window of ``y``, ``x``."""
    kh, kw = window.kernel
    row, column = (
        f"{axis} * {stride} + k{axis}{'' if dilation == 1 else f' * {dilation}'} - {pad}"
        for axis, stride, dilation, pad in zip("yx", window.strides, window.dilations, window.pads[:2], strict=True)
    )
    return {"kernel_height": kh, "kernel_width": kw, "row": row, "column": column}


TOKEN_TEMPLATES: Mapping[type[Op], tuple[str, Callable[[Program, Any, Mapping[str, int]], Mapping[str, Any]]]] = {
    MatMul: ("matmul", _matmul),
    Softmax: ("softmax", _softmax),
    Divide: ("divide", _divide),
    Norm: ("norm", _norm),
    Rearrange: ("rearrange", _rearrange),
    Unfold: ("unfold", _unfold),
}
"""For each kind of operation on tokens its template, and what that reads beside `loops.Numbers.facts`: a function of
the Program, the operation and the numbers of all arrays by the names of their operations."""
