"""Heads of channels: where they fill no whole blocks, each head of a tensor begins with one.

Which tensors those are is known before layers are: a product of tokens asks for its heads, and what is computed channel
by channel has the heads of what it reads. Layers then get channels that count nothing where a head ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd

import numpy as np

from ......common.errors import UserError
from ......quant.program import (
    ArgMax,
    Concat,
    Constant,
    Convolution,
    Divide,
    Flatten,
    Input,
    MatMul,
    Program,
    Rearrange,
    Reduce,
    Slice,
    Softmax,
    Unfold,
)
from ....layout import blocks_of
from ....plan import EnginePlan
from ....records import Across, Unit
from ..layers import EngineLayer, EngineNetwork, Ints, SecondSlope

__all__ = ["blocks_up_to", "head_sizes", "moved_values", "with_heads"]

_AXES = "CHW"
_FREE = (ArgMax, Constant, Convolution, Flatten, Input, MatMul, Rearrange, Reduce, Unfold)
"""Operations whose result may have other heads than what they read."""


class _Tied:
    """Tensors whose heads have one size, and the sizes that were asked for."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}
        self.asked: dict[str, list[int]] = {}

    def root(self, name: str) -> str:
        while (above := self.above.get(name, name)) != name:
            name = above
        return name

    def tie(self, one: str, other: str) -> None:
        one, other = self.root(one), self.root(other)
        if one != other:
            self.above[one] = other
            self.asked.setdefault(other, []).extend(self.asked.pop(one, []))

    def ask(self, name: str, size: int) -> None:
        self.asked.setdefault(self.root(name), []).append(size)


