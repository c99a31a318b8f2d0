"""From real factors to integer ones: multipliers and shifts, sums of powers of two, thresholds."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..program import (
    MAX_SHIFT,
    MULTIPLIER_BITS,
    RESIDUAL_MULTIPLIER_BITS,
    factor_bound,
    offset_format,
    per_channel,
    powers_of_two,
)  # fmt: skip

__all__ = ["Factors", "FoldedThreshold", "Monotonous", "Reach", "fold_scale", "fold_sign", "nearest_sum", "rounded"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Factors:
    """M, B, S and R of a requantise; S and R are one number, or (O,) where channels have their own.

    Attributes
    ----------
    bits : width of M
    exact : (O,), whether M, B and R are the real factors, not rounded ones, and M is not 0
    """

    multiplier: Ints
    offset: Ints
    shift: int | Ints
    residual: int | Ints
    bits: int
    exact: NDArray[np.bool_]

    @property
    def shifts(self) -> Ints:
        """S of every channel."""
        return per_channel(self.shift, len(self.multiplier))

    @property
    def residuals(self) -> Ints:
        """R of every channel."""
        return per_channel(self.residual, len(self.multiplier))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a requantise can meet and give: sums ``least..most`` (O,), residuals of up to ``residual``, results
    ``lo..hi``."""

    least: Ints
    most: Ints
    residual: int
    lo: int
    hi: int

    def clipped(self, offset: Floats, multiplier: Floats, residual_multiplier: float, shift: int) -> Floats:
        """``offset``, but no further out than where every sum is clamped."""
        ends = np.stack([multiplier * self.least, multiplier * self.most])
        spread, step = abs(residual_multiplier) * self.residual, float(1 << shift)
        margin = step + np.abs(ends).max(0) * 2.0**-48 + spread * 2.0**-48  # products are doubles here
        low = self.lo * step - ends.max(0) - spread - margin
        high = self.hi * step - ends.min(0) + spread + margin
        return np.asarray(np.rint(offset.clip(low, high)))


def fold_scale(
    *, gain: Floats, centre: Floats, bias: Floats, residual: float = 0.0, accumulator: Format, terms: int = 0,
    bits: int = MULTIPLIER_BITS, channelwise: bool = False, least_shift: int = 0, reach: Reach | None = None,
    most_shift: int | Ints = MAX_SHIFT,
) -> Factors:  # fmt: skip
    """The integers of ``gain * (acc - centre) + bias + residual * r``, in units of the result's step.

    S is the largest shift with which everything fits. The offset is made with the rounded multiplier, so that its error
    cancels at ``centre``.

    Parameters
    ----------
    gain, centre, bias : (O,)
    residual : units of the result per unit of the residual
    accumulator : format of ``acc``
    terms : factors become sums of at most so many signed powers of two; 0: any
    bits : of M
    channelwise : every channel has the largest S with which its own numbers fit, not that of the largest of all
    least_shift, most_shift : of S; the most may differ from channel to channel
    reach : what sums and results can be, where that is known: an offset beyond it is as good as one at its end, and
        asks for no smaller S

    Raises
    ------
    ValueError
        when the factors are too large for any shift, or so small that all become 0.
    """
    widest = offset_format(accumulator, bits)
    bound, residual_bound = factor_bound(bits), factor_bound(RESIDUAL_MULTIPLIER_BITS)
    count = len(gain)
    left = np.ones(count, np.bool_)
    multipliers, offsets, shifts, residuals = (np.zeros(count, np.int64) for _ in range(4))
    exact = np.zeros(count, np.bool_)
    for shift in range(MAX_SHIFT, least_shift - 1, -1):
        scale = float(1 << shift)
        multiplier = rounded(gain * scale, terms, bound)
        other = float(rounded(np.array([residual * scale]), terms, residual_bound)[0])
        half = (1 << (shift - 1)) if shift else 0
        offset = np.rint(bias * scale) - np.rint(multiplier * centre) + half
        if reach is not None:
            offset = reach.clipped(offset, multiplier, other, shift)
        fits = (np.abs(multiplier) <= bound) & (offset >= widest.lo) & (offset <= widest.hi)
        fits &= abs(other) <= residual_bound
        fits &= shift <= np.asarray(most_shift)
        if not channelwise:
            fits[:] = fits.all()
        new = left & fits
        if not new.any():
            continue
        multipliers[new], offsets[new] = multiplier[new].astype(np.int64), offset[new].astype(np.int64)
        shifts[new], residuals[new] = shift, int(other)
        held = (multiplier == gain * scale) & (offset == bias * scale - multiplier * centre + half)
        exact[new] = (held & (gain != 0) & (other == residual * scale))[new]
        left &= ~fits
        if not left.any():
            break
    else:
        raise ValueError(f"it scales by up to {np.abs(gain[left]).max():.3g}, which {bits} bits cannot hold")
    if not multipliers.any() and np.abs(gain).max() > 0:
        raise ValueError(f"it scales by at most {np.abs(gain).max():.3g}, which {int(shifts.max())} places cannot hold")
    return Factors(
        multiplier=multipliers, offset=offsets, shift=_one(shifts), residual=_one(residuals), bits=bits, exact=exact
    )


