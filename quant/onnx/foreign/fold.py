"""What a foreign ONNX graph computes of constants alone: shapes, scales, square roots of variances."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from ..graph import attributes

__all__ = ["FOLDED", "axes_of", "folded", "reshaped"]

Array = NDArray[Any]
Given = Mapping[str, Any]
_MOST = 1 << 27
"""Elements of a result: more than any layer's weights, and little enough to hold."""


def axes_of(given: Given, inputs: Sequence[Array]) -> tuple[int, ...] | None:
    """The axes that an operation names, as an attribute or, in later operator sets, as a second input."""
    if "axes" in given:
        return tuple(int(axis) for axis in given["axes"])
    return tuple(int(axis) for axis in np.asarray(inputs[1]).reshape(-1)) if len(inputs) > 1 else None


def reshaped(shape: Sequence[int], wanted: Sequence[int], *, allow_zero: bool = False) -> tuple[int, ...]:
    """The shape that a Reshape to ``wanted`` makes of ``shape``; raises ``ValueError`` where it makes none."""
    made = [int(n) for n in wanted]
    if not allow_zero:
        if any(n == 0 and k >= len(shape) for k, n in enumerate(made)):
            raise ValueError(f"a shape of {made} copies an axis that {list(shape)} lacks")
        made = [shape[k] if n == 0 else n for k, n in enumerate(made)]
    total = math.prod(shape)
    if made.count(-1) == 1:
        known = math.prod(n for n in made if n != -1)
        made = [total // known if n == -1 and known else n for n in made]
    if min(made, default=1) < 0 or math.prod(made) != total:
        raise ValueError(f"{list(shape)} cannot be reshaped to {[int(n) for n in wanted]}")
    return tuple(made)


def _unsqueeze(x: Array, axes: tuple[int, ...] | None) -> Array:
    return np.expand_dims(x, axes or ())


def _slice(given: Given, x: Array, *rest: Array) -> Array:
    def part(name: str, k: int, default: list[int]) -> list[int]:
        if len(rest) > k:
            return [int(n) for n in rest[k].reshape(-1)]
        return list(given.get(name, default))

    starts, ends = part("starts", 0, []), part("ends", 1, [])
    axes, steps = part("axes", 2, list(range(len(starts)))), part("steps", 3, [1] * len(starts))
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end if abs(end) < 1 << 31 else None, step)
    return x[tuple(cut)]


def _divide(a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    return np.trunc(a / b).astype(a.dtype)


def _flattened(given: Given, x: Array) -> Array:
    axis = given.get("axis", 1) % (x.ndim + 1) if given.get("axis", 1) < 0 else given.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _clipped(given: Given, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    least, most = given.get("min", low), given.get("max", high)
    return x if least is None and most is None else np.clip(x, least, most)


_OPERATIONS: Mapping[str, Callable[..., Array]] = {
    "Abs": lambda given, x: np.abs(x),
    "Add": lambda given, a, b: a + b,
    "Cast": lambda given, x: x.astype(helper.tensor_dtype_to_np_dtype(given["to"])),
    "Ceil": lambda given, x: np.ceil(x),
    "Clip": _clipped,
    "Concat": lambda given, *parts: np.concatenate(parts, axis=given["axis"]),
    "Div": lambda given, a, b: _divide(a, b),
    "Flatten": _flattened,
    "Floor": lambda given, x: np.floor(x),
    "Gather": lambda given, x, where: np.take(x, where.astype(np.int64), axis=given.get("axis", 0)),
    "Identity": lambda given, x: x,
    "Max": lambda given, *parts: np.asarray(np.maximum.reduce(np.broadcast_arrays(*parts))),
    "Min": lambda given, *parts: np.asarray(np.minimum.reduce(np.broadcast_arrays(*parts))),
    "Mul": lambda given, a, b: a * b,
    "Neg": lambda given, x: -x,
    "Pow": lambda given, a, b: np.power(a, b).astype(a.dtype),
    "Reciprocal": lambda given, x: 1 / x,
    "Reshape": lambda given, x, shape=None: x.reshape(
        reshaped(x.shape, given["shape"] if shape is None else shape, allow_zero=bool(given.get("allowzero", 0)))
    ),
    "Shape": lambda given, x: np.array(x.shape[given.get("start", 0) : given.get("end")], np.int64),
    "Size": lambda given, x: np.array(x.size, np.int64),
    "Slice": _slice,
    "Sqrt": lambda given, x: np.sqrt(x),
    "Squeeze": lambda given, x, *axes: np.squeeze(x, axes_of(given, (x, *axes))),
    "Sub": lambda given, a, b: a - b,
    "Transpose": lambda given, x: x.transpose(given.get("perm")),
    "Unsqueeze": lambda given, x, *axes: _unsqueeze(x, axes_of(given, (x, *axes))),
}
_BROADCAST = frozenset(("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"))
FOLDED = frozenset(_OPERATIONS)
"""Operations that are computed where all they read is constant."""


def folded(node: NodeProto, inputs: Sequence[Array]) -> Array:
    """The one result of ``node``, whose inputs are all constant.

    Raises
    ------
    ValueError
        when it cannot be computed, or would be unreasonably large.
    """
    try:
        sizes = [[float(n) for n in part.shape] for part in inputs]
        size = sum(math.prod(shape) for shape in sizes)
        if node.op_type in _BROADCAST:
            size = math.prod(float(n) for n in np.broadcast_shapes(*(part.shape for part in inputs)))
        elif node.op_type == "Gather":
            size = math.prod(sizes[0]) * math.prod(sizes[1])
        if size > _MOST:
            raise ValueError(f"it makes a constant of {size:.3g} elements; the limit is {_MOST}")
        with np.errstate(all="ignore"):
            return np.asarray(_OPERATIONS[node.op_type](attributes(node), *inputs))
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ValueError(f"its constants do not fit together: {error}") from error
