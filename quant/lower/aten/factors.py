"""Lowering of factors and terms that are constants, numbers or one per channel: they go into gain and bias."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....common.errors import UserError
from ...fold.assembly import Bits, Pending, Stored
from ..graph.nodes import Floats, constant, numpy_of, said, sizes
from ..layout import plain_sizes
from ..state import Curve, Lowering, MaskedScores, Quotient, Value
from .curves import behind
from .joins import Known, fqn_of, joined, joined_constant, scaled
from .products import product
from .table import Call, lowers, refused
from .tokens.attention import hidden, masked

__all__ = ["add", "divide", "multiply", "negate", "subtract"]

aten = torch.ops.aten


@lowers(aten.add, layouts="any")
def add(lowering: Lowering, call: Call) -> Value:
    """The sum of two tensors, or of a tensor and a constant."""
    return _sum(lowering, call, call.given["self"], call.given["other"], float(call.given.get("alpha", 1)))


@lowers(aten.sub, layouts="any")
def subtract(lowering: Lowering, call: Call) -> Value:
    """The difference of two tensors, or of a tensor and a constant, either way round."""
    return _sum(lowering, call, call.given["self"], call.given["other"], -float(call.given.get("alpha", 1)))


@lowers(aten.rsub, layouts="any")
def subtract_from(lowering: Lowering, call: Call) -> Value:
    """A constant less a tensor."""
    term = _per_channel(lowering, call, call.given["other"])
    if term is None:
        raise refused(call.node)
    return _affine(lowering, call, call.source, -np.ones(1) * float(call.given.get("alpha", 1)), term)


@lowers(aten.mul, layouts="any")
def multiply(lowering: Lowering, call: Call) -> Value:
    """A tensor times a constant, or times another tensor."""
    values = call.given["self"], call.given["other"]
    for value, other in (values, values[::-1]):
        factor = _per_channel(lowering, call, other)
        if factor is not None:
            return _affine(lowering, call, value, factor, np.zeros(1))
    return product(lowering, call, *values)


@lowers(aten.div, layouts="any")
def divide(lowering: Lowering, call: Call) -> Value:
    """A tensor by a constant."""
    factor = _per_channel(lowering, call, call.given["other"])
    if factor is None or call.given.get("rounding_mode") is not None:
        raise refused(call.node)
    if not factor.all():
        raise UserError(f"division by 0 at {said(call.node)}")
    return _affine(lowering, call, call.source, 1 / factor, np.zeros(1))


@lowers(aten.neg, layouts="each")
def negate(lowering: Lowering, call: Call) -> Value:
    """A tensor times -1."""
    return _affine(lowering, call, call.source, -np.ones(1), np.zeros(1))


def _sum(lowering: Lowering, call: Call, left: Any, right: Any, alpha: float) -> Value:
    """``left + alpha * right``."""
    for value, term, factor, scale in ((left, right, 1.0, alpha), (right, left, alpha, 1.0)):
        seen = _seen(lowering, term)
        if seen is not None:
            return masked(lowering, call.node, value, seen)
        found = _constant(lowering, call, term)
        if found is None:
            continue
        if found.ndim == 1:
            return _affine(lowering, call, value, np.full(1, factor), scale * found)
        lowering.lay(call.node, lowering.layouts.get(value))
        return joined_constant(lowering, value, factor, Known(value=scale * found, name=fqn_of(term)))
    if [str(n) for n in sizes(left)] != [str(n) for n in sizes(right)]:
        raise UserError(f"addition at {said(call.node)} must be of two tensors of one shape")
    return joined(lowering, call.node, left, right, alpha)


def _seen(lowering: Lowering, term: Any) -> NDArray[np.bool_] | None:
    """What a mask that is added to scores lets see; None for what is no mask."""
    found = constant(lowering.traced, term)
    return None if found is None or found.numel() == 1 else hidden(numpy_of(found))


def _per_channel(lowering: Lowering, call: Call, value: Any) -> Floats | None:
    """A constant as one number (1,) or one per channel (C,); None where ``value`` depends on the images."""
    found = _constant(lowering, call, value)
    if found is not None and found.ndim > 1:
        raise _misfit(call, value.meta["val"].shape)
    return found


def _constant(lowering: Lowering, call: Call, value: Any) -> Floats | None:
    """A constant beside the tensor of ``call``: (1,), (C,), or (C, H, W) where pixels have others; None where ``value``
    depends on the images."""
    found = constant(lowering.traced, value)
    if found is None:
        return None
    numbers = numpy_of(found)
    if numbers.size == 1:
        return numbers.reshape(1)
    (source,) = (node for node in call.node.all_input_nodes if node in lowering.values)
    if plain_sizes(sizes(source)) != plain_sizes(sizes(call.node)):
        raise _misfit(call, numbers.shape)
    whole = lowering.layout(source).arranged(numbers)
    return np.ascontiguousarray(whole[:, 0, 0]) if (whole == whole[:, :1, :1]).all() else whole


def _misfit(call: Call, shape: tuple[int, ...]) -> UserError:
    return UserError(
        f"constant of shape {tuple(shape)} at {said(call.node)} must be one number, or one for each channel"
    )


def _affine(lowering: Lowering, call: Call, source: Any, factor: Floats, term: Floats) -> Value:
    """``factor * source + term``, each (1,) or (C,)."""
    lowering.lay(call.node, lowering.layouts.get(source))
    value = lowering.values[source]
    if isinstance(value, Quotient | MaskedScores):
        value = lowering.store(source)
    if isinstance(value, Curve):
        if factor.size == term.size == 1:
            return behind(lowering, source, lambda x: factor * x + term)
        value = lowering.store(source)
    value = lowering.numbers_of(value) if isinstance(value, Bits) else value
    scales = factor.size == 1 and factor[0] > 0 and not term.any()
    if isinstance(value, Pending) and scales and len(source.users) == 1:
        return _scaled(value, float(factor[0]))
    if scales and (isinstance(value, Pending) or value.op != "pixels"):
        stored = lowering.store(source) if isinstance(value, Pending) else value
        return Stored(op=stored.op, step=stored.step * float(factor[0]))
    if isinstance(value, Pending) and not value.open:
        value = lowering.store(source)
    if not isinstance(value, Pending):
        value = lowering.pending_of(value)
    factor, term = (np.repeat(v, value.shuffle**2) if v.size > 1 else v for v in (factor, term))
    if value.bend is not None:
        return replace(value, bend=value.bend.then(factor, term))
    return replace(value, gain=value.gain * factor, bias=value.bias * factor + term)


def _scaled(value: Pending, factor: float) -> Pending:
    """All of ``value`` times a positive number."""
    rest = value.residual
    return replace(
        scaled(value, factor),
        residual=None if rest is None else Stored(op=rest.op, step=rest.step * factor),
        floor=None if value.floor is None else value.floor * factor,
        ceiling=None if value.ceiling is None else value.ceiling * factor,
    )  # fmt: skip
