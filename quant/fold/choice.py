"""Which integers stand for a real requantise: how wide its factors are, whether channels have shifts of their own.

The cheapest hardware comes first: one shift for all channels and factors of 16 bits. It is left where digits are lost
that the result would show, or, for a source that is integers itself, where a result would come out otherwise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..program import MAX_PRODUCT_BITS, MULTIPLIER_BITS
from .factors import Factors, FoldedThreshold, Reach, fold_scale
from .rounding import Staircase, can_tie

__all__ = ["Choice", "Wanted", "choose"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_WIDTHS = (MULTIPLIER_BITS, 24, 32)
_NEAR = 0.5
"""Units of a result by which factors may miss, where near is enough: as much as the rounding itself."""
_DIGITS = 2.0**-15
"""The share of the range of a wide result by which factors may miss; 16 bits cannot promise a smaller one."""
_WORTH = 2.0
"""Shifts of their own must bring channels nearer by this factor, that is by a digit."""
_EXACT = 1 / 64
"""Units of a result within which factors are exact, where two operands leave no staircase to compare."""
_STEPS = 1 << 12
"""The most steps of a staircase that is compared step by step; finer ones are compared by their error."""
_CHEAP_LEVELS, _MOST_LEVELS = 3, 15
"""Comparisons per unit that cost less than a wide multiplier, and that are bearable where no multiplier is exact."""
_SAID = 2.0**-13
"""Error, as a share of the range of a result, from which on it is said. Never below one unit."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A requantise of real numbers: ``gain * (acc - centre) + bias + residual * r``, rounded and clamped.

    Attributes
    ----------
    gain, centre, bias : (O,), in units of the result
    residual : units of the result per unit of the residual
    residual_reach : the largest magnitude of the residual, 0 without one
    lo, hi : the clamp, or None for scores, which have none
    least, most : (O,), the range of the sums
    accumulator : their format
    terms : factors become sums of at most so many signed powers of two; 0: any
    exact : the source is a network of integers
    even : the source rounds ties to the even number
    shared : channels have one shift in any case, so that the hardware of another network fits
    """

    gain: Floats
    centre: Floats
    bias: Floats
    residual: float
    residual_reach: int
    lo: int | None
    hi: int | None
    least: Ints
    most: Ints
    accumulator: Format
    terms: int
    exact: bool
    even: bool
    shared: bool = False

    @property
    def spread(self) -> float:
        """The most that the residual adds or takes, in units of the result."""
        return self.residual * self.residual_reach

    def staircase(self) -> Staircase:
        """The wanted function as a staircase of integer results.

        Scores, which have no clamp, are looked at over all that their sums can give; where a residual is added, the
        staircase reaches as far beyond the clamp as the residual can move it.
        """
        if self.lo is None or self.hi is None:
            ends = [self.gain * (end - self.centre) + self.bias for end in (self.least, self.most)]
            lo, hi = (int(bound) for bound in (np.floor(np.minimum(*ends).min()), np.ceil(np.maximum(*ends).max())))
        else:
            lo, hi = self.lo - int(self.spread), self.hi + int(self.spread)
        return Staircase(
            gain=self.gain, centre=self.centre, bias=self.bias, lo=lo, hi=hi, least=self.least, most=self.most,
            even=self.even,
        )  # fmt: skip

    def fold(self, *, bits: int, channelwise: bool) -> "Choice":
        """This choice with factors of ``bits`` bits."""
        reach = None
        if self.lo is not None and self.hi is not None:
            reach = Reach(
                least=self.least, most=self.most, residual=self.residual_reach, lo=self.lo, hi=self.hi
            )  # fmt: skip
        factors = fold_scale(
            gain=self.gain, centre=self.centre, bias=self.bias, residual=self.residual, accumulator=self.accumulator,
            terms=self.terms, bits=bits, channelwise=channelwise, least_shift=int(self.even), reach=reach,
        )  # fmt: skip
        return Choice(factors=factors, even=self.even and can_tie(factors))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Factors, and whether ties among them go to the even number."""

    factors: Factors
    even: bool


