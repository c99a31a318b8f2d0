"""Groups of channels: blocks of outputs that read blocks of inputs of their own, and depthwise layers."""

from dataclasses import dataclass, replace
from math import gcd, lcm

import numpy as np

from .....common.errors import UserError
from .....quant.ops.window import Window
from .....quant.program import Convolution
from ...layout import blocks_of
from ...plan import EnginePlan
from .layers import EngineLayer, Ints

__all__ = ["RowWalk", "columns_at_once", "grouped", "row_walk"]


@dataclass(frozen=True, kw_only=True)
class RowWalk:
    """How a step walks along the rows of a map.

    Of a depthwise layer whose window columns are taken some at a time, ``together``, a step issues every word of a row,
    and a window is whole with the last of its columns. Where they are no whole number of parts, it is the first part of
    which only the last columns count.

    Attributes
    ----------
    parts : of the window's columns, each of which is a step
    left : columns that the first part begins in front of the map
    apart : columns from one part to the next
    stride : columns from one word to the next
    between : words between two pixels
    lead : words in front of the last one of the first pixel of a row
    shared : of them those that stand already at the end of the row before, as its pad
    kept : columns of the first part that count
    """

    parts: int
    left: int
    apart: int
    stride: int
    between: int = 0
    lead: int = 0
    shared: int = 0
    kept: int = 1

    def words(self, columns: int) -> int:
        """Words of a row of so many pixels that is not the first of its step."""
        return self.lead - self.shared + 1 + (columns - 1) * (self.between + 1)


def row_walk(window: Window, together: int, width: int) -> RowWalk:
    """The walk of a layer of ``window`` over rows of ``width``; ``together`` columns at a time if depthwise, else 0."""
    kernel, stride, left, apart = window.kernel[1], window.strides[1], window.pads[1], window.dilations[1]
    if together < 2:
        return RowWalk(parts=kernel, left=left, apart=apart, stride=stride)
    parts = -(-kernel // together)
    kept = kernel - (parts - 1) * together
    left, lead = left + together - kept, together - 1
    columns = window.result((0, width))[1]
    # Of every part: what its last words of a row have behind the map, and its first ones in front of it.
    behind = (columns - 1) * stride - left + together - width
    shared = max(0, min(behind, left - (parts - 1) * together, lead))
    return RowWalk(
        parts=parts, left=left, apart=together, stride=1, between=stride - 1, lead=lead, shared=shared, kept=kept,
    )  # fmt: skip


def grouped(layer: EngineLayer, op: Convolution, width: int, plan: EnginePlan) -> EngineLayer:
    """The layer of a convolution of several groups over rows of ``width``.

    Where every channel is a group, it is depthwise. Else as many groups are taken as one as fill whole blocks on both
    sides; what a filter does not read of them gets weights of 0.

    Raises
    ------
    UserError
        for groups that the engine, or the kernel, does not have.
    """
    if not plan.depthwise:
        raise UserError(f"the engine has no groups, which {op.name!r} has: build it with --depthwise 3")
    assert layer.weight is not None
    outputs, inputs, rows, columns = layer.weight.shape
    channels, filters = inputs * op.groups, outputs // op.groups
    if inputs == filters == 1:
        return replace(layer, groups=blocks_of(channels, plan.pout), together=columns_at_once(op.window, width, plan))
    word = plan.channels
    joined = lcm(word // gcd(word, inputs), word // gcd(word, filters))
    joined = joined if op.groups % joined == 0 else op.groups
    if joined > 1 and op.kernel in ("adder", "xnor"):
        raise UserError(
            f"groups of {op.kernel} lanes take whole blocks of {word} channels, or one channel each; those of "
            f"{op.name!r} take {inputs} and make {filters}"
        )
    weight = np.zeros((outputs, joined, inputs, rows, columns), np.int64)
    weight[np.arange(outputs), np.arange(outputs) // filters % joined] = layer.weight
    whole: Ints = weight.reshape(outputs, joined * inputs, rows, columns)
    return replace(layer, weight=whole, groups=op.groups // joined)


def columns_at_once(window: Window, width: int, plan: EnginePlan) -> int:
    """How many columns of a depthwise window are best taken at a time: what takes the fewest words."""
    if window.dilations[1] > 1:
        return 1

    columns = window.result((0, width))[1]

    def cycles(count: int) -> int:
        walk = row_walk(window, count, width)
        return walk.parts * walk.words(columns)

    return min(range(1, min(plan.depthwise, window.kernel[1]) + 1), key=cycles)
