"""Lowering of what joins tensors: additions of a shortcut, and concatenations of channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx

from ....common.errors import UserError
from ...fold.assembly import Bits, Pending, Stored
from ...fold.calibrate import Grid
from ...formats import Format, signed, unsigned
from ...program import Concat, Constant
from ..graph.nodes import Floats, constant, numpy_of, path_of, sizes, tensor
from ..readers import wanted
from ..state import Curve, Lowering, Value
from .table import Call, lowers

__all__ = ["Known", "beside", "common_grid", "concat", "joined", "on_grid", "scaled", "shortcut"]

aten = torch.ops.aten


def joined(lowering: Lowering, left: fx.Node, right: fx.Node, alpha: float) -> Pending:
    """``left + alpha * right``: the requantise of one operand adds the other, whose factor has to be positive."""
    if left is right:
        value = lowering.pending_of(lowering.store(left))
        return replace(value, gain=value.gain * (1 + alpha))
    factors = {left: 1.0, right: alpha}
    left_joins, right_joins = _can_join(lowering, left), _can_join(lowering, right)
    # Sums that others read as well would be requantised twice; where the other operand's do not join, they are stored.
    shared = {node: len(node.users) > 1 for node in factors}
    takes_left = alpha > 0 and (not right_joins or (left_joins and (shared[right] or not shared[left])))
    main, other = (left, right) if takes_left else (right, left)
    found = lowering.values[main]
    if not isinstance(found, Pending) or not _can_join(lowering, main):
        value = lowering.pending_of(lowering.store(main))
    elif shared[main]:
        value = lowering.pending_of(shortcut(lowering, main))
    else:
        value = found
    if factors[main] != 1:
        value = scaled(value, factors[main])
    added = shortcut(lowering, other)
    if factors[other] != 1:
        added = Stored(op=added.op, step=added.step * factors[other])
    if added.op == value.op and value.bend is None:  # one tensor by two names
        return replace(value, gain=value.gain + added.step)
    return replace(value, residual=added)


def _can_join(lowering: Lowering, node: fx.Node) -> bool:
    """Whether a shortcut can be added to what ``node`` left pending."""
    value = lowering.values[node]
    return isinstance(value, Pending) and value.open and value.shuffle == 1


def scaled(value: Pending, factor: float) -> Pending:
    """``value``, which no clamp ends, times a factor of either sign."""
    if value.bend is not None:
        return replace(value, bend=value.bend.then(np.full(1, factor), np.zeros(1)))
    return replace(value, gain=value.gain * factor, bias=value.bias * factor)


def shortcut(lowering: Lowering, node: fx.Node) -> Stored:
    """What ``node`` joins an addition as: a convolution or what lies behind it, wider than features need to be."""
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
    return beside(lowering, node, [_known(lowering, part) or part for part in nodes])


@dataclass(frozen=True, kw_only=True)
class Known:
    """A tensor that is the same for every image: ``value`` (C, H, W), and a name for it."""

    value: Floats
    name: str


def beside(lowering: Lowering, node: fx.Node, parts: Sequence[fx.Node | Known]) -> Value:
    """``node`` as channels of ``parts`` side by side, of which one at least is a tensor of the graph."""
    constants = [part.value for part in parts if isinstance(part, Known)]
    nodes = [part for part in parts if isinstance(part, fx.Node)]
    values = [lowering.values[part] for part in nodes]
    bits = [value.op for value in values if isinstance(value, Bits)]
    if not constants and len(bits) == len(values):
        return Bits(op=_side_by_side(lowering, node, bits))
    fmt, step = common_grid([lowering.grid(part) for part in nodes])
    if constants:
        fmt, step = _holding(lowering, node, constants, fmt, step)
    same = [
        on_grid(lowering, part, fmt, step) if isinstance(part, fx.Node) else _placed(lowering, part, fmt, step)
        for part in parts
    ]
    return Stored(op=_side_by_side(lowering, node, same, step), step=step)


def common_grid(grids: Sequence[Grid]) -> tuple[Format, float]:
    """The widest of ``grids``."""
    fmt = Format(bits=max(g.format.bits for g in grids), signed=any(g.format.signed for g in grids))
    return fmt, max(g.step if g.format == fmt else g.step * g.format.hi / fmt.hi for g in grids)


def _holding(
    lowering: Lowering, node: fx.Node, constants: Sequence[Floats], fmt: Format, step: float
) -> tuple[Format, float]:
    """The grid of ``fmt`` and ``step``; where it does not hold ``constants``, one that does, as wide as the readers of
    ``node`` want it."""
    reach, most = fmt.hi * step, max(float(np.abs(value).max()) for value in constants)
    signs = not fmt.signed and any(bool((value < 0).any()) for value in constants)
    bits, _ = wanted(lowering.traced, node, lowering.scheme)
    near = fmt.bits >= bits or all(np.allclose(value, step * np.rint(value / step)) for value in constants)
    if most <= reach and not signs and near:
        return fmt, step
    fmt = Format(bits=max(fmt.bits, bits), signed=fmt.signed or signs)
    step = max(reach, most) / fmt.hi
    return fmt, float(2.0 ** np.ceil(np.log2(step))) if lowering.scheme.pow2_steps else step


def on_grid(lowering: Lowering, part: fx.Node, fmt: Format, step: float) -> str:
    """The operation that has ``part`` on the grid of ``fmt`` and ``step``."""
    if isinstance(lowering.values[part], Pending | Curve):
        return lowering.materialize(part, fmt, step).op
    grid = lowering.grid(part)
    stored = lowering.store(part)
    return stored.op if grid == Grid(format=fmt, step=step) else _regridded(lowering, stored, step, fmt).op


def _known(lowering: Lowering, part: fx.Node) -> Known | None:
    """What ``part`` is, under the name of the buffer that it is, or is made of; None where it depends on the images."""
    found = constant(lowering.traced, part)
    if found is None:
        return None
    shape = tuple(found.shape[1:])
    known = part
    while known.op != "get_attr" and known.all_input_nodes:
        known = known.all_input_nodes[0]
    name = str(known.meta["fqn"]) if known.op == "get_attr" else path_of(part)
    return Known(value=numpy_of(found).reshape(shape if len(shape) == 3 else (*shape, 1, 1)), name=name)


def _placed(lowering: Lowering, known: Known, fmt: Format, step: float) -> str:
    words = np.rint(known.value / step).astype(np.int64).clip(fmt.lo, fmt.hi)
    return lowering.emit(Constant(name=lowering.unique(known.name), value=words, format=fmt), step)


def _regridded(lowering: Lowering, stored: Stored, step: float, fmt: Format) -> Stored:
    name = lowering.unique(f"{stored.op}_regrid")
    return lowering.requantise(name, lowering.pending_of(stored), step, fmt)


def _side_by_side(lowering: Lowering, node: fx.Node, names: list[str], step: float | None = None) -> str:
    name = lowering.emit(
        Concat(name=lowering.unique(node.name), source=names[0], others=tuple(names[1:])), step
    )  # fmt: skip
    lowering.origins[name] = node.name
    return name
