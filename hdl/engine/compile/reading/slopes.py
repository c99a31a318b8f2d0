"""Requantises in the terms of the array, whose sums are not the Program's own."""

from dataclasses import replace

import numpy as np

from .....quant.program import Requantise
from .layers import EngineLayer, SecondSlope

__all__ = ["of_sums", "second_slope"]


def second_slope(op: Requantise) -> SecondSlope | None:
    """That of ``op``, in the Program's sums."""
    if not op.bends:
        return None
    return SecondSlope(multiplier=op.seconds, offset=op.second_offsets, knee=op.knees)


def of_sums(layer: EngineLayer, scale: int, more: int) -> EngineLayer:
    """``layer``, whose constants are for ``scale * sum + more``, with those for the array's ``sum``; ``scale`` is a
    positive number or -1, with which what was above a knee comes below it."""
    m, b = scale * layer.multiplier, layer.offset + layer.multiplier * more
    second = layer.second
    if second is None:
        return replace(layer, multiplier=m, offset=b)
    n, d = scale * second.multiplier, second.offset + second.multiplier * more
    if scale < 0:
        below = SecondSlope(multiplier=m, offset=b, knee=more + 1 - second.knee)
        return replace(layer, multiplier=n, offset=d, second=below)
    knee = -((more - second.knee) // scale)
    return replace(layer, multiplier=m, offset=b, second=SecondSlope(multiplier=n, offset=d, knee=np.asarray(knee)))
