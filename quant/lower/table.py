"""Which function lowers which layer, function or method of torch: a new one is one entry, made by a decorator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ...common.errors import UserError
from .state import Lowering, Value

__all__ = ["Layer", "lower_function", "lower_layer", "lower_method", "lowers", "lowers_calls", "unsupported_method"]

_LAYERS = (
    "AdderConv2d, BinaryConv2d, ShiftConv2d, Conv2d, Linear, BatchNorm1d/2d, ReLU, Sign, Normalise, MaxPool2d, "
    "AvgPool2d, AdaptiveAvgPool2d to 1x1, SpatialShift2d, PixelShuffle, Upsample (nearest), Flatten, Unflatten, "
    "Identity, Dropout, Sequential"
)
_FUNCTIONS = (
    "addition, relu, flatten, view or reshape to (batch, -1), cat of channels, pixel_shuffle, interpolate (nearest)"
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer where the graph calls it.

    Attributes
    ----------
    path : within the network
    module : the layer, of a type that its lowering is registered for
    source : the tensor that it reads
    """

    node: fx.Node
    path: str
    module: Any
    source: fx.Node


LayerLowering = Callable[[Lowering, Layer], Value]
CallLowering = Callable[[Lowering, fx.Node], Value]
_layers: dict[type[nn.Module], LayerLowering] = {}
_functions: dict[Any, CallLowering] = {}
_methods: dict[str, CallLowering] = {}


def lowers(*types: type[nn.Module]) -> Callable[[LayerLowering], LayerLowering]:
    """Register a function that lowers layers of ``types``, and of their subclasses that have none of their own."""

    def register(function: LayerLowering) -> LayerLowering:
        _layers.update(dict.fromkeys(types, function))
        return function

    return register


def lowers_calls(*functions: Callable[..., Any] | str) -> Callable[[CallLowering], CallLowering]:
    """Register a function that lowers calls of ``functions``; a name stands for the method of a tensor."""

    def register(function: CallLowering) -> CallLowering:
        for target in functions:
            if isinstance(target, str):
                _methods[target] = function
            else:
                _functions[target] = function
        return function

    return register


def lower_layer(lowering: Lowering, layer: Layer) -> Value:
    """What the result of ``layer`` becomes; raises `UserError` for a type that nothing lowers."""
    for kind in type(layer.module).__mro__:
        if kind in _layers:
            return _layers[kind](lowering, layer)
    raise UserError(f"unsupported layer {type(layer.module).__name__} at {layer.path!r}; supported: {_LAYERS}")


def lower_function(lowering: Lowering, node: fx.Node) -> Value:
    """What the result of a function becomes; raises `UserError` for one that nothing lowers."""
    if node.target in _functions:
        return _functions[node.target](lowering, node)
    name = getattr(node.target, "__name__", node.target)
    raise UserError(f"unsupported function {name!r} at {node.name!r}; supported: {_FUNCTIONS}")


def lower_method(lowering: Lowering, node: fx.Node) -> Value:
    """What the result of a tensor's method becomes; raises `UserError` for one that nothing lowers."""
    target = str(node.target)
    if target in _methods:
        return _methods[target](lowering, node)
    raise unsupported_method(node)


def unsupported_method(node: fx.Node) -> UserError:
    """What to raise for a method, or a call of it, that no Program says."""
    return UserError(f"unsupported method {node.target!r} at {node.name!r}; supported: {_FUNCTIONS}")
