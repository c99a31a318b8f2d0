"""Sizes of windows, which a Program has equal in both directions."""

from typing import Any

from ....common.errors import UserError
from ..graph.weights import Weighted

__all__ = ["around", "geometry", "square"]


def square(value: Any, path: str) -> int:
    """One number for rows and columns of the layer at ``path``; raises `UserError` where they differ."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(set(pair)) != 1 or not isinstance(pair[0], int):
        raise UserError(f"layer at {path!r} must have equal vertical and horizontal parameters, not {tuple(pair)}")
    return pair[0]


def around(pads: tuple[int, int, int, int], path: str) -> int:
    """One number for padding on all sides (top, left, bottom, right); raises `UserError` where they differ."""
    if len(set(pads)) != 1 or pads[0] < 0:
        raise UserError(
            f"layer at {path!r} must have equal padding on all sides, not {pads} (top, left, bottom, right)"
        )
    return pads[0]


def geometry(layer: Weighted, more: tuple[int, int, int, int] = (0, 0, 0, 0)) -> dict[str, Any]:
    """Stride, padding and groups of a convolution or dense layer that a pad of ``more`` stands in front of; raises
    `UserError` for what no Program says."""
    if layer.dilation != (1, 1):
        raise UserError(f"convolution at {layer.path!r}: dilation and padding modes are not supported")
    pads = tuple(a + b for a, b in zip(layer.padding, more, strict=True))
    return {
        "stride": square(layer.stride, layer.path),
        "padding": around(pads, layer.path),  # type: ignore[arg-type]
        "groups": layer.groups,
    }
