"""What a node of a network's graph says: its operation, what it is given, where it stands in the user's source."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch._ops import OpOverload, OpOverloadPacket

from ....common.errors import UserError

__all__ = [
    "Floats", "argument", "constant", "given", "is_call", "kind_of", "name_of", "numpy_of", "path_of",
    "said", "sizes", "tensor",
]  # fmt: skip

Floats = NDArray[np.float64]
aten = torch.ops.aten
_FILLS = (
    aten.zeros_like, aten.ones_like, aten.full_like, aten.new_zeros, aten.new_ones, aten.new_full,
)  # fmt: skip
"""What takes no more than its shape from the tensor that it reads."""


def kind_of(traced: fx.GraphModule, node: fx.Node) -> Any:
    """What ``node`` calls: the type of a layer that stayed whole, an operation of ATen with all its overloads, or None
    for what is no call of either."""
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target)))
    if isinstance(node.target, OpOverload):
        return node.target.overloadpacket
    return None


def is_call(node: fx.Node, *operations: OpOverloadPacket) -> bool:
    """Whether ``node`` calls one of ``operations`` of ATen."""
    return isinstance(node.target, OpOverload) and node.target.overloadpacket in operations


def name_of(node: fx.Node) -> str:
    """The name of what ``node`` calls, as people know it: ``aten.gelu``."""
    if isinstance(node.target, OpOverload):
        return str(node.target.overloadpacket)
    return str(getattr(node.target, "__name__", node.target))


def path_of(node: fx.Node) -> str:
    """Path of the user's layer that ``node`` is, or a name of the function that it calls."""
    return str(node.meta.get("path", node.name))


def said(node: fx.Node) -> str:
    """Where ``node`` stands: its path, and the line of the user's source where torch knows it."""
    where = node.meta.get("where")
    return repr(path_of(node)) + (f" ({where})" if where else "")


def given(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call of ATen by name, defaults included."""
    assert isinstance(node.target, OpOverload)
    names = node.target._schema.arguments
    values = {entry.name: entry.default_value for entry in names if entry.has_default_value()}
    values |= dict(zip((entry.name for entry in names), node.args, strict=False))
    return {**values, **node.kwargs}


def tensor(value: Any) -> fx.Node:
    """An argument that has to be a tensor of the graph; raises `UserError` where it is a constant."""
    if not isinstance(value, fx.Node):
        raise UserError(f"expected a tensor in the network's graph, not {value!r}")
    return value


def argument(node: fx.Node) -> fx.Node:
    """The tensor that a layer or function is called with, by position or by name."""
    values = [*node.args, *node.kwargs.values()]
    return tensor(values[0] if values else None)


def sizes(node: fx.Node) -> tuple[Any, ...]:
    """Shape of the tensor that ``node`` gives; the batch is a symbol."""
    return tuple(node.meta["val"].shape)


def constant(traced: fx.GraphModule, value: Any) -> Tensor | None:
    """The parameter, buffer or number that an argument is, or what operations make of these alone, which is then that
    of a batch of one image; None where it depends on the images."""
    if isinstance(value, int | float):
        return torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, fx.Node):
        return None
    if value.op == "call_function":
        if "constant" not in value.meta:
            value.meta["constant"] = _computed(traced, value)
        found = value.meta["constant"]
    elif value.op == "get_attr":
        found = traced
        for name in str(value.target).split("."):
            found = getattr(found, name)
    else:
        return None
    return found if isinstance(found, Tensor) else None


def _computed(traced: fx.GraphModule, node: fx.Node) -> Any:
    """The result of an operation of ATen that reads nothing but constants and numbers of images, or None."""
    if not isinstance(node.target, OpOverload) or torch.Tag.nondeterministic_seeded in node.target.tags:
        return None
    read: dict[fx.Node, Any] = {}
    for source in node.all_input_nodes:
        found = source.meta.get("val")
        if isinstance(found, torch.SymInt):
            read[source] = _of_one_image(found)
        elif isinstance(found, Tensor) and is_call(node, *_FILLS):
            read[source] = torch.zeros([_of_one_image(n) for n in found.shape], dtype=found.dtype)
        else:
            read[source] = constant(traced, source)
        if read[source] is None:
            return None
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: read[source])
    return node.target(*args, **kwargs)


def _of_one_image(size: Any) -> int:
    """A size, where the batch has one image."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def numpy_of(value: Tensor) -> Floats:
    """A parameter or buffer, exactly."""
    return value.detach().double().numpy()