def _one(values: Ints) -> int | Ints:
    """One number where all are equal."""
    return int(values[0]) if (values == values[0]).all() else values


def rounded(values: Floats, terms: int, bound: int) -> Floats:
    """The nearest factors; of those within ``bound``, the nearest sums of ``terms`` signed powers of two."""
    found = np.rint(values)
    if not terms:
        return found
    # Beyond the bound nothing is used, and a sum of powers of two would take its time to find.
    held = np.abs(found) <= bound
    found[held] = [nearest_sum(int(v), terms) for v in found[held].tolist()]
    return found


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
class FoldedThreshold:
    """T and the direction of a binary activation, one threshold per channel."""

    levels: Ints
    falling: Ints


class Monotonous(Protocol):
    """A function per channel that strictly rises or strictly falls, see `slopes.Bend`."""

    @property
    def scale(self) -> Floats:
        """(O,), whose sign says whether it rises."""
        ...

    def __call__(self, z: Floats) -> Floats:
        """Its value, (.., O)."""
        ...

    def before(self, y: float) -> Floats:
        """Where it has the value ``y``, (O,)."""
        ...


def fold_sign(
    *, gain: Floats, centre: Floats, bias: Floats, accumulator: Format, at_zero: bool, bend: Monotonous | None = None
) -> FoldedThreshold:  # fmt: skip
    """When ``gain * (acc - centre) + bias`` is positive, as a comparison of the accumulator with an integer.

    Parameters
    ----------
    gain : (O,), of either sign; 0 makes a constant
    bend : what comes between that value and the sign; None: nothing
    at_zero : whether the activation fires at 0 exactly (``>=``) or only beyond (``>``); the tie belongs to the source

    Returns
    -------
    thresholds (O, 1) within ``accumulator.lo .. accumulator.hi + 1``
    """

    def fires(acc: Floats) -> NDArray[np.bool_]:
        value = gain * (acc - centre) + bias
        value = value if bend is None else bend(value)
        return np.asarray(value >= 0 if at_zero else value > 0)

    lo, hi = float(accumulator.lo), float(accumulator.hi)
    falling, start = gain < 0, bias
    if bend is not None:
        falling, start = (gain < 0) != (bend.scale < 0), bias - bend.before(0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        near = np.where(gain == 0, 0.0, centre - start / gain)
    # The quotient may be off by a rounding; the first integer that behaves otherwise than those below it is searched
    # around it with the source's own expression.
    level = np.clip(np.floor(near) - 1, lo, hi + 1)
    for _ in range(4):
        below = fires(level) == falling
        level = np.where(below & (level <= hi), level + 1, level)
    level = np.where(gain == 0, np.where(fires(np.zeros_like(gain)), lo, hi + 1), level)
    return FoldedThreshold(levels=level.astype(np.int64)[:, None], falling=falling.astype(np.int64))
