"""Lowering of what moves pixels: spatial shift, pixel shuffle and upsampling, and the factors that torch gives them."""

from typing import Any

import torch

from ....common.errors import UserError
from ....models.layers.ghost import LearnedShift2d
from ....models.layers.spatial_shift import SpatialShift2d
from ...program import PixelShuffle, Shape, SpatialShift, Upsample
from ..graph.nodes import name_of, sizes
from ..state import Lowering, Value
from .table import Call, lowers

__all__ = ["interpolate", "other_modes", "pixel_shuffle", "spatial_shift"]

aten = torch.ops.aten


@lowers(SpatialShift2d, LearnedShift2d)
def spatial_shift(lowering: Lowering, call: Call) -> Value:
    """Each channel moved by its own offset, also where that was learned."""
    offsets = call.module.offsets.numpy().copy()
    # Zeros that move in are neither +1 nor -1.
    return lowering.moved(
        call.node, call.source, lambda name, op: SpatialShift(name=name, source=op, offsets=offsets), call.path,
        bits=False,
    )  # fmt: skip


@lowers(aten.pixel_shuffle)
def pixel_shuffle(lowering: Lowering, call: Call) -> Value:
    """Channels as the pixels of a larger map."""
    factor = int(call.given["upscale_factor"])
    return lowering.moved(
        call.node, call.source, lambda name, op: PixelShuffle(name=name, source=op, factor=factor), call.path
    )  # fmt: skip


@lowers(aten.upsample_nearest2d, aten._upsample_nearest_exact2d)
def interpolate(lowering: Lowering, call: Call) -> Value:
    """Every pixel so many times in both directions; both ways of torch repeat pixels when the factor is whole."""
    factor = _factor(call, lowering.shape_of(call.source))
    return lowering.moved(
        call.node, call.source, lambda name, op: Upsample(name=name, source=op, factor=factor), call.path
    )  # fmt: skip


@lowers(aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa)
def other_modes(lowering: Lowering, call: Call) -> Value:
    """What computes new pixels, which no Program says."""
    mode = "bilinear" if "bilinear" in name_of(call.node) else "bicubic"
    raise UserError(f"upsampling at {call.path!r}: mode {mode!r} is not supported, only 'nearest'")


def _factor(call: Call, shape: Shape) -> int:
    """The factor by which ``call`` enlarges a map of ``shape``; raises `UserError` for what no Program says."""
    rows, columns = (new / old for new, old in zip(sizes(call.node)[2:], shape[1:], strict=True))
    scales, size = call.given.get("scale_factors"), call.given.get("output_size")
    if rows != columns or rows != int(rows) or rows < 1 or (scales and (scales[0] != rows or scales[1] != columns)):
        said = f"size={_plain(size)}" if size is not None else f"scale_factor={_plain(scales)}"
        raise UserError(
            f"upsampling at {call.path!r} of a map of {shape[1]}x{shape[2]}: rows and columns must grow by one whole "
            f"factor, not by {said}"
        )
    return int(rows)


def _plain(values: Any) -> Any:
    """One number where rows and columns are alike, else both."""
    pair = tuple(values)
    return pair[0] if len(set(pair)) == 1 else pair
