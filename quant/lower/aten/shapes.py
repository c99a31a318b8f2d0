"""Lowering of what changes no value: flatten and other views, slices, identity and dropout.

Views of what is no map move nothing: they say where its dimensions stand, see `layout`.
"""

import operator

import numpy as np
import torch
from torch import fx, nn

from ....common.errors import UserError
from ...program import Flatten
from ..graph.nodes import given, is_call, name_of, said, sizes
from ..state import Lowering, Value
from .table import Call, lowers, refused
from .tokens.cuts import cut

__all__ = ["cast", "dropout", "expand", "identity", "one_of", "one_part", "part", "permute", "view"]

aten = torch.ops.aten


@lowers(
    nn.Identity, nn.Dropout, aten.clone, aten.contiguous, aten.detach, aten.alias, aten.lift_fresh_copy, layouts="any"
)
def identity(lowering: Lowering, call: Call) -> Value:
    """What does nothing outside of training."""
    return lowering.same(call.node, call.source)


@lowers(aten.to, aten._to_copy, layouts="any")
def cast(lowering: Lowering, call: Call) -> Value:
    """A change between formats of real numbers."""
    if not call.node.meta["val"].is_floating_point():
        raise refused(call.node)
    return lowering.same(call.node, call.source)


@lowers(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout, layouts="any")
def dropout(lowering: Lowering, call: Call) -> Value:
    """Nothing outside of training."""
    if call.given["train"]:
        raise UserError(f"dropout at {said(call.node)} drops values when it runs, too; pass training=self.training")
    return lowering.same(call.node, call.source)


@lowers(
    aten.flatten, aten.unflatten, aten.view, aten.reshape, aten._unsafe_view, aten.squeeze, aten.unsqueeze,
    aten.view_as, aten.reshape_as, layouts="any",
)  # fmt: skip
def view(lowering: Lowering, call: Call) -> Value:
    """Other dimensions of the same numbers in the same order."""
    if (found := _viewed(lowering, call)) is not None:
        return found
    layout = lowering.layout(call.source).viewed(sizes(call.node))
    if layout is None:
        raise UserError(
            f"{name_of(call.node)} at {said(call.node)} cuts across dimensions: it makes {_shown(sizes(call.node))} of "
            f"{_shown(sizes(call.source))}"
        )
    return lowering.same(call.node, call.source, layout)


@lowers(aten.expand, aten.expand_as, layouts="any")
def expand(lowering: Lowering, call: Call) -> Value:
    """Nothing, or one number for each channel spread over a map, for products alone."""
    if (found := _viewed(lowering, call)) is not None:
        return found
    if [n for n in sizes(call.node) if n != 1] == [n for n in sizes(call.source) if n != 1]:
        return lowering.same(call.node, call.source, lowering.layout(call.source).viewed(sizes(call.node)))
    if call.source not in lowering.layouts and _only_multiplied(lowering, call):
        return lowering.same(call.node, call.source)
    raise refused(call.node)


@lowers(aten.transpose, aten.permute, aten.t, aten.numpy_T, aten.mT, aten.swapaxes, aten.movedim, layouts="any")
def permute(lowering: Lowering, call: Call) -> Value:
    """Dimensions in another order."""
    layout = lowering.layout(call.source).permuted(_order(call))
    return lowering.same(call.node, call.source, layout.joined())


def _order(call: Call) -> list[int]:
    """Which dimension comes first, second, .. behind ``call``."""
    rank, given = len(sizes(call.source)), call.given
    marks = torch.empty(tuple(range(2, rank + 2)), device="meta")
    assert not isinstance(call.node.target, str)
    moved = call.node.target(marks, *call.node.args[1:], **call.node.kwargs)
    return [int(size) - 2 for size in moved.shape] if given else list(range(rank))


def _only_multiplied(lowering: Lowering, call: Call) -> bool:
    """Whether ``call`` spreads one number for each channel over a map, for products alone: these spread it anyway."""
    gate = lowering.shape_of(call.source) == (sizes(call.node)[1], 1, 1) and len(sizes(call.source)) == 4
    return gate and all(is_call(user, aten.mul) for user in call.node.users)


@lowers(aten.slice, layouts="any")
def part(lowering: Lowering, call: Call) -> Value:
    """Some of a dimension."""
    dim, size = _axis(call)
    if str(sizes(call.node)) == str(sizes(call.source)):
        return lowering.same(call.node, call.source)
    kept = range(size)[call.given["start"] : call.given["end"] : call.given["step"]]
    return cut(lowering, call, dim, kept, keep=True)


@lowers(aten.select, layouts="any")
def one_of(lowering: Lowering, call: Call) -> Value:
    """One of a dimension, which is none any more."""
    dim, size = _axis(call)
    at = range(size)[call.given["index"]]
    return cut(lowering, call, dim, range(at, at + 1), keep=False)


@lowers(operator.getitem, layouts="any")
def one_part(lowering: Lowering, call: Call) -> Value:
    """One of the parts into which a tensor is split."""
    whole, at = call.node.args
    assert isinstance(whole, fx.Node) and isinstance(at, int)
    if is_call(whole, aten.unbind):
        dim = given(whole)["dim"] % len(sizes(call.source))
        at %= int(sizes(call.source)[dim])
        return cut(lowering, call, dim, range(at, at + 1), keep=False)
    if not is_call(whole, aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split):
        raise refused(whole)
    dim = given(whole)["dim"] % len(sizes(call.source))
    parts = [int(part.shape[dim]) for part in whole.meta["val"]]
    begin = sum(parts[: at % len(parts)])
    return cut(lowering, call, dim, range(begin, begin + parts[at]), keep=True)


def _axis(call: Call) -> tuple[int, int]:
    """The dimension that ``call`` cuts, and its size."""
    shape = sizes(call.source)
    dim = call.given["dim"] % len(shape)
    if not isinstance(shape[dim], int):
        if str(sizes(call.node)) == str(shape):
            return dim, 0
        raise UserError(
            f"{name_of(call.node)} at {said(call.node)} must keep the batch: it makes {_shown(sizes(call.node))} of "
            f"{_shown(shape)}"
        )
    return dim, int(shape[dim])


def _viewed(lowering: Lowering, call: Call) -> Value | None:
    """What a view with all the values of what it reads becomes, or None where it is neither that nor flat."""
    before, after = sizes(call.source), sizes(call.node)
    if str(before) == str(after):
        return lowering.same(call.node, call.source)
    if call.source in lowering.layouts or str(before[0]) != str(after[0]):
        return None
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
