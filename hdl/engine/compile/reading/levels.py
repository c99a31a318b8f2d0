"""Thresholds of several levels: as a requantise where they are evenly spaced, else as levels of the engine."""

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format
from .....quant.program import Requantise, Threshold
from ...plan import LEVELS, EnginePlan
from .layers import Ints
from .lines import ends_of, lines_of

__all__ = ["as_requantise", "held_levels"]


def as_requantise(op: Threshold, sums: Format, plan: EnginePlan) -> Requantise | None:
    """The requantise that equals ``op`` for every sum of the format ``sums``; None where a channel has none.

    Levels that a uniform quantiser came from are ``ceil(k * step - start)``: there are M, B and S with which a sum
    reaches the k-th level exactly when ``acc * M + B`` reaches ``k << S``.
    """
    found = lines_of(_rising(op), op.falling, sums, plan.factor_bits)
    if found is None:
        return None
    multiplier, offset, shift = found
    return Requantise(
        name=op.name, source=op.source, multiplier=multiplier, offset=offset, shift=shift, format=op.format, lo=0,
        hi=op.thresholds.shape[1],
    )  # fmt: skip


def held_levels(op: Threshold, sums: Format, plan: EnginePlan) -> tuple[Requantise, Ints]:
    """What brings sums to where the engine's levels are, and the (O, n) levels there, ascending.

    Raises
    ------
    UserError
        for levels that the engine does not have, or that lie further apart than it can tell, by channel.
    """
    count, lowest, room = op.thresholds.shape[1], plan.level.lo, plan.level.hi - plan.level.lo - 3
    if count > plan.levels:
        wanted = next((levels for levels in LEVELS if levels >= count), None)
        advice = f"build it with --levels {wanted}" if wanted else f"no engine has more than {LEVELS[-1]} levels"
        raise UserError(
            f"the thresholds of {op.name!r} have {count} levels that are not evenly spaced; the engine has "
            f"{plan.levels or 'none'}; {advice}"
        )
    # One more than the largest is never reached, the lowest one always.
    levels, offset = np.full((len(op.thresholds), plan.levels), plan.level.hi), []
    for channel, own in enumerate(_rising(op)):
        least, most = ends_of(sums, int(op.falling[channel]))
        real = own[(own > least) & (own <= most)]
        first, last = (int(real[0]), int(real[-1])) if len(real) else (0, 0)
        if last - first > room:
            raise UserError(
                f"the levels of {op.name!r}, channel {channel}, reach from {first:,} to {last:,}; the engine tells "
                f"numbers that are at most {room:,} apart; " + _wider(plan)
            )
        middle = (first + last) // 2
        offset.append(-middle)
        levels[channel, :count] = np.where(own <= least, lowest, np.where(own > most, plan.level.hi, own - middle))
    moved = Requantise(
        name=op.name, source=op.source, multiplier=_signs(op), offset=np.array(offset), shift=0, format=op.format,
        lo=lowest, hi=plan.level.hi - 1,
    )  # fmt: skip
    return moved, levels


def _wider(plan: EnginePlan) -> str:
    return "build it with --bits 16" if plan.bits < 16 else "no engine tells more"


def _signs(op: Threshold) -> Ints:
    """-1 for channels whose levels count the sums that do not reach them."""
    signs: Ints = 1 - 2 * op.falling
    return signs


def _rising(op: Threshold) -> list[Ints]:
    """The levels of every channel for its sum, or, where it is falling, for its negative."""
    return [
        1 - levels[::-1] if falling else levels
        for levels, falling in zip(op.thresholds, op.falling.tolist(), strict=True)
    ]
