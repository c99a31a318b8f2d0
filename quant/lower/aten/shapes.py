"""Lowering of what changes no value: flatten and other views, slices, identity and dropout."""

import operator

import numpy as np
import torch
from torch import fx, nn

from ....common.errors import UserError
from ...ops.move import AXES
from ...program import Flatten, Slice
from ..graph.nodes import given, is_call, name_of, said, sizes
from ..state import Lowering, Value
from .table import Call, lowers, refused

__all__ = ["cast", "dropout", "flatten", "identity", "one_of", "one_part", "part", "unflatten", "view"]

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


@lowers(aten.view, aten.reshape, aten._unsafe_view, aten.squeeze, aten.unsqueeze, aten.expand,
        aten.view_as, aten.reshape_as, aten.expand_as)  # fmt: skip
def view(lowering: Lowering, call: Call) -> Value:
    """A view that flattens, or takes away or adds dimensions of one element."""
    found = _viewed(lowering, call)
    if found is None and is_call(call.node, aten.expand, aten.expand_as) and _only_multiplied(lowering, call):
        return lowering.same(call.node, call.source)
    if found is None:
        raise refused(call.node)
    return found


def _only_multiplied(lowering: Lowering, call: Call) -> bool:
    """Whether ``call`` spreads one number for each channel over a map, for products alone: these spread it anyway."""
    gate = lowering.shape_of(call.source) == (sizes(call.node)[1], 1, 1) and len(sizes(call.source)) == 4
    return gate and all(is_call(user, aten.mul) for user in call.node.users)


@lowers(aten.slice)
def part(lowering: Lowering, call: Call) -> Value:
    """Some of the channels, rows or columns."""
    if (found := _viewed(lowering, call)) is not None:
        return found
    dim, size = _axis(call)
    return _sliced(lowering, call, dim, range(size)[call.given["start"] : call.given["end"] : call.given["step"]])


@lowers(aten.select)
def one_of(lowering: Lowering, call: Call) -> Value:
    """One row or column; one channel would leave none."""
    if (found := _viewed(lowering, call)) is not None:
        return found
    dim, size = _axis(call)
    if dim == 1:
        raise refused(call.node)
    at = range(size)[call.given["index"]]
    return _sliced(lowering, call, dim, range(at, at + 1))


@lowers(operator.getitem)
def one_part(lowering: Lowering, call: Call) -> Value:
    """One of the parts into which a tensor is split."""
    whole, at = call.node.args
    assert isinstance(whole, fx.Node) and isinstance(at, int)
    if not is_call(whole, aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split):
        raise refused(whole)
    dim = given(whole)["dim"] % len(sizes(call.source))
    parts = [int(part.shape[dim]) for part in whole.meta["val"]]
    begin = sum(parts[: at % len(parts)])
    return _sliced(lowering, call, dim, range(begin, begin + parts[at]))


def _axis(call: Call) -> tuple[int, int]:
    """The dimension that ``call`` cuts, and its size."""
    shape = sizes(call.source)
    dim = call.given["dim"] % len(shape)
    return dim, int(shape[dim])


def _sliced(lowering: Lowering, call: Call, dim: int, kept: range) -> Value:
    if not kept:
        raise UserError(f"slice at {said(call.node)} keeps nothing")
    if lowering.shape_of(call.source)[dim - 1] != sizes(call.source)[dim]:
        raise refused(call.node)
    return lowering.moved(
        call.node, call.source,
        lambda name, op: Slice(
            name=name, source=op, axis=AXES[dim - 1], start=kept.start, stop=kept[-1] + 1, step=kept.step
        ), call.path,
    )  # fmt: skip


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
