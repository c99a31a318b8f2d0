"""The integers of an activation with a second slope: LeakyReLU and PReLU, between batch norms in front and behind.

With ``z = g * (acc - c) + b`` and ``y = p * (z where z >= 0, else a * z) + q`` both sides are a line of the sum:
``p*g`` and ``p*a*g`` are their factors, ``p*b + q`` and ``p*a*b + q`` their offsets. The offsets differ wherever ``z``
is not 0 at the sum 0, which is why a requantise has one below the knee, too. The knee is the first sum on the other
side of ``z = 0``. Of a falling channel, ``g < 0``, the sums from the knee on are those of the negative side. A residual
is added to either side alike.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..program import MAX_PRODUCT_BITS, MAX_SHIFT, MULTIPLIER_BITS, factor_bound, offset_format
from .choice import Wanted
from .factors import Factors, Reach, fold_scale, fold_sign, rounded
from .rounding import can_tie

__all__ = ["Bend", "Slopes", "choose_slopes", "fold_slopes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_WIDTHS = (MULTIPLIER_BITS, 24, 32)
_NEAR, _EXACT, _SAID = 0.5, 1 / 64, 1.0
"""Units of a result by which both slopes may miss: where near is enough, where they have to be exact, and unsaid."""


@dataclass(frozen=True, kw_only=True)
class Bend:
    """``scale * (z where z >= 0, else slope * z) + lift``, all (O,), of any sign."""

    slope: Floats
    scale: Floats
    lift: Floats

    @classmethod
    def of(cls, slope: Floats) -> "Bend":
        """A LeakyReLU or PReLU with nothing behind it."""
        return cls(slope=slope, scale=np.ones_like(slope), lift=np.zeros_like(slope))

    def then(self, factor: Floats, term: Floats) -> "Bend":
        """What a batch norm behind it makes of it: ``factor`` times all, and ``term`` more."""
        return replace(self, scale=self.scale * factor, lift=self.lift * factor + term)

    def in_units(self, step: float) -> "Bend":
        """The same for a ``z`` and a result that are both counted in units of ``step``."""
        return replace(self, lift=self.lift / step)

    def __call__(self, z: Floats) -> Floats:
        """The bent value of ``z`` (.., O)."""
        return np.asarray(self.scale * np.where(z >= 0, z, self.slope * z) + self.lift)

    @property
    def monotonous(self) -> bool:
        """Whether the result strictly rises, or strictly falls, with ``z`` in every channel."""
        return bool((self.slope > 0).all() and self.scale.all())

    def before(self, y: float) -> Floats:
        """The ``z`` of which a monotonous bend makes ``y``, (O,)."""
        straight = (y - self.lift) / self.scale
        return np.asarray(np.where(straight >= 0, straight, straight / self.slope))


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """M, B, S of the sums from the knee on, N and D of those below; all (O,).

    Attributes
    ----------
    even : ties go to the even number
    """

    factors: Factors
    second: Ints
    second_offset: Ints
    knee: Ints
    even: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of a `Requantise`; terms, source, name and clamp are the caller's."""
        factors = self.factors
        return {
            "multiplier": factors.multiplier, "offset": factors.offset, "shift": factors.shift, "knee": self.knee,
            "second": self.second, "second_offset": self.second_offset, "factor_bits": factors.bits,
            "residual_multiplier": factors.residual, "ties": "even" if self.even else "up",
        }  # fmt: skip

    def values(self, acc: Floats) -> Floats:
        """What the integers make of sums (P, O), before the floor: in units of the result, without the half."""
        f = self.factors
        half = np.where(f.shifts > 0, 2.0 ** (f.shifts - 1.0), 0.0)
        above, below = acc * f.multiplier + f.offset, acc * self.second + self.second_offset
        return np.asarray((np.where(acc >= self.knee, above, below) - half) / 2.0**f.shifts)


def fold_slopes(
    *, bend: Bend, gain: Floats, centre: Floats, bias: Floats, accumulator: Format, residual: float = 0.0,
    terms: int = 0, bits: int = MULTIPLIER_BITS, channelwise: bool = False, least_shift: int = 0,
    reach: Reach | None = None,
) -> Slopes:  # fmt: skip
    """The integers of ``bend(gain * (acc - centre) + bias) + residual * r``.

    Both sides share S, the largest with which both fit. M's error cancels at ``centre``, as in `fold_scale`; N's at the
    knee, so that the two sides meet there.

    Parameters
    ----------
    bend : in units of the result; the others as in `fold_scale`

    Raises
    ------
    ValueError
        when the factors are too large for any shift, or all too small.
    """
    sign = fold_sign(gain=gain, centre=centre, bias=bias, accumulator=accumulator, at_zero=True)
    knee, falling = sign.levels[:, 0], sign.falling == 1
    bound, widest = factor_bound(bits), offset_format(accumulator, bits)
    still = gain == 0
    zero = np.where(still, 0.0, centre - bias / np.where(still, 1.0, gain))
    rising, sinking = bend.scale * gain, bend.scale * bend.slope * gain
    most: Ints = np.full(len(gain), MAX_SHIFT, np.int64)
    while True:
        upper = fold_scale(
            gain=rising, centre=centre, bias=bend.scale * bias + bend.lift, residual=residual, accumulator=accumulator,
            terms=terms, bits=bits, channelwise=channelwise, least_shift=least_shift, reach=reach, most_shift=most,
        )  # fmt: skip
        scale = 2.0**upper.shifts
        second = rounded(sinking * scale, terms, bound)
        constant = np.rint((bend.scale * bend.slope * bias + bend.lift) * scale)
        lower = np.where(still, constant, np.rint(bend.lift * scale) - np.rint(second * zero))
        lower += np.where(upper.shifts > 0, scale / 2, 0)
        if reach is not None:
            lower = _clipped(reach, lower, second, upper)
        fits = (np.abs(second) <= bound) & (lower >= widest.lo) & (lower <= widest.hi)
        if fits.all():
            break
        most = np.where(fits, upper.shifts, upper.shifts - 1) if channelwise else upper.shifts - 1
        if most.min() < least_shift:
            worst = np.abs(sinking)[~fits].max()
            raise ValueError(f"its second slope scales by up to {worst:.3g}, which {bits} bits cannot hold")
    second, lower = second.astype(np.int64), lower.astype(np.int64)
    multiplier, offset = upper.multiplier, upper.offset
    return Slopes(
        factors=replace(
            upper, multiplier=np.where(falling, second, multiplier), offset=np.where(falling, lower, offset),
            exact=upper.exact & (second == sinking * scale),
        ),
        second=np.where(falling, multiplier, second), second_offset=np.where(falling, offset, lower), knee=knee,
    )  # fmt: skip


