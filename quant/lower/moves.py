"""What torch's pixel shuffles and upsamplings ask for, as the factors of a Program's moves."""

import inspect
from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from ...common.errors import UserError
from ..ops.base import Shape

__all__ = ["interpolate_factor", "shuffle_factor", "upsample_factor"]

_NEAREST = ("nearest", "nearest-exact")
"""Both repeat pixels when the factor is whole."""


def upsample_factor(path: str, layer: nn.Upsample, shape: Shape) -> int:
    """Of ``layer`` on a tensor of ``shape``; raises `UserError` for what no Program says."""
    return _factor(path, shape, mode=layer.mode, size=layer.size, scale=layer.scale_factor)


def interpolate_factor(node: fx.Node, shape: Shape) -> int:
    """Of a call of ``torch.nn.functional.interpolate``; raises `UserError` for what no Program says."""
    given = inspect.signature(F.interpolate).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    values = given.arguments
    return _factor(node.name, shape, mode=values["mode"], size=values["size"], scale=values["scale_factor"])


def shuffle_factor(node: fx.Node) -> int:
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
