"""Lowering of what is computed of every value by itself, as SiLU and sigmoid are: a table, see `state.Curve`."""

import torch

from ...fold.curves import RealFunction
from ..graph.nodes import Floats, argument
from ..readers import POINTWISE
from ..state import Curve, Lowering, Value
from .table import Call, lowers

__all__ = ["behind", "curve"]


@lowers(*POINTWISE, layouts="each")
def curve(lowering: Lowering, call: Call) -> Value:
    """The function that torch computes."""
    node, source = call.node, argument(call.node)

    def function(values: Floats) -> Floats:
        found = node.target(torch.from_numpy(values), *node.args[1:], **node.kwargs)  # type: ignore[operator]
        return found.numpy()

    return behind(lowering, source, function)


def behind(lowering: Lowering, source: torch.fx.Node, function: RealFunction) -> Curve:
    """``function`` of ``source``: a part of what that is where it is a function itself."""
    value = lowering.values[source]
    if isinstance(value, Curve):
        inner = value.function
        return Curve(node=value.node, function=lambda values: function(inner(values)))
    return Curve(node=lowering.root(source), function=function)
