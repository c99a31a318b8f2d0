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
from ...ops.move import AXES
from ...program import Concat, Constant
from ..graph.nodes import Floats, constant, is_call, numpy_of, path_of, said, sizes, tensor
from ..layout import Layout
from ..readers import wanted
from ..state import Curve, Lowering, Quotient, Value
from .table import Call, lowers

__all__ = [
    "Known", "as_beside", "beside", "common_grid", "concat", "concatenated", "fqn_of", "joined", "joined_constant",
    "on_grid", "scaled", "shortcut",
]  # fmt: skip

aten = torch.ops.aten


def joined(lowering: Lowering, node: fx.Node, left: fx.Node, right: fx.Node, alpha: float) -> Pending:
    """``node``, ``left + alpha * right``: the requantise of one operand adds the other, whose factor has to be
    positive."""
    lowering.lay(node, lowering.layouts.get(left))
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
    lowering.layouts.pop(node, None)
    lowering.lay(node, lowering.layouts.get(main))
    added = as_beside(lowering, shortcut(lowering, other), other, main)
    if factors[other] != 1:
        added = Stored(op=added.op, step=added.step * factors[other])
    if added.op == value.op and value.bend is None:  # one tensor by two names
        return replace(value, gain=value.gain + added.step)
    return replace(value, residual=added)


def joined_constant(lowering: Lowering, node: fx.Node, factor: float, known: "Known") -> Pending:
    """``factor`` times ``node``, and a constant (C, H, W) added as a shortcut is."""
    found = lowering.values[node]
    if isinstance(found, Pending) and _can_join(lowering, node) and len(node.users) == 1:
        value = found
    else:
        value = lowering.pending_of(shortcut(lowering, node))
    fmt = signed(lowering.scheme.joining_bits)
    step = float(np.abs(known.value).max()) / fmt.hi
    if lowering.scheme.pow2_steps:
        step = float(2.0 ** np.ceil(np.log2(step)))
    added = Stored(op=_placed(lowering, known, fmt, step), step=step)
    return replace(value if factor == 1 else scaled(value, factor), residual=added)


def as_beside(lowering: Lowering, stored: Stored, node: fx.Node, other: fx.Node) -> Stored:
    """What ``node`` is stored as, moved so that it lies as ``other`` does, a tensor of the same shape."""
    if node not in lowering.layouts and other not in lowering.layouts:
        return stored
    found = lowering.layout(node).like(lowering.layout(other))
    if found is None:
        raise UserError(f"{said(node)} and {said(other)} are cut into dimensions that no common order has")
    return lowering.arranged(stored, *found)


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
    if not isinstance(value, Pending | Quotient):
        return lowering.store(node)
    if isinstance(value, Pending) and value.relu:
        return lowering.materialize(node, unsigned(max(scheme.bits, scheme.residual_bits)))
    return lowering.materialize(node, signed(scheme.joining_bits))


@lowers(aten.cat, layouts="any")
def concat(lowering: Lowering, call: Call) -> Value:
    """Channels side by side, all on the widest of their grids."""
    node, parts = call.node, call.given["tensors"]
    nodes, dim = [tensor(part) for part in parts], call.given["dim"] % len(sizes(node))
    if any(part in lowering.layouts for part in nodes):
        return concatenated(lowering, node, nodes, dim)
    if dim != 1:
        raise UserError(f"concatenation at {node.name!r} must be of channels (dimension 1)")
    return beside(lowering, node, [_known(lowering, part) or part for part in nodes])


def concatenated(lowering: Lowering, node: fx.Node, parts: Sequence[fx.Node], dim: int) -> Stored:
    """Tensors of any layout, and constants, behind each other along ``dim`` of theirs."""
    first = next(part for part in parts if part in lowering.values)
    layout = lowering.layout(first).outermost(dim)
    at, whole = layout.axis_of(dim), layout.with_dim(dim, int(sizes(node)[dim]))
    if at is None or whole is None:
        raise UserError(f"concatenation at {said(node)}: nothing else may stand in rows and columns")
    like = {part: layout.with_dim(dim, int(sizes(part)[dim])) for part in parts}
    known = {part: _known_as(lowering, part, found) for part, found in like.items() if found is not None}
    constants = {part: found for part, found in known.items() if found is not None}
    fmt, step = common_grid([_concat_grid(lowering, node, part) for part in parts if part not in constants])
    if constants:
        fmt, step = _holding(lowering, node, [found.value for found in constants.values()], fmt, step)
    names = []
    for part in parts:
        if part in constants:
            names.append(_placed(lowering, constants[part], fmt, step))
            continue
        stored, wanted_layout = Stored(op=on_grid(lowering, part, fmt, step), step=step), like[part]
        assert wanted_layout is not None
        found = lowering.layout(part).like(wanted_layout)
        if found is None:
            raise UserError(f"concatenation at {said(node)} must be of tensors that lie alike")
        names.append(lowering.arranged(stored, *found).op)
    lowering.lay(node, whole.joined())
    name = lowering.emit(
        Concat(name=lowering.unique(node.name), source=names[0], others=tuple(names[1:]), axis=AXES[at]), step
    )
    lowering.stands_for(name, node)
    return Stored(op=name, step=step)


def _concat_grid(lowering: Lowering, node: fx.Node, part: fx.Node) -> Grid:
    """The grid on which ``part`` is to be stored: as wide as a shortcut where ``node`` is only added to."""
    value = lowering.values[part]
    joins = bool(node.users) and all(is_call(user, aten.add) for user in node.users)
    if joins and isinstance(value, Pending | Quotient):
        stored = shortcut(lowering, part)
        return Grid(format=lowering.format(stored.op), step=stored.step)
    return lowering.grid(part)


def _known_as(lowering: Lowering, part: fx.Node, layout: Layout) -> "Known | None":
    """A constant as (C, H, W) of ``layout``; None where ``part`` depends on the images."""
    found = constant(lowering.traced, part)
    return None if found is None else Known(value=layout.arranged(numpy_of(found)), name=fqn_of(part))


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
    if isinstance(lowering.values[part], Pending | Curve | Quotient):
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
    return Known(value=numpy_of(found).reshape(shape if len(shape) == 3 else (*shape, 1, 1)), name=fqn_of(part))


def fqn_of(part: fx.Node) -> str:
    """The name of the parameter or buffer that a constant is, or is made of."""
    known = part
    while known.op != "get_attr" and known.all_input_nodes:
        known = known.all_input_nodes[0]
    return str(known.meta["fqn"]) if known.op == "get_attr" else path_of(part)


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
