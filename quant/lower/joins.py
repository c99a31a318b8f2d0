"""Lowering of what joins tensors: additions of a shortcut, and concatenations of channels."""

import operator
from dataclasses import replace

import torch
from torch import fx

from ...common.errors import UserError
from ..fold.assembly import Bits, Pending, Stored
from ..fold.calibrate import Grid
from ..formats import Format, signed, unsigned
from ..program import Concat
from .graph import tensor
from .state import Lowering, Value
from .table import lowers_calls

__all__ = ["add", "concat"]


@lowers_calls(operator.add, torch.add)
def add(lowering: Lowering, node: fx.Node) -> Pending:
    """A residual addition: the requantise of one operand adds the other."""
    if len(node.args) != 2 or node.kwargs:
        raise UserError(f"addition at {node.name!r} must be of two tensors, without a factor")
    left, right = (tensor(arg) for arg in node.args)
    if not _can_join(lowering, left):
        left, right = right, left
    main = lowering.values[left]
    if not isinstance(main, Pending) or not _can_join(lowering, left):
        raise UserError(f"addition at {node.name!r} must join a convolution and a shortcut")
    return replace(main, residual=_shortcut(lowering, right))


def _can_join(lowering: Lowering, node: fx.Node) -> bool:
    """Whether a shortcut can be added to what ``node`` left pending."""
    value = lowering.values[node]
    return isinstance(value, Pending) and value.residual is None and not value.relu


def _shortcut(lowering: Lowering, node: fx.Node) -> Stored:
    """What joins an addition: a convolution or what lies behind it, wider than features need to be."""
    value, scheme = lowering.values[node], lowering.scheme
    if not isinstance(value, Pending):
        return lowering.store(node)
    if value.relu:
        return lowering.materialize(node, unsigned(max(scheme.bits, scheme.residual_bits)))
    return lowering.materialize(node, signed(max(scheme.bits, scheme.shortcut_bits)))


@lowers_calls(torch.cat)
def concat(lowering: Lowering, node: fx.Node) -> Value:
    """Channels side by side, all on the widest of their grids."""
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if not isinstance(parts, list | tuple) or dimension != 1:
        raise UserError(f"concatenation at {node.name!r} must be of channels (dimension 1)")
    nodes = [tensor(part) for part in parts]
    values = [lowering.values[part] for part in nodes]
    if all(isinstance(value, Bits) for value in values):
        return Bits(op=_joined(lowering, node, [value.op for value in values]))
    grids = [lowering.grid(part) for part in nodes]
    fmt = Format(bits=max(g.format.bits for g in grids), signed=any(g.format.signed for g in grids))
    step = max(g.step if g.format == fmt else g.step * g.format.hi / fmt.hi for g in grids)
    same = [
        lowering.materialize(part, fmt, step) if isinstance(lowering.values[part], Pending)
        else lowering.store(part) if grid == Grid(format=fmt, step=step)
        else _regridded(lowering, lowering.store(part), step, fmt)
        for part, grid in zip(nodes, grids, strict=True)
    ]  # fmt: skip
    return Stored(op=_joined(lowering, node, [s.op for s in same], step), step=step)


def _regridded(lowering: Lowering, stored: Stored, step: float, fmt: Format) -> Stored:
    name = lowering.unique(f"{stored.op}_regrid")
    return lowering.requantise(name, lowering.pending_of(stored), step, fmt)


def _joined(lowering: Lowering, node: fx.Node, names: list[str], step: float | None = None) -> str:
    name = lowering.emit(
        Concat(name=lowering.unique(node.name), source=names[0], others=tuple(names[1:])), step
    )  # fmt: skip
    lowering.origins[name] = node.name
    return name
