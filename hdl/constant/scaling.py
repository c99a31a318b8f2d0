"""What makes features of accumulators, for constants: a requantise with as few additions as give the same results.

A requantise is a staircase: ``y`` reaches ``k`` at the accumulator ``T_k``. Any line ``acc * M + B`` that crosses
``k << S`` between ``T_k - 1`` and ``T_k``, for all ``k``, gives the same ``y``. Of those lines the one is taken whose M
has the fewest digits, and of its B that with the most zeros below.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quant.program import powers_of_two

__all__ = ["Line", "LineSteps", "simplest_line", "steps_of"]

MOST_STEPS = 4096
"""Steps of a staircase for which other lines are sought."""
CANDIDATES = 512
"""Most factors that are tried for one shift, those with the fewest digits."""
MOST_SHIFT = 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """``y = (acc * multiplier + offset) >> shift``, to be clamped."""

    multiplier: int
    offset: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LineSteps:
    """``y`` for the accumulators from ``lo`` on, never falling.

    Attributes
    ----------
    bottom, top : the first and the last y
    steps : for each y above ``bottom`` the first accumulator that reaches it
    """

    bottom: int
    top: int
    steps: NDArray[np.int64]


def steps_of(line: Line, lo: int, hi: int, clamp: tuple[int, int]) -> LineSteps:
    """What ``line``, which does not fall, gives for ``lo..hi``."""
    ends = [int(np.clip((acc * line.multiplier + line.offset) >> line.shift, *clamp)) for acc in (lo, hi)]
    wanted = [(y << line.shift) - line.offset for y in range(ends[0] + 1, ends[1] + 1)]
    steps = np.array([-(-value // line.multiplier) for value in wanted], np.int64)
    return LineSteps(bottom=ends[0], top=ends[1], steps=steps)


def simplest_line(line: Line, lo: int, hi: int, clamp: tuple[int, int]) -> Line:
    """The line with the fewest digits that gives for ``lo..hi`` what ``line``, which does not fall, gives, both once
    clamped."""
    stairs = steps_of(line, lo, hi, clamp) if clamp[1] - clamp[0] <= MOST_STEPS else None
    if stairs is None or len(stairs.steps) < 2 or len(stairs.steps) > MOST_STEPS:
        return line
    heights = np.arange(stairs.bottom + 1, stairs.top + 1, dtype=np.int64)
    # What is not clamped must not be left at the ends either.
    floors, before = (heights, stairs.steps), (heights, stairs.steps - 1)
    if stairs.bottom > clamp[0]:
        floors = np.append(heights, stairs.bottom), np.append(stairs.steps, lo)
    if stairs.top < clamp[1]:
        before = np.append(heights, stairs.top + 1), np.append(stairs.steps - 1, hi)
    best = line
    for shift in range(min(line.shift, MOST_SHIFT) + 1):
        for multiplier in _factors(line, stairs, shift):
            if _cost(multiplier, shift) >= _cost(best.multiplier, best.shift):
                continue
            least = int(((floors[0] << shift) - floors[1] * multiplier).max())
            most = int(((before[0] << shift) - before[1] * multiplier).min()) - 1
            if least <= most:
                best = Line(multiplier=multiplier, offset=_roundest(least, most), shift=shift)
    return best


def _cost(multiplier: int, shift: int) -> tuple[int, int]:
    """Digits, which are adders, then bits that are moved away."""
    return len(powers_of_two(multiplier)), shift


def _factors(line: Line, stairs: LineSteps, shift: int) -> list[int]:
    """Factors with which a line over ``shift`` can climb ``stairs``, those with the fewest digits first."""
    rise, run = len(stairs.steps) - 1, int(stairs.steps[-1] - stairs.steps[0])
    least = ((rise - 1) << shift) // (run + 1) if rise > 1 else 0
    most = -(-((rise + 1) << shift) // max(run - 1, 1))
    if most - least > 1 << 14:
        return []
    found = sorted(range(max(least, 1), most + 1), key=lambda factor: (len(powers_of_two(factor)), factor))
    return found[:CANDIDATES]


def _roundest(least: int, most: int) -> int:
    """The number in ``least..most`` with the most zeros at its end."""
    zeros = 0
    while (most >> zeros + 1) << zeros + 1 >= least:
        zeros += 1
        if zeros > 64:
            return 0
    return (most >> zeros) << zeros