def head_sizes(program: Program, plan: EnginePlan) -> dict[str, int]:
    """Channels of a head of the tensors of ``program`` whose heads begin with blocks, sums included.

    Raises
    ------
    UserError
        for a tensor that the heads of others do not divide, by name.
    """
    tied = _Tied()
    for op in program.ops:
        if isinstance(op, MatMul):
            _ask(op, program, tied)
        elif isinstance(op, Rearrange) and (kept := _kept_channels(op, program.shape(op.source))) > 1:
            tied.tie(op.name, op.source)
            tied.ask(op.name, kept)
        elif not isinstance(op, _FREE):
            tied.tie(op.name, op.source)
            if isinstance(op, Softmax) and op.heads > 1:
                tied.ask(op.name, program.shape(op.name)[0] // op.heads)
            for source in op.sources[1:]:
                # A factor or a denominator for several channels has no heads of theirs.
                if isinstance(op, Divide):
                    _ask_of_denominators(op, source, program, tied)
                elif isinstance(op, Concat) or program.shape(source)[0] == program.shape(op.name)[0]:
                    tied.tie(op.name, source)
    sizes = {}
    for name in (op.name for op in program.ops):
        asked, channels = tied.asked.get(tied.root(name), []), program.shape(name)[0]
        size = gcd(*asked)
        if any(size % plan.pin for size in asked) and size != channels:
            sizes[name] = size
            if channels % size:
                raise UserError(
                    f"{name!r} has {channels} channels, which are no heads of {size} channels, as a product of tokens "
                    "needs them"
                )
    return sizes


def _ask(op: MatMul, program: Program, tied: _Tied) -> None:
    """What ``op`` reads and makes head by head."""
    scores = op.form == "scores"
    channels, _, tokens = program.shape(op.other)
    # Words of keys stand beside those of queries, and words of values beside those that are made of them.
    tied.tie(op.other, op.source if scores else op.name)
    tied.ask(op.other, channels // op.heads)
    tied.ask(op.name if scores else op.source, tokens)


def _ask_of_denominators(op: Divide, denominator: str, program: Program, tied: _Tied) -> None:
    """Heads of what is divided, each of which has a denominator."""
    parts = program.shape(denominator)[0]
    if parts > 1:
        tied.ask(op.name, program.shape(op.name)[0] // parts)


def _kept_channels(op: Rearrange, shape: tuple[int, int, int]) -> int:
    """How many channels of a pixel of ``shape`` stay beside each other, in order, and begin with a multiple of that."""
    apart = shape[1] * shape[2]
    numbers = moved_values(op, [np.arange(shape[0] * apart).reshape(shape)])
    cuts = 1 + np.flatnonzero((np.diff(numbers, axis=0) != apart).any((1, 2)))
    begins = numbers[[0, *cuts]] // apart
    return gcd(shape[0], len(numbers), *cuts.tolist(), *np.unique(begins).tolist())


def moved_values(op: Concat | Rearrange | Slice, values: Sequence[Ints]) -> Ints:
    """``values`` as ``op`` moves them."""
    if isinstance(op, Rearrange):
        return values[0].reshape(op.split).transpose(op.order).reshape(op.shape)
    axis = _AXES.index(op.axis)
    if isinstance(op, Concat):
        return np.concatenate(values, axis)
    return values[0][(slice(None),) * axis + (op.kept,)]


def blocks_up_to(channels: int, head: int, plan: EnginePlan) -> int | None:
    """The number of the block that begins with channel ``channels`` of a tensor of heads of ``head`` channels, 0 for
    one without; None where none does."""
    if head:
        return None if channels % head else channels // head * blocks_of(head, plan.channels)
    return None if channels % plan.channels else channels // plan.channels


def with_heads(network: EngineNetwork, plan: EnginePlan) -> EngineNetwork:
    """``network`` with layers that have channels that count nothing where the heads of their tensors end.

    Raises
    ------
    UserError
        for a layer that does not keep heads.
    """
    if not network.heads:
        return network
    return replace(network, layers=tuple(_spread(layer, network.heads, plan) for layer in network.layers))


def _spread(layer: EngineLayer, sizes: Mapping[str, int], plan: EnginePlan) -> EngineLayer:
    read, made = sizes.get(layer.source, 0), sizes.get(layer.name, 0)
    if not read and not made:
        return layer
    grouped = layer.groups > 1 and layer.other is None and not layer.divides and not layer.softmax
    if layer.shuffle > 1 or grouped or layer.across is not Across.NOTHING:
        raise UserError(f"the engine makes {layer.name!r} of whole tensors, not of heads of {read or made} channels")
    if layer.unit is not Unit.ARRAY and read != made:
        raise UserError(f"{layer.name!r} has heads of {made} channels, but reads heads of {read}")
    weight = layer.weight
    if weight is not None:
        weight = _filled(_filled(weight, read, plan.pin, layer.neutral, axis=1), made, plan.pout, layer.neutral)
    second, table, levels = layer.second, layer.table, layer.levels
    if second is not None:
        spare = {"offset": layer.spare_offset}
        second = SecondSlope(**{
            name: _filled(values, made, plan.pout, spare.get(name, 0)) for name, values in vars(second).items()
        })  # fmt: skip
    if levels is not None:
        levels = _filled(levels, made, plan.pout, plan.level.hi)
    if table is not None and table.ndim == 2:
        table = _filled(table, made, plan.pout)
    return replace(
        layer, weight=weight, second=second, levels=levels, table=table, pad=_filled(layer.pad, read, plan.pin),
        multiplier=_filled(layer.multiplier, made, plan.pout), shift=_filled(layer.shift, made, plan.pout),
        offset=_filled(layer.offset, made, plan.pout, layer.spare_offset),
        residual_multiplier=_filled(layer.residual_multiplier, made, plan.pout),
    )  # fmt: skip


def _filled(values: Ints, head: int, lanes: int, spare: int = 0, axis: int = 0) -> Ints:
    """``values`` of channels along ``axis`` with ``spare`` behind every head that would end within a block."""
    if not head or head % lanes == 0:
        return values
    moved = np.moveaxis(values, axis, 0)
    cut = moved.reshape(-1, head, *moved.shape[1:])
    whole = np.full((len(cut), blocks_of(head, lanes) * lanes, *moved.shape[1:]), spare, np.int64)
    whole[:, :head] = cut
    return np.moveaxis(whole.reshape(-1, *moved.shape[1:]), 0, axis)
