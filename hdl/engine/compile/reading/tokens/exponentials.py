"""Softmaxes: exponentials of the distances of scores to the largest one, as layers with a table."""

import numpy as np

from ......common.errors import UserError
from ......quant.ops.window import Window
from ......quant.program import Softmax
from ....plan import MOST_TABLE_BITS, EnginePlan
from ....records import Unit
from ...advice import built_with
from ..layers import EngineLayer

__all__ = ["exponentials"]


def exponentials(op: Softmax, source: str, channels: int, plan: EnginePlan) -> EngineLayer:
    """The layer of ``op``, which reads the stored tensor ``source`` of so many ``channels``: heads are groups.

    Raises
    ------
    UserError
        for an engine without softmax, masks, several heads where it has no groups, entries of more bits than an
        element, and more of them than tables have.
    """
    if not plan.softmax:
        raise UserError(f"the engine has no softmax, which {op.name!r} is: build it with --softmax --tables 8")
    if op.mask is not None:
        raise UserError(f"the engine has no masks so far, which the softmax {op.name!r} has")
    if op.heads > 1 and not plan.grouped:
        raise UserError(
            f"the softmax {op.name!r} has {op.heads} heads; the engine has heads with --depthwise 1 or more, with "
            "--matmul or with --divide"
        )
    if op.format.bits > plan.bits:
        raise UserError(f"the engine looks up elements of {plan.bits} bits; those of {op.name!r} have {op.format}")
    count = len(op.entries)
    if count > 1 << plan.tables:
        bits = (count - 1).bit_length()
        raise UserError(
            f"the engine has tables of at most {plan.tables} bits; {op.name!r} looks up {count:,} values: "
            f"{built_with('tables', bits, MOST_TABLE_BITS)}"
        )
    shared, zeros = channels // op.heads % plan.pout == 0 or not op.entries.all(), np.zeros(channels, np.int64)
    return EngineLayer(
        name=op.name, source=source, unit=Unit.SUM, window=Window(kernel=(1, 1)), pad=zeros + 1, multiplier=zeros + 1,
        offset=zeros, shift=zeros, residual_multiplier=zeros, low=0, high=count - 1, softmax=True, groups=op.heads,
        table=op.entries if shared else np.broadcast_to(op.entries, (channels, count)),
    )  # fmt: skip