def _clipped(reach: Reach, offset: Floats, factor: Floats, upper: Factors) -> Floats:
    """``offset`` as `Reach.clipped` has it, channels of one shift together."""
    result = offset.copy()
    for shift in np.unique(upper.shifts).tolist():
        here = upper.shifts == shift
        result[here] = reach.clipped(offset, factor, float(upper.residuals[here][0]), shift)[here]
    return result


def choose_slopes(wanted: Wanted, bend: Bend) -> tuple[Slopes, str]:
    """The cheapest integers for ``wanted`` whose sums ``bend`` bends, and what they lose, in words.

    As `choice.choose`: one shift and 16 bits first, shifts of their own where that shows, and wider factors where an
    exact source asks for them.

    Raises
    ------
    ValueError
        for class scores, and for factors that no multiplier holds.
    """
    if wanted.lo is None or wanted.hi is None:
        raise ValueError("class scores have no second slope; requantise it first")
    reach = Reach(
        least=wanted.least, most=wanted.most, residual=wanted.residual_reach, lo=wanted.lo, hi=wanted.hi
    )  # fmt: skip
    limit = _EXACT if wanted.exact else _NEAR
    best: tuple[Slopes, float] | None = None
    reason: ValueError | None = None
    for bits, channelwise in _ways(wanted):
        try:
            found = fold_slopes(
                bend=bend, gain=wanted.gain, centre=wanted.centre, bias=wanted.bias, residual=wanted.residual,
                terms=wanted.terms, bits=bits, accumulator=wanted.accumulator, channelwise=channelwise,
                least_shift=int(wanted.even), reach=reach,
            )  # fmt: skip
        except ValueError as error:
            reason = error
            continue
        error_of = _error(wanted, bend, found)
        if best is None or error_of < best[1]:
            best = found, error_of
        if error_of <= limit:
            break
    if best is None:
        assert reason is not None
        raise reason
    found, worst = best
    note = f"a factor is off by up to {worst:.3g} units of its result" if worst > _SAID else ""
    lower = replace(found.factors, multiplier=found.second, offset=found.second_offset)
    return replace(found, even=wanted.even and (can_tie(found.factors) or can_tie(lower))), note


def _ways(wanted: Wanted) -> list[tuple[int, bool]]:
    """Widths of factors, and whether channels have their own shift, the cheapest first."""
    ways = [(MULTIPLIER_BITS, False)]
    if not wanted.shared:
        ways.append((MULTIPLIER_BITS, True))
    if wanted.exact and not wanted.terms:
        ways += [(bits, True) for bits in _WIDTHS[1:] if wanted.accumulator.bits + bits <= MAX_PRODUCT_BITS]
    return ways


def _error(wanted: Wanted, bend: Bend, found: Slopes) -> float:
    """The most units of the result by which the integers miss: at the ends of the lines and where they are clamped,
    between which both are straight; and by what a rounded factor of the residual adds."""
    assert wanted.lo is not None
    assert wanted.hi is not None
    lo, hi = wanted.lo - wanted.spread, wanted.hi + wanted.spread
    points = [wanted.least, wanted.most, found.knee, found.knee - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        for steep in (bend.scale, bend.scale * bend.slope):
            factor, offset = steep * wanted.gain, steep * wanted.bias + bend.lift
            ends = [wanted.centre + (end - offset) / factor for end in (lo, hi)]
            points += [step(np.nan_to_num(end)) for end in ends for step in (np.floor, np.ceil)]
    acc = np.stack([np.asarray(point, np.float64).clip(wanted.least, wanted.most) for point in points])
    real, held = bend(wanted.gain * (acc - wanted.centre) + wanted.bias), found.values(acc)
    other = 0.0
    if wanted.residual:
        scaled = np.ldexp(found.factors.residuals.astype(np.float64), -found.factors.shifts.astype(np.int32))
        other = float(np.abs(scaled / wanted.residual - 1).max()) * wanted.spread
    return float(np.abs(real.clip(lo, hi) - held.clip(lo, hi)).max()) + other
