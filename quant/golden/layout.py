"""How the golden model holds tensors: outside of it they are ``(N, C, H, W)``, inside ``(N, H, W, C)``, so that what a
window reads of a row lies together."""

import numpy as np
from numpy.typing import NDArray

from ..ops.base import Ints
from ..ops.ends import Input
from .widths import Array, narrowest_type

__all__ = ["LAYOUT", "by_channels", "checked", "held", "inside", "outside"]

LAYOUT = "NHWC"
"""Axes of a tensor inside of the golden model, in their order."""


def inside(values: Array) -> Array:
    """``(N, C, H, W)`` as the golden model holds it."""
    return values.transpose(0, 2, 3, 1)


def by_channels(x: Array) -> Array:
    """What the golden model holds as ``(N, C, H, W)``: a view, if it may be one."""
    return x.transpose(0, 3, 1, 2)


def outside(x: Array) -> Ints:
    """A result as callers get it: ``(N, C, H, W)``, 64 bits."""
    return np.ascontiguousarray(by_channels(x), dtype=np.int64)


def checked(op: Input, values: NDArray[np.integer]) -> Array:
    """``values`` as (N, C, H, W) for ``op``.

    Parameters
    ----------
    values : integers of any type within ``op.format``, (N, C, H, W); where H is 1, tokens (N, W, C) as well; where H
        and W are 1, features (N, C)

    Raises
    ------
    ValueError
        for values of another type, shape or range.
    """
    shaped = _shaped(op, values)
    if shaped is None or values.dtype.kind not in "iu" or not _fits(op, values):
        form = ", ".join(map(str, op.shape))
        came = f"{values.dtype} of shape {values.shape}"
        if values.dtype.kind in "iuf" and values.size:
            came += f" in {values.min()}..{values.max()}"
        range_of = f"{op.format} is {op.format.lo}..{op.format.hi}"
        raise ValueError(f"{op.name} must be {op.format} of shape (N, {form}), not {came}; {range_of}")
    return shaped


def _shaped(op: Input, values: Array) -> Array | None:
    channels, height, width = op.shape
    if values.shape[1:] == op.shape:
        return values
    if height == 1 and values.shape[1:] == (width, channels):
        return values.transpose(0, 2, 1)[:, :, None]
    if (height, width) == (1, 1) and values.shape[1:] == (channels,):
        return values[:, :, None, None]
    return None


def _fits(op: Input, values: Array) -> bool:
    """Looks at the values only where their type holds others."""
    kind = np.iinfo(values.dtype)
    return (op.format.lo <= kind.min and kind.max <= op.format.hi) or op.format.allows(values)


def held(op: Input, values: Array) -> Array:
    """Checked (N, C, H, W) ``values`` as the golden model holds the result of ``op``; those in its narrowest type
    already are not copied."""
    return inside(values).astype(narrowest_type(op.format), copy=False)
