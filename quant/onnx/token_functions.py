"""The operations on tokens as functions of standard ONNX operations, all of them in 64-bit integers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from onnx import TensorProto

from .body import Body

__all__ = ["TOKEN_FUNCTIONS", "TokenFunction"]

_INT64 = TensorProto.INT64


@dataclass(frozen=True, kw_only=True)
class TokenFunction:
    """An operation of our domain.

    Attributes
    ----------
    inputs, attributes : their names
    body : adds the nodes of the function; the name of the result
    """

    inputs: tuple[str, ...]
    attributes: tuple[str, ...]
    body: Callable[[Body], str]


def _by_head(body: Body, value: str, heads: str) -> str:
    """(N, C, H, W) to (N, heads, C / heads, H, W)."""
    shape = body("Concat", body.sizes(value, 0, 1), heads, body.ints(-1), body.sizes(value, 2, 4), axis=0)
    return body("Reshape", body.cast(value, _INT64), shape)


def _matmul(body: Body, *, context: bool, adder: bool) -> str:
    """(N, heads, H, Wa, K) times (N, heads, H, K, R), K the channels of a head or the tokens of a row."""
    heads = body.vector("heads")
    a = body("Transpose", _by_head(body, "a", heads), perm=[0, 1, 3, 4, 2])
    b = body("Transpose", _by_head(body, "b", heads), perm=[0, 1, 3, 4, 2] if context else [0, 1, 3, 2, 4])
    if adder:
        step = Body("s")
        # A token of a at a time: (N, heads, H, K, 1) beside all of b.
        distances = step("Abs", step("Sub", step("Unsqueeze", "slice", step.ints(4)), b))
        total = step("Neg", step("ReduceSum", distances, step.ints(3), keepdims=0))
        tokens = body("Transpose", a, perm=[3, 0, 1, 2, 4])
        sums = body("Transpose", body.scan(tokens, step, total, _INT64), perm=[1, 2, 4, 3, 0])
    else:
        sums = body("Transpose", body("MatMul", a, b), perm=[0, 1, 4, 2, 3])
    # (N, heads, R, H, Wa) to (N, heads * R, H, Wa)
    return body.as_declared(body("Reshape", sums, "shape"))


TOKEN_FUNCTIONS: dict[str, TokenFunction] = {
    f"{kernel}{form}": TokenFunction(
        inputs=("a", "b", "shape"), attributes=("heads", "dtype"),
        body=partial(_matmul, context=form == "Context", adder=kernel == "Adder"),
    )
    for kernel in ("Mult", "Adder") for form in ("Scores", "Context")
}  # fmt: skip
"""The operations on tokens, by their names. ``shape`` is that of the result, 0 for the number of images."""
