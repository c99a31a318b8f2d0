"""Adder layers that others wrote, known by what they compute: patches of a map, their L1 distances to filters."""

from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ....models.layers.adder import AdderConv2d
from .nodes import argument, constant, given, is_call, sizes

__all__ = ["as_adder_layers"]

aten = torch.ops.aten
_BATCH = 2
_TOLERANCE = 1e-4
"""How near a graph's result has to be to that of an adder layer, as a share of the largest sum."""


class _NotConstantError(Exception):
    """A value depends on more than the map whose patches are taken."""


def as_adder_layers(traced: fx.GraphModule) -> fx.GraphModule:
    """A network with an `AdderConv2d` instead of operations that compute what it does, whatever they are.

    Candidates begin where patches are taken (`torch.nn.functional.unfold`) and end in a map. Such a part is run on
    random numbers; equal results make it an adder layer, with its filters and its path.
    """
    for patches in [node for node in traced.graph.nodes if is_call(node, aten.im2col)]:
        source = _map_behind(argument(patches))
        if source is None:
            continue
        for end in _ends(patches):
            layer, path = _layer(traced, patches, source, end)
            if layer is not None:
                _put(traced, source, end, layer, path)
                break
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _map_behind(node: fx.Node) -> fx.Node | None:
    """The map (B, C, H, W) that ``node`` is a view of."""
    while len(node.meta["val"].shape) != 4 or isinstance(sizes(node)[0], int):
        if not is_call(node, aten.view, aten.reshape):
            return None
        node = argument(node)
    return node


def _ends(patches: fx.Node) -> list[fx.Node]:
    """Maps that ``patches`` lead to, nearest first."""
    reached, found = {patches}, []
    for node in patches.graph.nodes:
        if reached.isdisjoint(node.all_input_nodes) or not isinstance(node.meta.get("val"), Tensor):
            continue
        reached.add(node)
        if len(node.meta["val"].shape) == 4 and not isinstance(sizes(node)[0], int):
            found.append(node)
    return found


def _layer(traced: fx.GraphModule, patches: fx.Node, source: fx.Node, end: fx.Node) -> tuple[AdderConv2d | None, str]:
    """The adder layer that leads from ``source`` to ``end``, and its path; None where it is none."""
    window = given(patches)
    channels, filters = int(sizes(source)[1]), int(sizes(end)[1])
    size, stride, padding = (_one(window[name]) for name in ("kernel_size", "stride", "padding"))
    if None in (size, stride, padding) or _one(window["dilation"]) != 1:
        return None, ""
    assert size is not None and stride is not None and padding is not None
    x = torch.randn(_BATCH, *(int(n) for n in sizes(source)[1:]), generator=torch.Generator().manual_seed(0))
    found = _Part(traced, source, x)
    try:
        result = found.value(end)
    except (_NotConstantError, RuntimeError):
        return None, ""
    rows = F.unfold(x, size, padding=padding, stride=stride).transpose(1, 2)
    for name, weight in found.constants:
        if weight.numel() != filters * rows.shape[2] or not weight.is_floating_point():
            continue
        flat = weight.detach().reshape(filters, -1)
        wanted = -torch.cdist(rows, flat.expand(len(x), -1, -1), p=1.0).transpose(1, 2)
        if result.numel() == wanted.numel() and torch.allclose(
            result.reshape(wanted.shape), wanted, rtol=0, atol=_TOLERANCE * float(wanted.abs().max())
        ):
            layer = AdderConv2d(channels, filters, size, stride=stride, padding=padding)
            layer.weight = torch.nn.Parameter(flat.reshape(layer.weight.shape), requires_grad=False)
            return layer.eval(), name.rpartition(".")[0] or name
    return None, ""


class _Part:
    """The values of nodes when ``source`` is ``x``, and the constants that they need."""

    def __init__(self, traced: fx.GraphModule, source: fx.Node, x: Tensor):
        self.traced = traced
        self.values: dict[fx.Node, Any] = {source: x}
        self.constants: list[tuple[str, Tensor]] = []

    def value(self, node: fx.Node) -> Any:
        if node not in self.values:
            self.values[node] = self._computed(node)
        return self.values[node]

    def _computed(self, node: fx.Node) -> Any:
        weight = constant(self.traced, node) if node.op == "get_attr" else None
        if weight is not None:
            self.constants.append((str(node.meta["fqn"]), weight))
            return weight
        if is_call(node, aten.sym_size):
            size = node.meta["val"]
            return size if isinstance(size, int) else _BATCH  # the only size that is no number
        if node.op != "call_function":
            raise _NotConstantError
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.value)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _put(traced: fx.GraphModule, source: fx.Node, end: fx.Node, layer: AdderConv2d, path: str) -> None:
    """Let ``layer`` compute ``end`` from ``source``."""
    traced.add_submodule(path, layer)
    with traced.graph.inserting_before(end):
        made = traced.graph.create_node("call_module", path, (source,), name=path.lower())
    made.meta = {**end.meta, "path": path}
    end.replace_all_uses_with(made)


def _one(value: Any) -> int | None:
    """One number for rows and columns, or None where they differ."""
    return int(value[0]) if len(set(value)) == 1 else None
