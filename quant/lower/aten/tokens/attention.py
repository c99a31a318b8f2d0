"""Lowering of attention: products of two tensors head by head, masks, and the softmax whose division waits."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from .....common.errors import UserError
from ....fold.assembly import Bits, Pending, Stored
from ....fold.tokens import decays
from ....formats import signed, unsigned
from ....program import MatMul, Reduce, Softmax
from ...graph.nodes import Floats, constant, numpy_of, path_of, said, sizes, tensor
from ...layout import Axis, Group, Layout, Place, plain_sizes
from ...state import Lowering, MaskedScores, Quotient, Value
from ..table import Call, lowers
from .places import tokens_of

__all__ = ["adder_scores", "hidden", "masked", "masked_fill", "product_of_tokens", "softmax"]

aten = torch.ops.aten
_SCORE_BITS = 16
"""The most bits of a score."""
_HIDDEN = -1e4
"""What is added to scores that nobody is to see is this low, or lower."""


@dataclass(frozen=True, kw_only=True)
class _Roles:
    """What the axes of a product (.., M, K) x (.., K, N) are: heads, sets of tokens apart, and M, K and N."""

    heads: Group
    sets: Group
    rows: Group
    inner: Group


@lowers(aten.matmul, aten.bmm, layouts="any")
def product_of_tokens(lowering: Lowering, call: Call) -> Value:
    """Scores, summed over the channels of heads, or a context, summed over tokens; which of the two is told by where
    the second tensor has what is summed."""
    a, b = (tensor(call.given[name]) for name in ("self", "other" if "other" in call.given else "mat2"))
    return _product(lowering, call, a, b, lowering.layout(b) if b in lowering.values else None, "mult")


@lowers(torch.ops.addax.adder_scores, layouts="any")
def adder_scores(lowering: Lowering, call: Call) -> Value:
    """Minus the distances of queries to keys, both on one grid."""
    queries, keys = (tensor(value) for value in call.node.args)
    rank = len(sizes(keys))
    turned = lowering.layout(keys).permuted([*range(rank - 2), rank - 1, rank - 2])
    return _product(lowering, call, queries, keys, turned, "adder")


def _product(
    lowering: Lowering, call: Call, a: fx.Node, b: fx.Node, turned: Layout | None, kernel: str
) -> Pending | Quotient:
    """The sums of ``a`` and ``b``, which has the layout ``turned`` once its K and N are in order."""
    if a not in lowering.values or turned is None or len(sizes(a)) != len(sizes(b)):
        raise UserError(
            f"product at {said(call.node)} must be of two tensors of the images with as many dimensions; write a dense "
            "layer for a product with weights"
        )
    mine = lowering.layout(a)
    scores = (set(turned.dims[-2]) <= set(turned.place[0]) and kernel == "adder") or _summed_in_channels(turned)
    first = _roles(mine, mine.dims[-2], mine.dims[-1])
    second = _partner(call, first, mine, turned)
    columns = turned.dims[-1]
    into: Place = (*first.heads, *first.inner), first.sets, first.rows
    other: Place = (*second.heads, *(second.inner if scores else columns)), second.sets, (
        columns if scores else second.inner
    )  # fmt: skip
    made = tuple(Axis(axis.size) for axis in columns)
    result = Layout(
        dims=(*mine.dims[:-1], made), place=((*first.heads, *made), first.sets, first.rows)
    )  # fmt: skip
    lowering.lay(call.node, result.joined())
    value = lowering.values[a]
    waits = isinstance(value, Quotient) and not scores and mine.place == into
    left, right = _operands(lowering, a, b, kernel, waits=waits)
    left = left if waits else lowering.arranged(left, mine, into)
    right = lowering.arranged(right, turned, other)
    name = lowering.emit(
        MatMul(
            name=lowering.unique(call.path), source=left.op, other=right.op, form="scores" if scores else "context",
            kernel=kernel, heads=prod(axis.size for axis in first.heads),
        )
    )  # fmt: skip
    channels = lowering.shape(name)[0]
    if waits:
        assert isinstance(value, Quotient)
        return Quotient(op=name, denominator=value.denominator, gain=np.full(channels, right.step * left.step))
    gain = left.step if kernel == "adder" else left.step * right.step
    zero = np.zeros(channels)
    return Pending(op=name, gain=zero + gain, centre=zero, bias=zero)


def _summed_in_channels(turned: Layout) -> bool:
    """Whether K of (.., K, N) stands in the channels, and N does not."""
    return set(turned.dims[-2]) <= set(turned.place[0]) and not set(turned.dims[-1]) <= set(turned.place[0])


def _roles(layout: Layout, rows: Group, inner: Group) -> _Roles:
    """What the axes of (.., M, K) are: those of a batch that stand in the channels are heads."""
    among = [axis for group in layout.dims[:-2] for axis in group if axis not in layout.batch]
    heads = tuple(axis for axis in among if axis in layout.place[0])
    return _Roles(heads=heads, sets=tuple(axis for axis in among if axis not in heads), rows=rows, inner=inner)


def _partner(call: Call, first: _Roles, mine: Layout, turned: Layout) -> _Roles:
    """The same roles of the second tensor; raises `UserError` where its batch is cut otherwise."""
    ours, theirs = (
        [axis for group in layout.dims[:-2] for axis in group if axis not in layout.batch] for layout in (mine, turned)
    )
    if [axis.size for axis in ours] != [axis.size for axis in theirs] or not _same_batch(mine, turned):
        raise UserError(f"product at {said(call.node)} must be of tensors with the same heads")
    named = dict(zip(ours, theirs, strict=True))
    heads, sets = (tuple(named[axis] for axis in group) for group in (first.heads, first.sets))
    return _Roles(heads=heads, sets=sets, rows=turned.dims[-1], inner=turned.dims[-2])


def _same_batch(mine: Layout, turned: Layout) -> bool:
    return [len(group) for group in mine.dims[:-2]] == [len(group) for group in turned.dims[:-2]]


def _operands(
    lowering: Lowering, a: fx.Node, b: fx.Node, kernel: str, *, waits: bool
) -> tuple[Stored, Stored]:  # fmt: skip
    """What is multiplied; of an adder kernel on one grid, as wide as the wider of the two. Where the quotient of ``a``
    waits, what it is made of, in units of the quotient."""
    if waits:
        value = lowering.values[a]
        assert isinstance(value, Quotient)
        return Stored(op=value.op, step=float(value.gain[0])), lowering.store(b)
    if kernel == "mult":
        return lowering.store(a), lowering.store(b)
    grids = [lowering.grid(node) for node in (a, b)]
    fmt = signed(max(grid.format.bits + (not grid.format.signed) for grid in grids))
    step = max(grid.step * grid.format.hi for grid in grids) / fmt.hi
    left, right = (_on(lowering, node, fmt, step) for node in (a, b))
    return left, right


def _on(lowering: Lowering, node: fx.Node, fmt: Any, step: float) -> Stored:
    value = lowering.values[node]
    if not isinstance(value, Stored | Bits):
        return lowering.materialize(node, fmt, step)
    stored = lowering.store(node)
    if (lowering.format(stored.op), stored.step) == (fmt, step):
        return stored
    return lowering.requantise(lowering.unique(f"{stored.op}_regrid"), lowering.pending_of(stored), step, fmt)


@lowers(aten.softmax, aten._softmax, layouts="any")
def softmax(lowering: Lowering, call: Call) -> Quotient:
    """Exponentials over their sum, along any dimension; what is made of them is divided once."""
    value, node = lowering.values[call.source], call.source
    seen: NDArray[Any] | None = None
    while isinstance(value, MaskedScores):
        node, seen = value.node, value.seen if seen is None else seen & value.seen
        value = lowering.values[node]
    layout, dim = lowering.layout(node), call.given["dim"] % len(sizes(call.source))
    group = layout.dims[dim]
    if not group or set(group) & set(layout.batch):
        raise UserError(f"softmax at {said(call.node)} must be over several numbers of one image, not dimension {dim}")
    among = layout.place[0]
    place = layout.place if among[len(among) - len(group) :] == group else tokens_of(layout, group)
    heads = prod(axis.size for axis in place[0][: len(place[0]) - len(group)])
    there = Layout(dims=layout.dims, place=place)
    lowering.lay(call.node, there)
    stored = lowering.arranged(_scores(lowering, node), layout, place)
    fmt = unsigned(max(8, lowering.scheme.bits))
    mask = None if seen is None else _same_for_all(call, there, seen, heads, plain_sizes(sizes(node), 1))
    path = lowering.unique(call.path)
    op = Softmax(name=path, source=stored.op, entries=decays(stored.step, fmt), format=fmt, heads=heads, mask=mask)
    name = lowering.emit(op)
    total = lowering.emit(Reduce(name=lowering.unique(f"{path}_sum"), source=name, how="sum", parts=heads))
    return Quotient(op=name, denominator=total, gain=np.ones(lowering.shape(name)[0]))


def _scores(lowering: Lowering, node: fx.Node) -> Stored:
    """What a softmax reads: steps of 1/32, of more bits finer ones, wide enough for all scores of the calibration."""
    value, limit = lowering.values[node], min(_SCORE_BITS, lowering.scheme.most_bits)
    if isinstance(value, Stored | Bits):
        stored = lowering.store(node)
        if lowering.format(stored.op).bits <= limit:
            return stored
    step = 2.0 ** -min(8, max(5, lowering.scheme.bits - 3))
    most = lowering.ranges.statistics[lowering.root(node).name].most
    bits = max(8, int(np.ceil(np.log2(max(most, step) / step + 1))) + 1)
    if bits > limit:
        bits, step = limit, most / signed(limit).hi
        lowering.note(f"scores at {path_of(node)!r} reach {most:.3g}; their step is {step:.2g}")
    return _on(lowering, node, signed(bits), step)


def _same_for_all(
    call: Call, layout: Layout, seen: NDArray[Any], heads: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """A mask as (W, J); raises `UserError` where heads or rows have different ones."""
    whole = layout.arranged(np.broadcast_to(seen, shape)).reshape(heads, -1, *layout.shape[1:])
    if not (whole == whole[:1, :, :1]).all():
        raise UserError(f"the mask of the softmax at {said(call.node)} must be the same for all heads and images")
    return np.ascontiguousarray(whole[0, :, 0].T).astype(np.int64)


def hidden(numbers: Floats) -> NDArray[np.bool_] | None:
    """Of what is added to scores: which stay as they are, where the others are hidden; None where it hides none."""
    low = numbers <= _HIDDEN
    return numbers == 0 if low.any() and (low | (numbers == 0)).all() else None


def masked(lowering: Lowering, node: fx.Node, scores: fx.Node, seen: NDArray[np.bool_]) -> MaskedScores:
    """``scores`` of which a softmax is to see only those ``seen``."""
    lowering.lay(node, lowering.layouts.get(scores))
    return MaskedScores(node=scores, seen=seen)


@lowers(aten.masked_fill, layouts="any")
def masked_fill(lowering: Lowering, call: Call) -> MaskedScores:
    """Scores that a constant mask hides."""
    found = constant(lowering.traced, call.given["mask"])
    value = constant(lowering.traced, call.given["value"])
    if found is None:
        raise UserError(f"the mask at {said(call.node)} depends on the images; only a constant one is supported")
    if value is None or float(value) > _HIDDEN:
        raise UserError(f"masked_fill at {said(call.node)} must hide scores, with -inf or less than {_HIDDEN:g}")
    return masked(lowering, call.node, call.source, numpy_of(found) == 0)
