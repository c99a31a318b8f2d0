"""Convolutions and dense layers of a graph, whether they are layers of ours or operations of ATen, as one value."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ....common.errors import UserError
from ....models.layers.adder import AdderConv2d
from ....models.layers.binary import BinaryConv2d
from ....models.layers.shift import ShiftConv2d
from .nodes import argument, constant, given, is_call, said

__all__ = ["Weighted", "is_convolution", "path_of_weights", "weighted"]

aten = torch.ops.aten
_LAYERS = (AdderConv2d, BinaryConv2d, ShiftConv2d, nn.Conv2d, nn.Linear)
_OPERATIONS = (aten.conv2d, aten.linear, aten.conv_transpose2d)
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A convolution or dense layer.

    Attributes
    ----------
    path : of the user's layer
    source : the tensor that it reads
    layer : where it is one of ours, else None
    weight : (O, I, Kh, Kw); of a dense layer (O, I)
    bias : (O,) or None
    padding : top, left, bottom, right
    transposed : it enlarges; ``weight`` is (I, O, Kh, Kw), and ``output_padding`` rows and columns are added at the end
    """

    path: str
    node: fx.Node
    source: fx.Node
    layer: nn.Module | None
    weight: Tensor
    bias: Tensor | None
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    transposed: bool = False
    output_padding: Pair = (0, 0)

    @property
    def dense(self) -> bool:
        """Whether it is a dense layer."""
        return self.weight.ndim == 2

    @property
    def grid(self) -> Any:
        """The grid of the layer's features, where training has settled it."""
        return getattr(self.layer, "grid", None)


def is_convolution(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether ``node`` calls a convolution or a dense layer."""
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), _LAYERS)
    return is_call(node, *_OPERATIONS)


def path_of_weights(traced: fx.GraphModule, node: fx.Node) -> str:
    """Path of the convolution ``node``: that of the module that holds its weights, or their name where a module holds
    those of several."""
    if node.op == "call_module":
        return str(node.target)
    name = _name_of_weights(node)
    owner, _, own = name.rpartition(".")
    if own == "weight" and owner:
        return owner
    others = Counter(_name_of_weights(n).rpartition(".")[0] for n in traced.graph.nodes if is_call(n, *_OPERATIONS))
    return owner if owner and others[owner] == 1 else name


def _name_of_weights(node: fx.Node) -> str:
    name = str(node.args[1].meta.get("fqn", node.name)) if isinstance(node.args[1], fx.Node) else node.name
    return name.partition(".parametrizations.")[0] + ".weight" if ".parametrizations." in name else name


def weighted(traced: fx.GraphModule, node: fx.Node) -> Weighted:
    """The convolution or dense layer that ``node`` is; raises `UserError` where its weights depend on the images."""
    path, source = path_of_weights(traced, node), argument(node)
    if node.op == "call_module":
        layer = traced.get_submodule(path)
        assert isinstance(layer.weight, Tensor)
        bias = getattr(layer, "bias", None)
        found = Weighted(path=path, node=node, source=source, layer=layer, weight=layer.weight, bias=bias)
        return found if isinstance(layer, nn.Linear) else _window(found, {
            name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups") if hasattr(layer, name)
        })  # fmt: skip
    values = given(node)
    weight = constant(traced, values["weight"])
    bias = constant(traced, values["bias"]) if values["bias"] is not None else None
    if weight is None or (bias is None and values["bias"] is not None):
        raise UserError(f"weights at {said(node)} depend on the images; a product of two tensors is not supported")
    found = Weighted(path=path, node=node, source=source, layer=None, weight=weight, bias=bias)
    return found if is_call(node, aten.linear) else _window(found, values)


def _window(found: Weighted, values: dict[str, Any]) -> Weighted:
    dilation = _pair(values.get("dilation", 1))
    weight = found.weight
    reach = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
    padding = values.get("padding", 0)
    if padding == "same":
        top, left = (r // 2 for r in reach)
        around = (top, left, reach[0] - top, reach[1] - left)
    else:
        rows, columns = _pair(0 if padding == "valid" else padding)
        around = (rows, columns, rows, columns)
    transposed = is_call(found.node, aten.conv_transpose2d)
    return Weighted(
        path=found.path, node=found.node, source=found.source, layer=found.layer, weight=weight, bias=found.bias,
        stride=_pair(values.get("stride", 1)), padding=around, dilation=dilation, groups=int(values.get("groups", 1)),
        transposed=transposed, output_padding=_pair(values["output_padding"]) if transposed else (0, 0),
    )  # fmt: skip


def _pair(value: Any) -> Pair:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return int(values[0]), int(values[-1])
