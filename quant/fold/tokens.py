"""Real layer norms and softmaxes as fields of the operations on tokens: tables, factors, and how many bits each step
keeps."""

from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..ops.base import Ints
from ..ops.requantise import MAX_SHIFT, MULTIPLIER_BITS, factor_bound
from ..ops.tokens.norm import Norm
from ..ops.tokens.softmax import MAX_DECAY_BITS, Divide
from .grid import Grid

__all__ = ["decays", "norm_of", "quotient_of"]

Floats = NDArray[np.float64]

_GUARD_BITS = 3
"""Bits behind the last of a result that a quotient, or what a factor reads, has: an error of a sixteenth of a step."""


def decays(step: float, made: Format) -> Ints:
    """The table of a `Softmax`: ``exp(-k * step)`` for every distance k to the largest score, 1 being the largest
    number of ``made``; as many entries, a power of two up to 4,096, as have any but the last value.

    Raises
    ------
    ValueError
        for a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"the step of scores must be positive, not {step}")
    found = np.rint(made.hi * np.exp(-np.arange(1 << MAX_DECAY_BITS) * step)).astype(np.int64)
    needed = int(np.count_nonzero(found != found[-1])) + 1
    return found[: 1 << (needed - 1).bit_length()]


def quotient_of(name: str, num: str, den: str, gain: Floats, made: Format) -> Divide:
    """The `Divide` that makes ``round(num / den * gain[c])``, in ``made``.

    Parameters
    ----------
    gain : (C,), real value of a unit of the quotient over the step of the result
    """
    shift = _shift_for(float(np.abs(gain).max()), made)
    multiplier = np.rint(gain * 2.0**shift).astype(np.int64)
    half = np.full(len(gain), 1 << shift >> 1)
    return Divide(
        name=name, source=num, denominator=den, multiplier=multiplier, offset=half, shift=shift, format=made,
        lo=made.lo, hi=made.hi,
    )  # fmt: skip


def norm_of(
    name: str, source: str, read: Grid, made: Grid, gamma: Floats, beta: Floats, eps: float, powers: int | Ints = 0
) -> Norm:
    """The `Norm` of a real layer norm, at most 1.5 steps of ``made`` from it.

    The root of v, C times the deviation in steps, has as many bits behind the point as keep its error below a quarter
    of a step: v is 0 or at least C - 1, and what it divides at most the root of (C - 1) * v. The reciprocal and what
    the factors read keep an eighth of a step or less.

    Parameters
    ----------
    read, made : grids of what it reads, before it is multiplied by ``1 << powers``, and of its result
    gamma, beta : (C,), real
    eps : real, added to the variance
    """
    channels, reach = len(gamma), max(float(np.abs(gamma).max()) / made.step, 2.0**-8)
    fraction = max(ceil(log2(4 * reach)), 0)
    exponents = np.broadcast_to(powers, channels).tolist()
    span = max(read.format.hi << a for a in exponents) - min(read.format.lo << a for a in exponents)
    added = round(channels**2 * eps / read.step**2 * 4.0**fraction)
    root_bits = ((channels**2 * span**2 // 4 << 2 * fraction) + added).bit_length() // 2 + 1
    reciprocal = root_bits + made.format.bits + _GUARD_BITS
    behind = max(made.format.bits + 2, ceil(log2(reach)) + _GUARD_BITS)
    shift = _shift_for(reach * 2.0**-behind, made.format)
    scaled = np.rint(beta / made.step * 2.0**shift) + (1 << shift >> 1)
    limit = 2.0 ** (shift + made.format.bits + 1)
    return Norm(
        name=name, source=source, multiplier=np.rint(gamma / made.step * 2.0 ** (shift - behind)).astype(np.int64),
        offset=scaled.clip(-limit, limit - 1).astype(np.int64), shift=shift, format=made.format, lo=made.format.lo,
        hi=made.format.hi, fraction=fraction, reciprocal=reciprocal, cut=max(reciprocal - fraction - behind, 0),
        eps=added, powers=powers,
    )  # fmt: skip


def _shift_for(gain: float, made: Format) -> int:
    """The largest shift with which a factor of ``gain`` fits, and an offset as wide as that of ``made``."""
    most = min(MAX_SHIFT, 60 - made.bits)
    return int(np.clip(np.floor(np.log2((factor_bound(MULTIPLIER_BITS) - 0.5) / max(gain, 2.0**-most))), 0, most))
