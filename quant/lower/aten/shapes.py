"""Lowering of what changes no value: flatten and other views, identity and dropout, zeros around a map."""

import numpy as np
import torch
from torch import fx, nn

from ....common.errors import UserError
from ....models.layers.binary import BinaryConv2d
from ...fold.assembly import Pending, Stored
from ...formats import unsigned
from ...program import Convolution, Flatten
from ..graph.nodes import name_of, said, sizes
from ..graph.weights import is_convolution
from ..state import Lowering, Value
from .geometry import around
from .table import Call, lowers, refused

__all__ = ["dropout", "flatten", "identity", "pad", "unflatten", "view"]

aten = torch.ops.aten


@lowers(nn.Identity, nn.Dropout, aten.clone, aten.contiguous, aten.detach, aten.alias, aten.lift_fresh_copy)
def identity(lowering: Lowering, call: Call) -> Value:
    """What does nothing outside of training."""
    return lowering.same(call.node, call.source)


@lowers(aten.to, aten._to_copy)
def cast(lowering: Lowering, call: Call) -> Value:
    """A change between formats of real numbers."""
    if not call.node.meta["val"].is_floating_point():
        raise refused(call.node)
    return lowering.same(call.node, call.source)


@lowers(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout)
def dropout(lowering: Lowering, call: Call) -> Value:
    """Nothing outside of training."""
    if call.given["train"]:
        raise UserError(f"dropout at {said(call.node)} drops values when it runs, too; pass training=self.training")
    return lowering.same(call.node, call.source)


@lowers(aten.flatten)
def flatten(lowering: Lowering, call: Call) -> Value:
    """All of an image as channels of one pixel."""
    found = _viewed(lowering, call)
    if found is None:
        raise UserError(f"flatten at {call.path!r} must keep the batch and flatten all the rest")
    return found


@lowers(aten.unflatten)
def unflatten(lowering: Lowering, call: Call) -> Value:
    """Channels as channels of one pixel, which they are in a Program."""
    found = _viewed(lowering, call)
    if found is None:
        wanted = tuple(int(n) for n in call.given["sizes"])
        raise UserError(f"unflatten at {call.path!r} must make one pixel of all channels, not {wanted}")
    return found


@lowers(aten.view, aten.reshape, aten._unsafe_view, aten.squeeze, aten.unsqueeze, aten.select, aten.slice, aten.expand,
        aten.view_as, aten.reshape_as, aten.expand_as)  # fmt: skip
def view(lowering: Lowering, call: Call) -> Value:
    """A view that flattens, or takes away or adds dimensions of one element."""
    found = _viewed(lowering, call)
    if found is None:
        raise refused(call.node)
    return found


def _viewed(lowering: Lowering, call: Call) -> Value | None:
    """What a view with all the values of what it reads becomes, or None where it is neither that nor flat."""
    before, after = sizes(call.source), sizes(call.node)
    if str(before[0]) != str(after[0]):
        raise UserError(
            f"{name_of(call.node)} at {said(call.node)} must keep the batch: it makes {_shown(after)} of "
            f"{_shown(before)}"
        )
    if _dimensions(before) == _dimensions(after):
        return lowering.same(call.node, call.source)
    if len(after) == 2 and int(np.prod(before[1:])) == after[1]:
        if lowering.shape_of(call.source)[1:] == (1, 1):
            return lowering.same(call.node, call.source)
        return lowering.moved(
            call.node, call.source, lambda name, op: Flatten(name=name, source=op), call.node.name
        )  # fmt: skip
    return None


def _dimensions(shape: tuple[int, ...]) -> list[int]:
    """Channels, and of the others those of more than one element."""
    return [*shape[1:2], *(n for n in shape[2:] if n != 1)]


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(["batch" if not isinstance(n, int) else str(n) for n in shape])


@lowers(aten.pad, aten.constant_pad_nd)
def pad(lowering: Lowering, call: Call) -> Value:
    """Zeros around a map: padding of the convolutions behind it, or a convolution of ones of its own."""
    amounts = [int(n) for n in call.given["pad"]] + [0] * 8
    left, right, top, bottom = amounts[:4]
    pads = (top, left, bottom, right)
    mode, value = call.given.get("mode", "constant"), float(call.given["value"] or 0)
    if mode != "constant" or any(amounts[4:]) or min(pads) < 0:
        raise UserError(
            f"padding at {said(call.node)} must be of rows and columns with a constant, not {mode!r} {pads}"
        )
    if value == 0 and _absorbed(lowering, call.node, pads):
        lowering.pads[call.node] = _sum(pads, lowering.pads.get(call.source, (0, 0, 0, 0)))
        return lowering.same(call.node, call.source)
    stored = lowering.store(call.source)
    channels, fmt = lowering.shape(stored.op)[0], lowering.format(stored.op)
    word = np.full(channels, round(value / stored.step), np.int64)
    if not fmt.allows(word):
        raise UserError(f"padding at {said(call.node)} with {value:g} is out of the range of what it pads")
    name = lowering.emit(
        Convolution(
            name=lowering.unique(call.path), source=stored.op, kernel="mult", weight_format=unsigned(1),
            weight=np.ones((channels, 1, 1, 1), np.int64), pad=word, groups=channels, padding=around(pads, call.path),
        )
    )  # fmt: skip
    zero = np.zeros(channels)
    sums = Pending(op=name, gain=np.full(channels, stored.step), centre=zero, bias=zero)
    found: Stored = lowering.requantise(lowering.unique(f"{name}_out"), sums, stored.step, fmt)
    lowering.origins[found.op] = call.node.name
    return found


def _absorbed(lowering: Lowering, node: fx.Node, pads: tuple[int, int, int, int]) -> bool:
    """Whether all that reads ``node`` are convolutions that can pad for it."""
    traced = lowering.traced
    for user in node.users:
        if not is_convolution(traced, user) or (
            user.op == "call_module" and isinstance(traced.get_submodule(str(user.target)), BinaryConv2d)
        ):
            return False
        if user.op != "call_module" and "transpose" in name_of(user):
            return False
    return bool(node.users)


def _sum(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (a + b for a, b in zip(one, other, strict=True))
    return top, left, bottom, right
