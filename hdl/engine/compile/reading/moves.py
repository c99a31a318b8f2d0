"""Operations that move pixels, as layers: lanes whose weight is 1 hand on what they read."""

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format
from .....quant.ops.window import Window
from .....quant.program import SpatialShift, Upsample
from ...layout import blocks_of
from ...plan import EnginePlan
from ...records import Unit
from .groups import columns_at_once
from .layers import EngineLayer, Ints, Shape

__all__ = ["moved"]

_KERNELS = ("mult", "shift")
"""Kernels that have a weight of 1, which is the word 1, and one of 0."""


def moved(op: SpatialShift | Upsample, source: str, shape: Shape, fmt: Format, plan: EnginePlan) -> EngineLayer:
    """The layer of ``op``, which reads the stored tensor ``source`` of ``shape`` and ``fmt``.

    A shift is a depthwise layer, each channel of which has one weight. An upsampling makes every block of channels once
    for each place of an enlarged pixel, and stores them as a pixel shuffle does.

    Raises
    ------
    UserError
        for an engine without groups, or without lanes that multiply.
    """
    kernel = next((kernel for kernel in _KERNELS if kernel in plan.kernels), None)
    if kernel is None or not plan.depthwise:
        raise UserError(
            f"the engine moves no pixels, as {op.name!r} does: build it with --depthwise 3 and lanes of mult or shift"
        )
    word = plan.channels
    if isinstance(op, SpatialShift):
        window, weight = _shift(op)
        outputs, pad, factor, together = shape[0], op.pad, 1, columns_at_once(window, shape[2], plan)
        groups = blocks_of(outputs, plan.pout)
    else:
        window, factor, together = Window(kernel=(1, 1)), op.factor, 0
        groups = blocks_of(shape[0], word)
        outputs, pad = groups * factor**2 * word, np.zeros(shape[0], np.int64)
        weight = np.tile(np.eye(word, dtype=np.int64), (groups * factor**2, 1))[:, :, None, None]
    zeros = np.zeros(outputs, np.int64)
    return EngineLayer(
        name=op.name, source=source, unit=Unit.ARRAY, kernel=kernel, window=window, weight=weight, pad=pad,
        multiplier=zeros + 1, offset=zeros, shift=zeros, residual_multiplier=zeros, low=fmt.lo, high=fmt.hi,
        shuffle=factor, groups=groups, together=together,
    )  # fmt: skip


def _shift(op: SpatialShift) -> tuple[Window, Ints]:
    """The window that reaches all offsets, and where in it each channel looks."""
    lowest, highest = np.minimum(op.offsets.min(0), 0), np.maximum(op.offsets.max(0), 0)
    rows, columns = (highest - lowest + 1).tolist()
    weight = np.zeros((len(op.offsets), 1, rows, columns), np.int64)
    places = highest - op.offsets
    weight[np.arange(len(weight)), 0, places[:, 0], places[:, 1]] = 1
    (top, left), (bottom, right) = highest.tolist(), (-lowest).tolist()
    return Window(kernel=(rows, columns), pads=(top, left, bottom, right)), weight
