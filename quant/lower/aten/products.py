"""Lowering of products of two tensors: gates of channels, as squeeze-and-excitation has them, and any two maps."""

import numpy as np
from torch import fx

from ....common.errors import UserError
from ...fold.assembly import Pending
from ...program import Product
from ..graph.nodes import said
from ..state import Curve, Lowering, Value
from .joins import as_beside
from .table import Call

__all__ = ["product"]


def product(lowering: Lowering, call: Call, left: fx.Node, right: fx.Node) -> Value:
    """``left * right``, of one shape, or of a map and one number for each of its channels; of two functions of one
    tensor, the function that they are together."""
    if (found := _function(lowering, left, right)) is not None:
        lowering.lay(call.node, lowering.layouts.get(left))
        return found
    shapes = [lowering.shape_of(node) for node in (left, right)]
    if shapes[0] != shapes[1] and shapes[0][1:] == (1, 1):
        (left, right), shapes = (right, left), shapes[::-1]
    if shapes[1] not in (shapes[0], (shapes[0][0], 1, 1)):
        one, other = ("x".join(map(str, shape)) for shape in shapes)
        raise UserError(
            f"product at {said(call.node)} must be of two tensors of one shape, or of a map and one number for each of "
            f"its channels, not of {one} and {other}"
        )
    a, b = lowering.store(left), as_beside(lowering, lowering.store(right), right, left)
    lowering.lay(call.node, lowering.layouts.get(left))
    name = lowering.emit(Product(name=lowering.unique(call.path), source=a.op, other=b.op))
    zero = np.zeros(shapes[0][0])
    positive = not lowering.format(name).signed
    return Pending(op=name, gain=zero + a.step * b.step, centre=zero, bias=zero, relu=positive)


def _function(lowering: Lowering, left: fx.Node, right: fx.Node) -> Curve | None:
    """SiLU, written as ``x * sigmoid(x)``, and the like: None where the two have no tensor in common, or neither is a
    function of it."""
    curves = [_as_curve(lowering, node) for node in (left, right)]
    values = [lowering.values[node] for node in (left, right)]
    if curves[0].node is not curves[1].node or not any(isinstance(value, Curve) for value in values):
        return None
    one, other = (curve.function for curve in curves)
    return Curve(node=curves[0].node, function=lambda x: one(x) * other(x))


def _as_curve(lowering: Lowering, node: fx.Node) -> Curve:
    value = lowering.values[node]
    return value if isinstance(value, Curve) else Curve(node=lowering.root(node), function=lambda x: x)
