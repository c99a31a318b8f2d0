"""How near the integers of a requantise come to the real function that they stand for.

That function is, for a channel, ``clamp(round(gain * (acc - centre) + bias), lo, hi)``. Without a residual it is a
staircase over the sums; `Staircase.levels` says at which sum each of its steps stands, and two staircases are compared
step by step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .factors import Factors

__all__ = ["Staircase", "can_tie"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NEAR = 1e-9
"""Relative distance from a whole sum within which a step is taken to stand on it: quotients of doubles tell no more."""


@dataclass(frozen=True, kw_only=True)
class Staircase:
    """The real function of every channel over the sums that can come.

    Attributes
    ----------
    gain, centre, bias : (O,), in units of the result
    lo, hi : the clamp
    least, most : (O,), the range of the sums
    even : ties go to the even number, else up
    """

    gain: Floats
    centre: Floats
    bias: Floats
    lo: int
    hi: int
    least: Ints
    most: Ints
    even: bool = False

    def levels(self) -> Ints:
        """(O, hi - lo): the sum from which each step above ``lo`` is reached, in the order of the steps.

        That is the smallest sum that gives ``lo + 1 + k`` or more, of a falling channel the largest. Steps that no sum
        of the range reaches stand one beyond its end.
        """
        steps = np.arange(self.lo + 1, self.hi + 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            at = self.centre[:, None] + (steps - 0.5 - self.bias[:, None]) / self.gain[:, None]
            whole = np.rint(at)
            tie = np.abs(at - whole) <= _NEAR * np.maximum(np.abs(at), 1.0)
        later = tie & (steps % 2 == 1) & self.even  # where a tie belongs to the even number, an odd step comes later
        rising = np.where(tie, whole, np.ceil(at)) + later
        falling = np.where(tie, whole, np.floor(at)) - later
        found = np.where((self.gain < 0)[:, None], falling, rising)
        constant = np.rint(self.bias) if self.even else np.floor(self.bias + 0.5)
        return self._within(found, constant[:, None] >= steps, self.gain == 0)

    def levels_of(self, factors: Factors, *, even: bool) -> Ints:
        """The sums at which a requantise with ``factors`` makes its steps, as `levels` says of the real function;
        its ties go to the ``even`` number or up."""
        steps = np.arange(self.lo + 1, self.hi + 1)
        shift = factors.shifts[:, None]
        need = (steps << shift) - factors.offset[:, None]  # so much must acc * M be
        size = np.maximum(np.abs(factors.multiplier), 1)[:, None]
        at = -(-need // size)
        if even:
            at = at + ((need % size == 0) & (steps % 2 == 1) & (shift > 0))
        found = np.where((factors.multiplier < 0)[:, None], -at, at)
        return self._within(found.astype(np.float64), need <= 0, factors.multiplier == 0)

    def _within(self, found: Floats, reached: NDArray[np.bool_], constant: NDArray[np.bool_]) -> Ints:
        """``found`` within the range of the sums; of a ``constant`` channel all or none reach a step."""
        falling = (self.gain < 0)[:, None]
        first = np.where(falling, self.most[:, None], self.least[:, None])
        never = np.where(falling, self.least[:, None] - 1, self.most[:, None] + 1)
        found = np.where(constant[:, None], np.where(reached, first, never), found)
        return np.asarray(found.clip(np.minimum(first, never), np.maximum(first, never)), np.int64)

    def error(self, factors: Factors) -> Floats:
        """(O,): by how many units of the result ``factors`` may miss the real value of a sum, before it is rounded.

        Sums whose results are clamped do not count.
        """
        off = np.abs(np.ldexp(factors.multiplier.astype(np.float64), -factors.shifts.astype(np.int32)) - self.gain)
        span = np.maximum(np.abs(self.least - self.centre), np.abs(self.most - self.centre))
        reach = np.maximum(np.abs(self.lo - self.bias), np.abs(self.hi - self.bias))
        with np.errstate(divide="ignore", invalid="ignore"):
            span = np.where(self.gain == 0, span, np.minimum(span, reach / np.abs(self.gain)))
        return np.asarray(off * span)


def can_tie(factors: Factors) -> bool:
    """Whether a sum can lie exactly between two results: then it matters to whom a tie belongs.

    Only real factors that the integers hold exactly make ties; between rounded ones, what looks like a tie is none.
    """
    finest = np.gcd(np.gcd(factors.multiplier, factors.residuals), np.int64(1) << factors.shifts)
    return bool((factors.exact & (factors.shifts > 0) & (factors.offset % finest == 0)).any())
