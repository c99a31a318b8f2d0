"""From real factors to integer ones: multipliers and shifts, sums of powers of two, thresholds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .formats import Format
from .program import (
    MAX_SHIFT,
    MULTIPLIER_BITS,
    RESIDUAL_MULTIPLIER_BITS,
    factor_bound,
    offset_format,
    powers_of_two,
)  # fmt: skip

__all__ = ["Factors", "Threshold", "fold_scale", "fold_sign", "nearest_sum"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Factors:
    """M, B, S and R of a requantise."""

    multiplier: Ints
    offset: Ints
    shift: int
    residual: int


def fold_scale(
    *, gain: Floats, centre: Floats, bias: Floats, residual: float = 0.0, accumulator: Format, terms: int = 0
) -> Factors:
    """The integers of ``gain * (acc - centre) + bias + residual * r``, in units of the result's step.

    S is the largest shift with which everything fits. The offset is made with the rounded multiplier, so that its error
    cancels at ``centre``.

    Parameters
    ----------
    gain, centre, bias : (O,)
    residual : units of the result per unit of the residual
    accumulator : format of ``acc``
    terms : factors become sums of at most so many signed powers of two; 0: any

    Raises
    ------
    ValueError
        when the factors are too large for any shift, or so small that all become 0.
    """
    widest = offset_format(accumulator)
    bound, residual_bound = factor_bound(MULTIPLIER_BITS), factor_bound(RESIDUAL_MULTIPLIER_BITS)
    for shift in range(MAX_SHIFT, -1, -1):
        scale = float(1 << shift)
        multiplier = _rounded(gain * scale, terms, bound)
        other = int(_rounded(np.array([residual * scale]), terms, residual_bound)[0])
        half = (1 << (shift - 1)) if shift else 0
        offset = np.rint(bias * scale) - np.rint(multiplier * centre) + half
        fits = np.abs(multiplier).max() <= bound and abs(other) <= residual_bound
        if fits and offset.min() >= widest.lo and offset.max() <= widest.hi:
            break
    else:
        raise ValueError(f"it scales by up to {np.abs(gain).max():.3g}, which {MULTIPLIER_BITS} bits cannot hold")
    if not multiplier.any() and np.abs(gain).max() > 0:
        raise ValueError(f"it scales by at most {np.abs(gain).max():.3g}, which {shift} places cannot hold")
    return Factors(multiplier=multiplier.astype(np.int64), offset=offset.astype(np.int64), shift=shift, residual=other)


def _rounded(values: Floats, terms: int, bound: int) -> Floats:
    rounded = np.rint(values)
    # Beyond the bound nothing is used, and a sum of powers of two would take its time to find.
    if not terms or np.abs(rounded).max(initial=0) > bound:
        return rounded
    return np.array([nearest_sum(int(v), terms) for v in rounded.tolist()], dtype=np.float64)


def nearest_sum(value: int, terms: int) -> int:
    """A sum of at most ``terms`` signed powers of two near ``value``: its leading digits in non-adjacent form, or those
    of a neighbour where that is nearer."""
    exact = powers_of_two(value)
    if len(exact) <= terms:
        return value
    kept = sum(exact[-terms:])
    step = abs(exact[-terms])
    candidates = [c for c in (kept - step, kept - step // 2, kept, kept + step // 2, kept + step)
                  if len(powers_of_two(c)) <= terms]  # fmt: skip
    return min(candidates, key=lambda c: (abs(c - value), abs(c)))


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """T and the direction of a binary activation, one threshold per channel."""

    levels: Ints
    falling: Ints


def fold_sign(*, gain: Floats, centre: Floats, bias: Floats, accumulator: Format, at_zero: bool) -> Threshold:
    """When ``gain * (acc - centre) + bias`` is positive, as a comparison of the accumulator with an integer.

    Parameters
    ----------
    gain : (O,), of either sign; 0 makes a constant
    at_zero : whether the activation fires at 0 exactly (``>=``) or only beyond (``>``); the tie belongs to the source

    Returns
    -------
    thresholds (O, 1) within ``accumulator.lo .. accumulator.hi + 1``
    """

    def fires(acc: Floats) -> NDArray[np.bool_]:
        value = gain * (acc - centre) + bias
        return np.asarray(value >= 0 if at_zero else value > 0)

    lo, hi = float(accumulator.lo), float(accumulator.hi)
    falling = gain < 0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        near = np.where(gain == 0, 0.0, centre - bias / gain)
    # The quotient may be off by a rounding; the first integer that behaves otherwise than those below it is searched
    # around it with the source's own expression.
    level = np.clip(np.floor(near) - 1, lo, hi + 1)
    for _ in range(4):
        below = fires(level) == falling
        level = np.where(below & (level <= hi), level + 1, level)
    level = np.where(gain == 0, np.where(fires(np.zeros_like(gain)), lo, hi + 1), level)
    return Threshold(levels=level.astype(np.int64)[:, None], falling=falling.astype(np.int64))
