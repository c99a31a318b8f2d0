"""Lowering of zeros around a map: padding of the convolutions behind it, or a convolution of its own; and beside it."""

import numpy as np
import torch
from torch import fx

from ....common.errors import UserError
from ....models.layers.binary import BinaryConv2d
from ...fold.assembly import Pending
from ...formats import signed
from ...ops.window import merged
from ...program import Convolution
from ..graph.nodes import said
from ..graph.weights import is_convolution, weighted
from ..state import Lowering, Value
from .geometry import NO_PADS, Pads
from .joins import Known, beside
from .table import Call, lowers

__all__ = ["pad"]

aten = torch.ops.aten


@lowers(aten.pad, aten.constant_pad_nd)
def pad(lowering: Lowering, call: Call) -> Value:
    """Zeros around a map become padding of the convolutions behind it; where that cannot be, and for other constants,
    a depthwise convolution with one weight of 1 pads, and changes no value. Channels of a constant are joined."""
    amounts = [*(int(n) for n in call.given["pad"]), 0, 0, 0, 0]
    left, right, top, bottom = amounts[:4]
    pads, rest = (top, left, bottom, right), amounts[4:]
    mode, value = call.given.get("mode", "constant"), float(call.given["value"] or 0)
    if mode == "constant" and not any(pads) and any(rest[:2]) and min(rest) >= 0 and not any(rest[2:]):
        return _more_channels(lowering, call, rest[0], rest[1], value)
    if mode != "constant" or any(rest) or min(pads) < 0:
        raise UserError(
            f"padding at {said(call.node)} must be of rows and columns, or of channels, with a constant, not "
            f"{mode!r} of {tuple(amounts[:-4])}"
        )
    before = lowering.pads.get(call.source, NO_PADS)
    both = _sum(pads, before)
    if value == 0 and _absorbed(lowering, call.node, both):
        lowering.pads[call.node] = both
        return lowering.same(call.node, call.source)
    return _padded(lowering, call, both if value == 0 else pads, value)


def _more_channels(lowering: Lowering, call: Call, before: int, behind: int, value: float) -> Value:
    """Channels of one value beside those of a map, as shortcuts between stages of a ResNet have them."""
    _, height, width = lowering.shape_of(call.source)
    counts = before, behind
    ends = [Known(value=np.full((count, height, width), value), name=call.path) for count in counts if count]
    return beside(lowering, call.node, [*ends[: bool(before)], call.source, *ends[bool(before) :]])


def _padded(lowering: Lowering, call: Call, pads: Pads, value: float) -> Value:
    stored = lowering.store(call.source)
    channels, fmt = lowering.shape(stored.op)[0], lowering.format(stored.op)
    word = np.full(channels, round(value / stored.step), np.int64)
    if not fmt.allows(word):
        raise UserError(f"padding at {said(call.node)} with {value:g} is out of the range of what it pads")
    top, left, bottom, right = pads
    # A window that is larger than its padding: its one weight stands where the others see nothing but padding.
    weight = np.zeros((channels, 1, top + bottom + 1, left + right + 1), np.int64)
    weight[:, :, bottom, right] = 1
    name = lowering.emit(
        Convolution(
            name=lowering.unique(call.path), source=stored.op, kernel="mult", weight_format=signed(2), weight=weight,
            pad=word, groups=channels, padding=merged((top + bottom, left + right, top + bottom, left + right), 4),
        )
    )  # fmt: skip
    zero = np.zeros(channels)
    sums = Pending(op=name, gain=np.full(channels, stored.step), centre=zero, bias=zero)
    found = lowering.requantise(lowering.unique(f"{name}_out"), sums, stored.step, fmt)
    lowering.origins[found.op] = call.node.name
    return found


def _absorbed(lowering: Lowering, node: fx.Node, pads: Pads) -> bool:
    """Whether all that reads ``node`` are convolutions that can pad by ``pads`` more."""
    traced = lowering.traced
    for user in node.users:
        if not is_convolution(traced, user):
            return False
        layer = weighted(traced, user)
        if layer.dense or layer.transposed or isinstance(layer.layer, BinaryConv2d):
            return False
        extent = max(d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.weight.shape[2:], strict=True))
        if max(_sum(layer.padding, pads)) >= max(extent, 2):
            return False
    return bool(node.users)


def _sum(one: Pads, other: Pads) -> Pads:
    top, left, bottom, right = (a + b for a, b in zip(one, other, strict=True))
    return top, left, bottom, right
