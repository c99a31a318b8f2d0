"""Windows of layers, as fields of operations."""

from typing import Any

from ....common.errors import UserError
from ...ops.window import merged
from ..graph.weights import Weighted

__all__ = ["NO_PADS", "Pads", "geometry", "square"]

Pads = tuple[int, int, int, int]
"""Top, left, bottom, right."""
NO_PADS = (0, 0, 0, 0)


def square(value: Any, path: str) -> int:
    """One number for rows and columns of the layer at ``path``; raises `UserError` where they differ."""
    found = merged(value, 2)
    if not isinstance(found, int):
        raise UserError(f"layer at {path!r} must have equal vertical and horizontal parameters, not {found}")
    return found


def geometry(layer: Weighted, more: Pads = NO_PADS) -> dict[str, Any]:
    """Stride, padding, dilation and groups of a convolution or dense layer that zeros of ``more`` stand in front of."""
    pads = tuple(a + b for a, b in zip(layer.padding, more, strict=True))
    return {
        "stride": merged(layer.stride, 2),
        "padding": merged(pads, 4),
        "dilation": merged(layer.dilation, 2),
        "groups": layer.groups,
    }
