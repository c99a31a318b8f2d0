"""Lowering of choices: which channel of a pixel is the largest, and one of several tensors for each pixel by that."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from ....common.errors import UserError
from ...fold.assembly import Stored
from ...program import ArgMax, Select
from ..graph.nodes import argument, is_call, said, sizes, tensor
from ..state import Lowering
from .joins import common_grid, on_grid, shortcut
from .table import Call, lowers, refused

__all__ = ["arg_max", "choice", "left_to_readers"]

aten = torch.ops.aten
_COMPARED: Mapping[Any, Callable[[int, int], bool]] = {
    aten.eq: operator.eq, aten.ne: operator.ne, aten.lt: operator.lt, aten.le: operator.le, aten.gt: operator.gt,
    aten.ge: operator.ge,
}  # fmt: skip
_SHAPED = (
    aten.unsqueeze, aten.squeeze, aten.view, aten.reshape, aten.expand, aten.expand_as, aten.slice, aten.clone,
)  # fmt: skip
"""What may give numbers of pixels another shape; whether it is one of pixels is looked at where they choose."""


def left_to_readers(node: fx.Node) -> bool:
    """Whether what ``node`` gives is no tensor of a Program: the numbers of an arg-max in another shape or compared,
    which only choices read, or a choice that is the rest of another one by the same numbers."""
    if is_call(node, aten.where):
        return _is_rest(node)
    return not is_call(node, aten.argmax) and _arg_max_of(node) is not None and _only_chooses(node)


@lowers(aten.argmax)
def arg_max(lowering: Lowering, call: Call) -> Stored:
    """The number of the largest channel; channels are compared on a grid as wide as that of a shortcut."""
    dim, rank = call.given["dim"], len(sizes(call.source))
    if dim is None or dim % rank != 1:
        raise UserError(f"argmax at {said(call.node)} must be over channels, dimension 1")
    compared = shortcut(lowering, call.source)
    name = lowering.emit(ArgMax(name=lowering.unique(call.path), source=compared.op), 1.0)
    return Stored(op=name, step=1.0)


@lowers(aten.where)
def choice(lowering: Lowering, call: Call) -> Stored:
    """One of several tensors for each pixel, all on the widest of their grids."""
    chain = _chain(call.node)
    (numbers,) = {_numbers(lowering, node) for node in chain}
    leaves = [tensor(_chosen(chain, number)) for number in range(lowering.shape_of(argument(numbers))[0])]
    if any(leaf not in lowering.values for leaf in leaves):
        raise refused(call.node)
    fmt, step = common_grid([lowering.grid(leaf) for leaf in leaves])
    stored = {leaf: on_grid(lowering, leaf, fmt, step) for leaf in dict.fromkeys(leaves)}
    name = lowering.unique(call.path)
    mask = lowering.store(numbers).op
    lowering.emit(Select(name=name, source=mask, branches=tuple(stored[leaf] for leaf in leaves)), step)
    lowering.origins[name] = call.node.name
    return Stored(op=name, step=step)


def _numbers(lowering: Lowering, node: fx.Node) -> fx.Node:
    """The arg-max by which ``node`` chooses; raises `UserError` where it is by anything else, or not pixel by pixel."""
    condition = tensor(node.args[0])
    numbers, shape, result = _arg_max_of(condition), sizes(condition), sizes(node)
    if numbers is None or numbers not in lowering.values:
        raise UserError(
            f"where at {said(node)} must choose by an argmax over channels that is compared with a number, as in "
            "torch.where(x.argmax(1, keepdim=True) == 0, a, b)"
        )
    pixels = lowering.shape_of(numbers)[1:] if len(result) == 4 else ()
    if len(shape) != len(result) or str(shape[0]) != str(result[0]) or tuple(shape[2:]) != pixels:
        raise UserError(
            f"where at {said(node)} must have a number for each pixel, (batch, 1, rows, columns): write "
            "argmax(1, keepdim=True)"
        )
    return numbers


def _arg_max_of(node: fx.Node) -> fx.Node | None:
    """The arg-max whose numbers ``node`` gives another shape or compares, or that it is; None where it does neither."""
    while not is_call(node, aten.argmax):
        shaped, compared = is_call(node, *_SHAPED), is_call(node, *_COMPARED) and isinstance(node.args[1], int)
        if not (shaped or compared) or not isinstance(node.args[0], fx.Node):
            return None
        node = node.args[0]
    return node


def _only_chooses(node: fx.Node) -> bool:
    """Whether all that reads ``node`` are choices, or numbers that lead to some."""
    users = (user for user in node.users if not is_call(user, aten.where))
    return all(_arg_max_of(user) is not None and _only_chooses(user) for user in users)


def _is_rest(node: fx.Node) -> bool:
    """Whether ``node`` is what remains where another choice by the same numbers does not hold, and nothing else."""
    if len(node.users) != 1:
        return False
    user = next(iter(node.users))
    if not is_call(user, aten.where) or list(user.args).index(node) != 2 or user.args.count(node) != 1:
        return False
    mine, theirs = (_arg_max_of(tensor(one.args[0])) for one in (node, user))
    return mine is not None and mine is theirs and sizes(node)[1:] == sizes(user)[1:]


def _chain(node: fx.Node) -> list[fx.Node]:
    """``node``, a choice, what remains where it does not hold, if that is a choice of its own, and so on."""
    chain = [node]
    while isinstance(rest := chain[-1].args[2], fx.Node) and is_call(rest, aten.where) and _is_rest(rest):
        chain.append(rest)
    return chain


def _chosen(chain: Sequence[fx.Node], number: int) -> Any:
    """What is taken where the arg-max is ``number``: of the first choice that holds, else what remains."""
    held = (node.args[1] for node in chain if _value(tensor(node.args[0]), number))
    return next(held, chain[-1].args[2])


def _value(node: fx.Node, number: int) -> int:
    """What ``node`` makes of the ``number`` of an arg-max."""
    if is_call(node, aten.argmax):
        return number
    before = _value(argument(node), number)
    if not is_call(node, *_COMPARED):
        return before
    compare, other = next(function for kind, function in _COMPARED.items() if is_call(node, kind)), node.args[1]
    assert isinstance(other, int)  # else it was no comparison to `_arg_max_of`
    return int(compare(before, other))