def choose(wanted: Wanted) -> tuple[Choice | FoldedThreshold, str]:
    """The factors, or thresholds, for ``wanted``, and what they lose, in words: nothing where the text is empty.

    Raises
    ------
    ValueError
        for factors that no multiplier holds.
    """
    stairs = wanted.staircase()
    if not wanted.exact:
        return _near(wanted, stairs)
    if wanted.lo is None or wanted.residual or wanted.terms or stairs.hi - stairs.lo > _STEPS:
        return _narrowest(wanted, stairs)
    return _same_steps(wanted, stairs)


def _near(wanted: Wanted, stairs: Staircase) -> tuple[Choice, str]:
    """Factors of 16 bits, with shifts of their own where these show."""
    found = wanted.fold(bits=MULTIPLIER_BITS, channelwise=False)
    error = _error(wanted, stairs, found)
    if error.max() > max(_NEAR, (stairs.hi - stairs.lo) * _DIGITS) and not wanted.shared:
        other = wanted.fold(bits=MULTIPLIER_BITS, channelwise=True)
        left = _error(wanted, stairs, other)
        if left.max() * _WORTH < error.max():
            found, error = other, left
    return found, _lost(stairs, error)


def _narrowest(wanted: Wanted, stairs: Staircase) -> tuple[Choice, str]:
    """The narrowest factors that are exact for all that can be told by their error."""
    for found in _candidates(wanted):
        error = _error(wanted, stairs, found)
        if error.max() <= _EXACT:
            break
    return found, _lost(stairs, error)


def _same_steps(wanted: Wanted, stairs: Staircase) -> tuple[Choice | FoldedThreshold, str]:
    """The narrowest factors with which every step stands where it does in the source, else thresholds, else the
    nearest."""
    levels = stairs.levels()
    unsigned = stairs.lo == 0
    fewest, best = levels.size + 1, None
    for found in _candidates(wanted):
        wide = found.factors.bits > MULTIPLIER_BITS
        if wide and unsigned and stairs.hi <= _CHEAP_LEVELS:
            break
        wrong = int((levels != stairs.levels_of(found.factors, even=found.even)).sum())
        if wrong < fewest:
            fewest, best = wrong, found
        if not wrong:
            return found, ""
    if unsigned and stairs.hi <= _MOST_LEVELS:
        return _thresholds(stairs, levels), ""
    assert best is not None
    return best, f"{fewest} of its {levels.size} steps stand at other sums than in the source"


def _thresholds(stairs: Staircase, levels: Ints) -> FoldedThreshold:
    """The steps as thresholds: a falling channel counts those that a sum does not reach."""
    falling = stairs.gain < 0
    rows = np.where(falling[:, None], levels[:, ::-1] + 1, levels)
    return FoldedThreshold(levels=rows, falling=falling.astype(np.int64))


def _candidates(wanted: Wanted) -> list[Choice]:
    """All that come into question, the cheapest first."""
    widths = [bits for bits in _WIDTHS if wanted.accumulator.bits + bits <= MAX_PRODUCT_BITS and not wanted.terms]
    ways = [(MULTIPLIER_BITS, False), *((bits, True) for bits in widths or _WIDTHS[:1])]
    found: list[Choice] = []
    reason: ValueError | None = None
    for bits, channelwise in ways:
        try:
            found.append(wanted.fold(bits=bits, channelwise=channelwise))
        except ValueError as error:
            reason = error
    if not found:
        assert reason is not None
        raise reason
    return found


def _error(wanted: Wanted, stairs: Staircase, found: Choice) -> Floats:
    """(O,): by how many units of the result the factors may miss."""
    factors = found.factors
    held = np.ldexp(factors.residuals.astype(np.float64), -factors.shifts.astype(np.int32))
    with np.errstate(divide="ignore", invalid="ignore"):
        other = np.abs(held / wanted.residual - 1) * wanted.spread if wanted.residual else 0.0
    return stairs.error(factors) + other


def _lost(stairs: Staircase, error: Floats) -> str:
    worst = int(error.argmax())
    if error[worst] <= max(1.0, (stairs.hi - stairs.lo) * _SAID):
        return ""
    return f"the factor of channel {worst} is off by up to {error[worst]:.3g} units of its result"
