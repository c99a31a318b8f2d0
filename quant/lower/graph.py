"""The graph of a torch network: which tensors it computes, and from which."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...common.errors import UserError
from ...models.layers.adder import AdderConv2d
from ...models.layers.binary import BinaryConv2d, Sign
from ...models.layers.normalize import Normalise
from ...models.layers.shift import ShiftConv2d
from ...models.layers.spatial_shift import SpatialShift2d

__all__ = ["Floats", "argument", "is_convolution", "numpy_of", "tensor", "trace"]

Floats = NDArray[np.float64]
_LEAVES = (AdderConv2d, BinaryConv2d, ShiftConv2d, Sign, Normalise, SpatialShift2d)
_CONVOLUTIONS = (AdderConv2d, BinaryConv2d, ShiftConv2d, nn.Conv2d, nn.Linear)


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of ``module`` in evaluation mode; raises `UserError` when there is none."""
    module.eval()
    try:
        return _pools_behind_relus(fx.GraphModule(module, _Tracer().trace(module)))
    except UserError:
        raise
    except Exception as error:  # tracing runs the user's code, which may raise anything
        raise UserError(f"{type(module).__name__} cannot be traced: {type(error).__name__}: {error}") from error


def is_convolution(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether ``node`` calls a convolution or a dense layer."""
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), _CONVOLUTIONS)


def tensor(value: Any) -> fx.Node:
    """An argument that has to be a tensor of the graph; raises `UserError` where it is a constant."""
    if not isinstance(value, fx.Node):
        raise UserError(f"expected a tensor in the network's graph, not {value!r}")
    return value


def argument(node: fx.Node) -> fx.Node:
    """The tensor that a layer or function is called with, by position or by name."""
    values = [*node.args, *node.kwargs.values()]
    return tensor(values[0] if values else None)


def numpy_of(value: Tensor) -> Floats:
    """A parameter or buffer, exactly."""
    return value.detach().double().numpy()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or hasattr(m, "quantiser") or super().is_leaf_module(m, module_qualified_name)


def _pools_behind_relus(traced: fx.GraphModule) -> fx.GraphModule:
    """The same network with every max pool in front of a ReLU behind it, where sums have become features: the largest
    of a window is the same before and after what never falls."""
    for pool in list(traced.graph.nodes):
        if pool.op != "call_module" or not isinstance(traced.get_submodule(str(pool.target)), nn.MaxPool2d):
            continue
        relu, source = next(iter(pool.users), None), argument(pool)
        # A ReLU in place would change what others read of its new source.
        if len(pool.users) != 1 or len(source.users) != 1 or relu is None or not _is_relu(traced, relu):
            continue
        relu.replace_all_uses_with(pool)
        pool.replace_input_with(source, relu)
        relu.replace_input_with(pool, source)
        pool.prepend(relu)
    traced.graph.lint()
    traced.recompile()
    return traced


def _is_relu(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.ReLU)
    named = node.target in (torch.relu, nn.functional.relu) if node.op == "call_function" else node.target == "relu"
    return node.op in ("call_function", "call_method") and bool(named)
