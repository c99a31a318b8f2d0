"""What the C templates of operations on tokens read of them."""

from collections.abc import Callable, Mapping
from typing import Any

from ...ops.base import Op
from ...ops.tokens.matmul import MatMul
from ...program import Program

__all__ = ["TOKEN_TEMPLATES"]


def _matmul(program: Program, op: MatMul, index: Mapping[str, int]) -> dict[str, Any]:
    channels, rows, tokens = program.shape(op.other)
    each, scores = channels // op.heads, op.form == "scores"
    return {
        "heads": op.heads, "each": each, "rows": rows, "tokens": tokens, "other": index[op.other],
        "terms": each if scores else tokens, "results": tokens if scores else each, "term": op.kernel.upper(),
        "channel": "k" if scores else "r", "token": "r" if scores else "k", "row": "h" if rows > 1 else "0",
    }  # fmt: skip


TOKEN_TEMPLATES: Mapping[type[Op], tuple[str, Callable[[Program, Any, Mapping[str, int]], Mapping[str, Any]]]] = {
    MatMul: ("matmul", _matmul),
}
"""For each kind of operation on tokens its template, and what that reads beside `loops.Numbers.facts`: a function of
the Program, the operation and the numbers of all arrays by the names of their operations."""
