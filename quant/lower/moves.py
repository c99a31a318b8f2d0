"""Lowering of what moves pixels: spatial shift, pixel shuffle and upsampling, and the factors that torch gives them."""

import inspect
from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from ...common.errors import UserError
from ...models.layers.spatial_shift import SpatialShift2d
from ..program import PixelShuffle, Shape, SpatialShift, Upsample
from .graph import argument
from .state import Lowering, Value
from .table import Layer, lowers, lowers_calls

__all__ = ["interpolate", "pixel_shuffle", "pixel_shuffle_call", "spatial_shift", "upsample"]

_NEAREST = ("nearest", "nearest-exact")
"""Both repeat pixels when the factor is whole."""


@lowers(SpatialShift2d)
def spatial_shift(lowering: Lowering, layer: Layer) -> Value:
    """Each channel moved by its own offset."""
    offsets = layer.module.offsets.numpy().copy()
    # Zeros that move in are neither +1 nor -1.
    return lowering.moved(
        layer.node, layer.source, lambda name, op: SpatialShift(name=name, source=op, offsets=offsets), layer.path,
        bits=False,
    )  # fmt: skip


@lowers(nn.PixelShuffle)
def pixel_shuffle(lowering: Lowering, layer: Layer) -> Value:
    """Channels as the pixels of a larger map."""
    return _shuffled(lowering, layer.node, layer.path, layer.module.upscale_factor, layer.source)


@lowers_calls(F.pixel_shuffle)
def pixel_shuffle_call(lowering: Lowering, node: fx.Node) -> Value:
    """As `pixel_shuffle`."""
    return _shuffled(lowering, node, node.name, _shuffle_factor(node), argument(node))


def _shuffled(lowering: Lowering, node: fx.Node, path: str, factor: int, source: fx.Node) -> Value:
    return lowering.moved(node, source, lambda name, op: PixelShuffle(name=name, source=op, factor=factor), path)


@lowers(nn.Upsample)
def upsample(lowering: Lowering, layer: Layer) -> Value:
    """Every pixel so many times in both directions."""
    factor = _upsample_factor(layer.path, layer.module, lowering.shape_of(layer.source))
    return _upsampled(lowering, layer.node, layer.path, factor, layer.source)


@lowers_calls(F.interpolate)
def interpolate(lowering: Lowering, node: fx.Node) -> Value:
    """As `upsample`."""
    source = argument(node)
    return _upsampled(lowering, node, node.name, _interpolate_factor(node, lowering.shape_of(source)), source)


def _upsampled(lowering: Lowering, node: fx.Node, path: str, factor: int, source: fx.Node) -> Value:
    return lowering.moved(node, source, lambda name, op: Upsample(name=name, source=op, factor=factor), path)


def _upsample_factor(path: str, layer: nn.Upsample, shape: Shape) -> int:
    """Of ``layer`` on a tensor of ``shape``; raises `UserError` for what no Program says."""
    return _factor(path, shape, mode=layer.mode, size=layer.size, scale=layer.scale_factor)


def _interpolate_factor(node: fx.Node, shape: Shape) -> int:
    """Of a call of ``torch.nn.functional.interpolate``; raises `UserError` for what no Program says."""
    given = inspect.signature(F.interpolate).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    values = given.arguments
    return _factor(node.name, shape, mode=values["mode"], size=values["size"], scale=values["scale_factor"])


def _shuffle_factor(node: fx.Node) -> int:
    """Of a call of ``torch.nn.functional.pixel_shuffle``; raises `UserError` for a factor that is no constant."""
    factor = node.args[1] if len(node.args) > 1 else node.kwargs.get("upscale_factor")
    if not isinstance(factor, int):
        raise UserError(f"pixel shuffle at {node.name!r} must have a constant factor, not {factor!r}")
    return factor


def _factor(path: str, shape: Shape, *, mode: str, size: Any, scale: Any) -> int:
    if mode not in _NEAREST:
        raise UserError(f"upsampling at {path!r}: mode {mode!r} is not supported, only 'nearest'")
    if size is not None:
        scale = [new / old if isinstance(new, int) else new for new, old in zip(_pair(size), shape[1:], strict=True)]
    rows, columns = _pair(scale)
    whole = isinstance(rows, int | float) and rows == columns and rows == int(rows)
    if not whole or rows < 1:
        given = f"size={size}" if size is not None else f"scale_factor={scale}"
        raise UserError(
            f"upsampling at {path!r} of a map of {shape[1]}x{shape[2]}: rows and columns must grow by one whole "
            f"factor, not by {given}"
        )
    return int(rows)


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
