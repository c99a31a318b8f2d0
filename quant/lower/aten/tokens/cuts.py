"""Parts of a dimension: slices of a stored tensor, or those filters of a layer that make them."""

from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import fx

from .....common.errors import UserError
from ....fold.assembly import Pending
from ....ops.move import AXES
from ....program import Convolution, Slice
from ...graph.nodes import is_call, said
from ...state import Lowering, Value
from ..table import Call

__all__ = ["cut"]

aten = torch.ops.aten
_CUTS = (aten.slice, aten.select, aten.chunk, aten.split, aten.split_with_sizes, aten.tensor_split, aten.unbind)
_VIEWS = (
    aten.view, aten.reshape, aten.flatten, aten.unflatten, aten.squeeze, aten.unsqueeze, aten.transpose, aten.permute,
    aten.contiguous, aten.clone,
)  # fmt: skip


def cut(lowering: Lowering, call: Call, dim: int, kept: range, *, keep: bool) -> Value:
    """What ``call`` has of its source: of dimension ``dim`` the numbers ``kept``; where not to ``keep`` it, one number,
    and the dimension is none any more.

    Queries, keys and values of one dense layer become three layers, each with its part of the filters, so that each is
    stored on the grid that suits it.
    """
    if not kept:
        raise UserError(f"slice at {said(call.node)} keeps nothing")
    layout = lowering.layout(call.source)
    if not layout.dims[dim]:
        return lowering.same(call.node, call.source, layout if keep else layout.without([dim], keep=False))
    first = layout.outermost(dim)
    at, place = first.axis_of(dim), first.place
    made = first.with_dim(dim, len(kept))
    assert at is not None and made is not None
    lowering.lay(call.node, (made if keep else made.without([dim], keep=False)).joined())
    inner = prod(axis.size for axis in place[at][len(layout.dims[dim]) :])
    if kept.step > 1 and inner > 1:
        raise UserError(f"slice at {said(call.node)} must keep neighbours; its step is {kept.step}")
    words = range(kept.start * inner, (kept[-1] + 1) * inner, kept.step)
    value = lowering.values[call.source]
    if call.source in lowering.layouts and at == 0 and place == layout.place and isinstance(value, Pending):
        found = _filters(lowering, call.source, value, words)
        if found is not None:
            return found
    if place != layout.place:
        # As a tensor of its own, for what is cut here may stand where it did for others.
        stored = lowering.arranged(lowering.store(call.source), layout, place)
        value = replace(stored, op=lowering.emit(_slice(lowering, call, stored.op, at, words), stored.step))
        lowering.stands_for(value.op, call.node)
        return value
    return lowering.moved(
        call.node, call.source, lambda name, op: replace(_slice(lowering, call, op, at, words), name=name), call.path
    )  # fmt: skip


def _slice(lowering: Lowering, call: Call, op: str, at: int, words: range) -> Slice:
    return Slice(
        name=lowering.unique(call.path), source=op, axis=AXES[at], start=words.start, stop=words[-1] + 1,
        step=words.step,
    )  # fmt: skip


def _filters(lowering: Lowering, source: fx.Node, value: Pending, rows: range) -> Pending | None:
    """The sums that some filters of a layer make, where all that is read of it are such parts."""
    whole = lowering.whole.get(value.op) or lowering.ops[value.op]
    if not isinstance(whole, Convolution) or whole.groups != 1 or not value.affine or not _only_cut(lowering, source):
        return None
    lowering.whole[value.op] = whole
    lowering.ops.pop(value.op, None)
    some = np.arange(rows.start, rows.stop, rows.step)
    part = replace(whole, name=lowering.unique(f"{whole.name}_{rows.start}"), weight=whole.weight[some])
    return replace(
        value, op=lowering.emit(part), gain=value.gain[some], centre=value.centre[some], bias=value.bias[some]
    )


def _only_cut(lowering: Lowering, node: fx.Node) -> bool:
    """Whether all that is read of ``node``'s value are parts."""
    while node in lowering.roots:
        node = lowering.roots[node]
    return _cut_by_all(node)


def _cut_by_all(node: fx.Node) -> bool:
    return all(is_call(user, *_CUTS) or (is_call(user, *_VIEWS) and _cut_by_all(user)) for user in node.users)
