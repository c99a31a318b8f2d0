"""Sizes of windows, which a Program has equal in both directions."""

from typing import Any

from torch import nn

from ...common.errors import UserError
from ...models.layers.adder import AdderConv2d
from ...models.layers.binary import BinaryConv2d
from ...models.layers.shift import ShiftConv2d

__all__ = ["geometry", "square"]


def square(value: Any, path: str) -> int:
    """One number for rows and columns of the layer at ``path``; raises `UserError` where they differ."""
    pair = value if isinstance(value, tuple) else (value, value)
    if len(set(pair)) != 1 or not isinstance(pair[0], int):
        raise UserError(f"layer at {path!r} must have equal vertical and horizontal parameters, not {value}")
    return pair[0]


def geometry(layer: nn.Module, path: str) -> tuple[int, int, int]:
    """Stride, padding and groups of a convolution or dense layer; raises `UserError` for what no Program says."""
    if isinstance(layer, nn.Linear):
        return 1, 0, 1
    if isinstance(layer, nn.Conv2d) and (layer.dilation, layer.padding_mode) != ((1, 1), "zeros"):
        raise UserError(f"convolution at {path!r}: dilation and padding modes are not supported")
    assert isinstance(layer, nn.Conv2d | AdderConv2d | BinaryConv2d | ShiftConv2d)
    return square(layer.stride, path), square(layer.padding, path), int(getattr(layer, "groups", 1))
