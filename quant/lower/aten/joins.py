"""Lowering of what joins tensors: additions of a shortcut, and concatenations of channels."""

from dataclasses import replace

import torch
from torch import fx

from ....common.errors import UserError
from ...fold.assembly import Bits, Pending, Stored
from ...fold.calibrate import Grid
from ...formats import Format, signed, unsigned
from ...program import Concat
from ..graph.nodes import sizes, tensor
from ..state import Lowering, Value
from .table import Call, lowers

__all__ = ["concat", "joined"]

aten = torch.ops.aten


def joined(lowering: Lowering, left: fx.Node, right: fx.Node, alpha: float) -> Pending:
    """``left + alpha * right``: the requantise of one operand adds the other, whose factor has to be positive."""
    if left is right:
        value = lowering.pending_of(lowering.store(left))
        return replace(value, gain=value.gain * (1 + alpha))
    factors = {left: 1.0, right: alpha}
    takes_left = alpha > 0 and (_can_join(lowering, left) or not _can_join(lowering, right))
    main, other = (left, right) if takes_left else (right, left)
    found = lowering.values[main]
    joins = isinstance(found, Pending) and _can_join(lowering, main)
    value = found if isinstance(found, Pending) and joins else lowering.pending_of(lowering.store(main))
    if factors[main] != 1:
        value = replace(value, gain=value.gain * factors[main], bias=value.bias * factors[main])
    shortcut = _shortcut(lowering, other)
    if factors[other] != 1:
        shortcut = Stored(op=shortcut.op, step=shortcut.step * factors[other])
    if shortcut.op == value.op:  # one tensor by two names
        return replace(value, gain=value.gain + shortcut.step)
    return replace(value, residual=shortcut)


def _can_join(lowering: Lowering, node: fx.Node) -> bool:
    """Whether a shortcut can be added to what ``node`` left pending."""
    value = lowering.values[node]
    return isinstance(value, Pending) and value.affine and value.shuffle == 1


def _shortcut(lowering: Lowering, node: fx.Node) -> Stored:
    """What joins an addition: a convolution or what lies behind it, wider than features need to be."""
    value, scheme = lowering.values[node], lowering.scheme
    if not isinstance(value, Pending):
        return lowering.store(node)
    if value.relu:
        return lowering.materialize(node, unsigned(max(scheme.bits, scheme.residual_bits)))
    return lowering.materialize(node, signed(max(scheme.bits, scheme.shortcut_bits)))


@lowers(aten.cat)
def concat(lowering: Lowering, call: Call) -> Value:
    """Channels side by side, all on the widest of their grids."""
    node, parts = call.node, call.given["tensors"]
    if call.given["dim"] not in (1, 1 - len(sizes(node))):
        raise UserError(f"concatenation at {node.name!r} must be of channels (dimension 1)")
    nodes = [tensor(part) for part in parts]
    values = [lowering.values[part] for part in nodes]
    if all(isinstance(value, Bits) for value in values):
        return Bits(op=_side_by_side(lowering, node, [value.op for value in values]))
    grids = [lowering.grid(part) for part in nodes]
    fmt = Format(bits=max(g.format.bits for g in grids), signed=any(g.format.signed for g in grids))
    step = max(g.step if g.format == fmt else g.step * g.format.hi / fmt.hi for g in grids)
    same = [
        lowering.materialize(part, fmt, step) if isinstance(lowering.values[part], Pending)
        else lowering.store(part) if grid == Grid(format=fmt, step=step)
        else _regridded(lowering, lowering.store(part), step, fmt)
        for part, grid in zip(nodes, grids, strict=True)
    ]  # fmt: skip
    return Stored(op=_side_by_side(lowering, node, [s.op for s in same], step), step=step)


def _regridded(lowering: Lowering, stored: Stored, step: float, fmt: Format) -> Stored:
    name = lowering.unique(f"{stored.op}_regrid")
    return lowering.requantise(name, lowering.pending_of(stored), step, fmt)


def _side_by_side(lowering: Lowering, node: fx.Node, names: list[str], step: float | None = None) -> str:
    name = lowering.emit(
        Concat(name=lowering.unique(node.name), source=names[0], others=tuple(names[1:])), step
    )  # fmt: skip
    lowering.origins[name] = node.name
    return name
