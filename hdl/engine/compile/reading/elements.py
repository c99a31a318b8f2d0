"""Operations on elements: products of two tensors, which a pool hands on, and tables, which results go through."""

from dataclasses import replace

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format
from .....quant.ops.window import Window
from .....quant.program import Requantise, Table
from ...plan import MOST_TABLE_BITS, EnginePlan
from ...records import Unit
from ..advice import built_with
from .layers import EngineLayer, Shape

__all__ = ["multiplied", "unchanged", "with_table"]


def multiplied(op: Requantise, stored: tuple[str, str], shapes: tuple[Shape, Shape]) -> EngineLayer:
    """The layer of a product, which ``op`` brings to few bits: a pool of single pixels hands on the first of two
    tensors, whose names and shapes are given, and the second comes as a residual."""
    (source, other), (shape, other_shape) = stored, shapes
    zeros = np.zeros(shape[0], np.int64)
    return EngineLayer(
        name=op.name, source=source, unit=Unit.MAXIMUM, window=Window(kernel=(1, 1)), pad=zeros,
        multiplier=op.multiplier, offset=op.offset, shift=op.shifts, residual_multiplier=zeros, low=op.lo, high=op.hi,
        residual=other, product=True, hold=other_shape != shape,
    )  # fmt: skip


def unchanged(name: str, source: str, read: Format, channels: int) -> Requantise:
    """A requantise that changes nothing of what it reads from ``source`` in the format ``read``."""
    return Requantise(
        name=name, source=source, multiplier=np.ones(channels, np.int64), offset=np.zeros(channels, np.int64),
        shift=0, format=read, lo=read.lo, hi=read.hi,
    )  # fmt: skip


def with_table(layer: EngineLayer, op: Table, read: Format, plan: EnginePlan) -> EngineLayer:
    """``layer``, which makes what ``op`` reads, in the format ``read``, with the table behind its clamp.

    Results count from the lowest one then, or from the even number below it, which leaves ties to even where they are.
    A table without a 0 comes for each channel: those that the last block has too many must be 0, see `layout`.

    Raises
    ------
    UserError
        for an engine whose tables, or elements, have fewer bits.
    """
    if op.format.bits > plan.bits:
        raise UserError(f"the engine looks up elements of {plan.bits} bits; those of {op.name!r} have {op.format}")
    lowest = layer.low - layer.low % 2
    count = layer.high - lowest + 1
    bits = max((count - 1).bit_length(), 1)
    if bits > plan.tables:
        has = f"tables of at most {plan.tables} bits" if plan.tables else "no tables"
        raise UserError(
            f"the engine has {has}; {op.name!r} looks up {count:,} values: "
            f"{built_with('tables', bits, MOST_TABLE_BITS)}"
        )
    rows = op.rows[:, max(lowest - read.lo, 0) : layer.high - read.lo + 1]
    # What is below the lowest number of a format is never looked up.
    rows = np.pad(rows, ((0, 0), (count - rows.shape[1], 0)), mode="edge")
    channels, second = len(layer.multiplier), layer.second
    if second is not None:
        second = replace(second, offset=second.offset - (lowest << layer.shift))
    shared = len(rows) == 1 and (channels % plan.pout == 0 or not rows.all())
    return replace(
        layer, name=op.name, table=rows[0] if shared else np.broadcast_to(rows, (channels, count)),
        offset=layer.offset - (lowest << layer.shift), second=second, low=layer.low - lowest, high=layer.high - lowest,
    )  # fmt: skip
