"""Parts of channels: tensors that are read head by head, whose heads fill no whole blocks, begin each with a block.

Which tensors those are is known before layers are: a product of tokens asks for its heads, and what is computed channel
by channel has the parts of what it reads. Layers then get channels that count nothing where a part ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd

import numpy as np

from .....common.errors import UserError
from .....quant.program import (
    ArgMax,
    Concat,
    Constant,
    Convolution,
    Flatten,
    Input,
    MatMul,
    Program,
    Rearrange,
    Reduce,
    Slice,
    Unfold,
)
from ...layout import blocks_of
from ...plan import EnginePlan
from ...records import Across, Unit
from .layers import EngineLayer, EngineNetwork, Ints, SecondSlope

__all__ = ["blocks_up_to", "moved_values", "part_sizes", "with_parts"]

_AXES = "CHW"
_FREE = (ArgMax, Constant, Convolution, Flatten, Input, MatMul, Rearrange, Reduce, Unfold)
"""Operations whose result may be cut into other parts than what they read."""


class _Tied:
    """Tensors whose parts have one size, and the heads that were asked for."""

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


def part_sizes(program: Program, plan: EnginePlan) -> dict[str, int]:
    """Channels of a part of the tensors of ``program`` that are cut in parts, sums included.

    Raises
    ------
    UserError
        for a tensor that the parts of others do not divide, by name.
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
            for source in op.sources[1:]:
                # A factor or a denominator for several channels is no part of them.
                if isinstance(op, Concat) or program.shape(source)[0] == program.shape(op.name)[0]:
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


def blocks_up_to(channels: int, part: int, plan: EnginePlan) -> int | None:
    """The number of the block that begins with channel ``channels`` of a tensor of parts of ``part`` channels, 0 for
    one without; None where none does."""
    if part:
        return None if channels % part else channels // part * blocks_of(part, plan.channels)
    return None if channels % plan.channels else channels // plan.channels


def with_parts(network: EngineNetwork, plan: EnginePlan) -> EngineNetwork:
    """``network`` with layers that have channels that count nothing where the parts of their tensors end.

    Raises
    ------
    UserError
        for a layer that does not keep parts.
    """
    if not network.parts:
        return network
    return replace(network, layers=tuple(_spread(layer, network.parts, plan) for layer in network.layers))


def _spread(layer: EngineLayer, parts: Mapping[str, int], plan: EnginePlan) -> EngineLayer:
    read, made = parts.get(layer.source, 0), parts.get(layer.name, 0)
    if not read and not made:
        return layer
    heads = layer.groups > 1 and layer.other is None
    if layer.shuffle > 1 or heads or layer.across is not Across.NOTHING:
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


def _filled(values: Ints, part: int, lanes: int, spare: int = 0, axis: int = 0) -> Ints:
    """``values`` of channels along ``axis`` with ``spare`` in front of every part that would begin within a block, and
    behind the last one."""
    if not part or part % lanes == 0:
        return values
    moved = np.moveaxis(values, axis, 0)
    cut = moved.reshape(-1, part, *moved.shape[1:])
    whole = np.full((len(cut), blocks_of(part, lanes) * lanes, *moved.shape[1:]), spare, np.int64)
    whole[:, :part] = cut
    return np.moveaxis(whole.reshape(-1, *moved.shape[1:]), 0, axis)
