"""Which function lowers which operation of ATen, or layer of ours: a new one is one entry, made by a decorator."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload, OpOverloadPacket

from ....common.errors import UserError
from ..graph.nodes import argument, given, kind_of, name_of, path_of, said
from ..state import Lowering, MaskedScores, Quotient, Value

__all__ = ["Call", "lower_call", "lowers", "refused"]

aten = torch.ops.aten
_SUPPORTED = (
    "AdderConv2d, BinaryConv2d, ShiftConv2d, Sign, Normalise, SpatialShift2d, convolutions, dense layers, batch norm, "
    "ReLU, ReLU6, LeakyReLU, PReLU, clamp, SiLU, GELU, sigmoid, hardswish, hardsigmoid, tanh, max and average pools, "
    "mean, sum and amax over the map or the channels, argmax of channels, where by an argmax, additions, factors, "
    "products, cat, slices, zero pads, pixel_shuffle, interpolate (nearest), views, transpose, permute, dropout, "
    "LayerNorm, matmul, softmax, constant masks, attention"
)
_CURVES = "write a function that has a value for every number, as SiLU, GELU and sigmoid do, and train again"
_PRODUCTS = "products are matmul of two tensors, as of attention, and of every value with its own or its channel's"
_NORMS = "write LayerNorm, or BatchNorm2d, whose statistics are constants when it runs"
_SCORES = "only the last operation may be one: it is left out, the order of the scores is the same"
_CHOICES = "compare an argmax over channels with a number, for torch.where; a mask of attention must be constant"
_INSTEAD = {
    **dict.fromkeys(("log", "sqrt", "rsqrt", "pow", "reciprocal"), _CURVES),
    **dict.fromkeys(("div", "mm", "baddbmm", "addmm", "einsum"), _PRODUCTS),
    **dict.fromkeys(("group_norm", "instance_norm", "rms_norm", "linalg_vector_norm", "var", "std"),
                    _NORMS),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _SCORES),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _CHOICES),
    "im2col": "write AdderConv2d where it makes an adder layer",
}  # fmt: skip
"""What to write for operations that people often use."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """An operation or a layer where the graph calls it.

    Attributes
    ----------
    path : of the user's layer within the network, or a name of the function
    module : the layer, of a type that its lowering is registered for; None for an operation of ATen
    source : the first tensor that it reads
    given : the arguments of an operation of ATen by name, defaults included
    """

    node: fx.Node
    path: str
    module: Any
    source: fx.Node
    given: Mapping[str, Any] = field(default_factory=dict)


CallLowering = Callable[[Lowering, Call], Value]
_table: dict[Any, CallLowering] = {}
_layouts: dict[CallLowering, str] = {}


def lowers(
    *kinds: type[nn.Module] | OpOverloadPacket | Callable[..., Any], layouts: str = "map"
) -> Callable[[CallLowering], CallLowering]:
    """Register a function that lowers operations of ATen (all their overloads), or layers of a type that stays whole
    and of its subclasses that have none of their own.

    Parameters
    ----------
    layouts : of tensors that the function can read: ``map``, only (batch, C, H, W) and what is not 1 of these;
        ``each``, any, for every value is taken by itself; ``any``, it asks for `Lowering.layout` and says its result's
    """

    def register(function: CallLowering) -> CallLowering:
        _table.update(dict.fromkeys(kinds, function))
        _layouts[function] = layouts
        return function

    return register


def lower_call(lowering: Lowering, node: fx.Node) -> Value:
    """What the result of ``node`` becomes; raises `UserError` for a call that nothing lowers."""
    kind = kind_of(lowering.traced, node)
    kinds = kind.__mro__ if isinstance(kind, type) else (kind,)
    function = _table.get(node.target) or next((_table[k] for k in kinds if k in _table), None)
    if function is None:
        raise refused(node)
    first = node.args[0] if node.args else None
    if isinstance(first, list | tuple) and first:
        first = first[0]
    source = first if isinstance(first, fx.Node) else argument(node)
    if node.target is operator.getitem:
        source = argument(source)
    if source not in lowering.values and not _reads_known(lowering, node):
        raise refused(node)
    module = lowering.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    call = Call(
        node=node, path=str(node.target) if node.op == "call_module" else path_of(node), module=module,
        source=source, given=given(node) if isinstance(node.target, OpOverload) else {},
    )  # fmt: skip
    if _layouts[function] == "any":
        return function(lowering, call)
    read = [value for value in node.all_input_nodes if value in lowering.values]
    for value in read:
        if isinstance(lowering.values[value], Quotient | MaskedScores):
            lowering.values[value] = lowering.store(value)
    if _layouts[function] == "each":
        lowering.lay(node, lowering.layouts.get(source))
        return function(lowering, call)
    with lowering.as_maps(read):
        return function(lowering, call)


def _reads_known(lowering: Lowering, node: fx.Node) -> bool:
    return any(value in lowering.values for value in node.all_input_nodes)


def refused(node: fx.Node) -> UserError:
    """What to raise for an operation, or a use of it, that no Program says."""
    name = name_of(node)
    instead = _INSTEAD.get(name.rpartition(".")[2])
    return UserError(
        f"unsupported operation {name} at {said(node)}; "
        + (f"{instead}; " if instead else "")
        + f"supported: {_SUPPORTED}"
    )
