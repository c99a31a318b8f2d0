"""Levels that are evenly spaced, as a line: a factor, an offset and a shift with which sums count them."""

from collections.abc import Sequence

import numpy as np

from .....quant.formats import Format
from .....quant.ops.requantise import MAX_SHIFT, factor_bound
from .layers import Ints

__all__ = ["ends_of", "lines_of"]


def ends_of(sums: Format, falling: int) -> tuple[int, int]:
    """The least and the largest sum, or negative of one."""
    return (-sums.hi, -sums.lo) if falling else (sums.lo, sums.hi)


def lines_of(
    rising: Sequence[Ints], falling: Ints, sums: Format, factor_bits: int
) -> tuple[Ints, Ints, Ints] | None:  # fmt: skip
    """M, B and S of every channel, (O,) each, that make one: ``acc * M + B >> S``, clamped, counts the levels.

    Parameters
    ----------
    rising : levels of a channel, ascending, that its sum reaches; where ``falling`` is 1, that its negative does
    sums : their format
    factor_bits : of M, sign included
    """
    lines = []
    for levels, down in zip(rising, falling.tolist(), strict=True):
        line = _line(levels, *ends_of(sums, down), factor_bound(factor_bits))
        if line is None:
            return None
        lines.append(line)
    multiplier, offset, shift = np.array(lines, np.int64).T.copy()
    return multiplier * (1 - 2 * falling), offset, shift


def _line(levels: Ints, least: int, most: int, bound: int) -> tuple[int, int, int] | None:
    """M of at most ``bound``, B and the least S with which ``acc * M + B >> S``, clamped, counts the levels that a sum
    ``acc`` reaches, for every one in ``least..most``; None where there are none."""
    always, never = levels <= least, levels > most
    if np.all(always | never):
        return 0, int(always.sum()), 0
    # The k-th number ``k * step - start`` may lie above the first bound, and up to the second one.
    above = np.where(always, -np.inf, np.minimum(levels - 1, most))
    upto = np.where(never, np.inf, np.maximum(levels, least))
    i, j = np.triu_indices(len(levels), 1)
    shortest = np.max((above[j] - upto[i]) / (j - i), initial=-np.inf)
    longest = np.min((upto[j] - above[i]) / (j - i), initial=np.inf)
    for shift in range(MAX_SHIFT + 1 if shortest < longest else 0):
        first = int((1 << shift) / longest)
        if first > bound:
            break
        for m in range(max(first, 1), min(first + 2, bound) + 1):
            units = np.arange(1, len(levels) + 1) << shift
            low = int((units - m * np.maximum(levels, least))[~never].max())
            high = int((units - m * np.minimum(levels - 1, most))[~always].min()) - 1
            if low <= high:
                return m, low, shift
    return None
