"""Lowering of what changes no value: flatten, unflatten, identity and dropout."""

import torch
from torch import fx, nn

from ...common.errors import UserError
from ..program import Flatten
from .graph import argument
from .state import Lowering, Value
from .table import Layer, lowers, lowers_calls, unsupported_method

__all__ = ["flatten", "flatten_call", "identity", "unflatten", "view"]


@lowers(nn.Identity, nn.Dropout)
def identity(lowering: Lowering, layer: Layer) -> Value:
    """What does nothing outside of training."""
    return lowering.same(layer.node, layer.source)


@lowers(nn.Flatten)
def flatten(lowering: Lowering, layer: Layer) -> Value:
    """All of an image as channels of one pixel."""
    if (layer.module.start_dim, layer.module.end_dim) != (1, -1):
        raise UserError(f"flatten at {layer.path!r} must keep the batch and flatten all the rest")
    return _flat(lowering, layer.node, layer.source)


@lowers_calls(torch.flatten, "flatten")
def flatten_call(lowering: Lowering, node: fx.Node) -> Value:
    """As `flatten`."""
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
    if (start, end) != (1, -1):
        raise UserError(f"flatten at {node.name!r} must keep the batch and flatten all the rest")
    return _flat(lowering, node, argument(node))


@lowers_calls("view", "reshape")
def view(lowering: Lowering, node: fx.Node) -> Value:
    """A view or reshape to (batch, -1), which flattens."""
    if len(node.args) == 3 and node.args[2] == -1:
        return _flat(lowering, node, argument(node))
    raise unsupported_method(node)


def _flat(lowering: Lowering, node: fx.Node, source: fx.Node) -> Value:
    if lowering.shape_of(source)[1:] == (1, 1):
        return lowering.same(node, source)
    return lowering.moved(node, source, lambda name, op: Flatten(name=name, source=op), node.name)


@lowers(nn.Unflatten)
def unflatten(lowering: Lowering, layer: Layer) -> Value:
    """Channels as channels of one pixel, which they are in a Program."""
    shape = lowering.shape_of(layer.source)
    wanted = tuple(int(n) for n in layer.module.unflattened_size)
    if wanted != (shape[0], 1, 1) or shape[1:] != (1, 1):
        raise UserError(f"unflatten at {layer.path!r} must make one pixel of all channels, not {wanted}")
    return lowering.same(layer.node, layer.source)
