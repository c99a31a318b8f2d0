"""The operations on tokens as functions of standard ONNX operations, all of them in 64-bit integers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx import TensorProto

from .body import Body
from .windows import framed, windows

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


def _softmax(body: Body) -> str:
    """Distances to the largest score of a head that is seen, looked up; what is not seen is 0."""
    # (N, heads, J, H, W) beside a mask of (J, 1, W)
    scores = _by_head(body, "scores", body.vector("heads"))
    seen = body.cast(body("Unsqueeze", body("Transpose", "mask", perm=[1, 0]), body.ints(1)), TensorProto.BOOL)
    compared = body("Where", seen, scores, body.scalar(np.iinfo(np.int64).min))
    most = body("ReduceMax", compared, body.ints(2), keepdims=1)
    last = body("Squeeze", body("Sub", body("Shape", "entries"), body.ints(1)))
    place = body("Clip", body("Sub", most, scores), body.scalar(0), last)
    found = body("Where", seen, body("Gather", "entries", place), body.scalar(0))
    return body.as_declared(body("Reshape", found, body("Shape", "scores")))


def _divide(body: Body) -> str:
    """(N, parts, C / parts, H, W) over (N, parts, 1, H, W)."""
    parts = body.sizes("den", 1, 2)
    num, den = _by_head(body, "num", parts), body("Max", _by_head(body, "den", parts), body.scalar(1))
    constants = body("Concat", parts, body.ints(-1, 1, 1), axis=0)
    factor, offset = (body("Reshape", name, constants) for name in ("multiplier", "offset"))
    total = body("Add", body("Mul", num, factor), body("Mul", den, offset))
    quotient = body.floored(total, body("Mul", den, body.power(body.attribute("shift"))))
    return body.clamped(body("Reshape", quotient, body("Shape", "num")))


def _norm(body: Body) -> str:
    x = body("Mul", body.cast("x", _INT64), body.channels(body.power("powers")))
    channels = body("Squeeze", body.sizes("x", 1, 2))
    total, squares = (body("ReduceSum", value, body.ints(1), keepdims=1) for value in (x, body("Mul", x, x)))
    variance = body("Sub", body("Mul", channels, squares), body("Mul", total, total))
    fraction = body.power(body("Mul", body.attribute("fraction"), body.scalar(2)))
    root = _root(body, body("Add", body("Mul", variance, fraction), body.attribute("eps")))
    inverse = body("Div", body.power(body.attribute("reciprocal")), body("Max", root, body.scalar(1)))
    product = body("Mul", body("Sub", body("Mul", channels, x), total), inverse)
    normalised = body.floored(product, body.power(body.attribute("cut")))
    scaled = body("Add", body("Mul", normalised, body.channels("multiplier")), body.channels("offset"))
    return body.clamped(body.floored(scaled, body.power(body.attribute("shift"))))


def _root(body: Body, value: str) -> str:
    """The floor of the square root of integers below 2**62, bit by bit from the highest."""
    step = Body("s")
    larger = step("Add", "state", "slice")
    fits = step("LessOrEqual", step("Mul", larger, larger), value)
    root = step("Where", fits, larger, "state")
    return body.scan(body.ints(*(1 << bit for bit in range(30, -1, -1))), step, root, _INT64, body("Sub", value, value))


def _rearrange(body: Body) -> str:
    apart = body.permuted(body("Reshape", "x", "split"), "perm")
    return body.as_declared(body("Reshape", apart, "shape"))


def _unfold(body: Body) -> str:
    """Every block becomes an image, and windows of it one pixel each."""
    x, (images, channels, size) = body.cast("x", _INT64), (body.sizes("x", *ends) for ends in ((0, 1), (1, 2), (2, 4)))
    block = body.attribute("block", "value_ints")
    counts = body("Div", size, block)
    ends = [body("Slice", vector, body.ints(k), body.ints(k + 1)) for k in (0, 1) for vector in (counts, block)]
    # (N, C, rows of blocks, height, columns of blocks, width)
    apart = body("Reshape", x, body("Concat", images, channels, *ends, axis=0))
    blocks = body("Reshape", body("Transpose", apart, perm=[0, 2, 4, 1, 3, 5]),
                  body("Concat", body.ints(-1), channels, block, axis=0))  # fmt: skip
    patches, _, _ = windows(body, framed(body, blocks, "pad"), body.attribute("kernel_shape", "value_ints"))
    count = body("ReduceProd", counts, keepdims=1)
    outputs = body("Slice", "shape", body.ints(1), body.ints(2))
    tokens = body("Reshape", patches, body("Concat", images, count, outputs, body.ints(-1), axis=0))
    return body.as_declared(body("Reshape", body("Transpose", tokens, perm=[0, 2, 1, 3]), "shape"))


_FORMAT = ("bits", "signed", "dtype")

TOKEN_FUNCTIONS: dict[str, TokenFunction] = {
    **{
        f"{kernel}{form}": TokenFunction(
            inputs=("a", "b", "shape"), attributes=("heads", "dtype"),
            body=partial(_matmul, context=form == "Context", adder=kernel == "Adder"),
        )
        for kernel in ("Mult", "Adder") for form in ("Scores", "Context")
    },
    "DeferredSoftmax": TokenFunction(
        inputs=("scores", "entries", "mask"), attributes=("heads", *_FORMAT), body=_softmax
    ),
    "IntegerDivide": TokenFunction(
        inputs=("num", "den", "multiplier", "offset"), attributes=("shift", "lo", "hi", *_FORMAT), body=_divide
    ),
    "IntegerNorm": TokenFunction(
        inputs=("x", "multiplier", "offset", "powers"), body=_norm,
        attributes=("fraction", "reciprocal", "cut", "eps", "shift", "lo", "hi", *_FORMAT),
    ),
    "IntegerRearrange": TokenFunction(inputs=("x", "split", "shape"), attributes=("perm", "dtype"), body=_rearrange),
    "IntegerUnfold": TokenFunction(
        inputs=("x", "pad", "shape"), attributes=("block", "kernel_shape", "strides", "pads", "dtype"), body=_unfold
    ),
}  # fmt: skip
"""The operations on tokens, by their names. ``shape`` is that of the result, ``split`` that between two moves, both
with 0 for the number of images."""
