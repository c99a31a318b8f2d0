"""The constants of output channels as the requantisers of an engine hold them."""

from ....common.errors import UserError
from ..plan import FACTOR_BITS, SHIFT_STEP, EnginePlan
from ..record import Record
from ..records import constants_record, levels_record, slopes_record
from .advice import built_with
from .reading.layers import EngineLayer

__all__ = ["channel_records", "held_constants"]


def channel_records(
    layer: EngineLayer, channel: int | None, plan: EnginePlan
) -> list[tuple[Record, dict[str, int]]]:  # fmt: skip
    """What a channel of ``layer`` has, in the order in which it comes; None: a channel that there is not, whose results
    are 0.

    Raises
    ------
    UserError
        see `held_constants`.
    """
    constants, further = constants_record(plan), []
    spare = {"offset": layer.spare_offset, "second_offset": layer.spare_offset}
    held = {**dict.fromkeys(_NAMES, 0), **spare} if channel is None else held_constants(layer, channel, plan)
    if layer.second is not None:
        knee = 0 if channel is None else int(layer.second.knee[channel])
        values = {"multiplier": held["second_multiplier"], "offset": held["second_offset"], "knee": knee}
        further.append((slopes_record(plan), values))
    if layer.levels is not None:
        levels = [plan.level.hi] * plan.levels if channel is None else layer.levels[channel].tolist()
        record = levels_record(plan)
        further.append((record, {field.name: level for field, level in zip(record.fields, levels, strict=True)}))
    return [*further, (constants, {field.name: held[field.name] for field in constants.fields})]


_NAMES = ("multiplier", "offset", "residual_multiplier", "second_multiplier", "second_offset", "shift")


def held_constants(layer: EngineLayer, channel: int, plan: EnginePlan) -> dict[str, int]:
    """M, B, R and S of a channel of ``layer`` by the names of `records.constants_record`, and ``second_multiplier`` and
    ``second_offset``, N and D, where it has a second slope.

    ``v >> S`` is ``(v << k) >> (S + k)``: M, B and R are moved up by what brings S to a whole number of steps. Where a
    factor has no room for that, they are moved down as far as nothing is lost. An S that leaves nothing but the sign of
    the widest sum may as well be smaller.

    Raises
    ------
    UserError
        for a factor for which there is no room, by layer and name.
    """
    values = {name: int(getattr(layer, name)[channel]) for name in ("multiplier", "offset", "residual_multiplier")}
    if layer.second is not None:
        values["second_multiplier"] = int(layer.second.multiplier[channel])
        values["second_offset"] = int(layer.second.offset[channel])
    shift = min(int(layer.shift[channel]), plan.shift_steps.hi * SHIFT_STEP)
    up = -shift % SHIFT_STEP
    # Where no move has room for all, the first one says what is missing.
    moves = [{name: value << up for name, value in values.items()}]
    moves += [
        {name: value >> down for name, value in values.items()}
        for down in range(SHIFT_STEP - up, _most_down(values, even=layer.even, shift=shift) + 1, SHIFT_STEP)
    ]
    fits = [number for number, held in enumerate(moves) if _misfit(held, plan) is None]
    if not fits:
        name, bits = _misfit(moves[0], plan) or ("", 0)
        needed = moves[0][name].bit_length() + 1
        wanted = (needed - SHIFT_STEP + 2) // 2 * 2 if bits == plan.factor.bits else FACTOR_BITS[1]
        advice = "" if "offset" in name else f"; {built_with('factor-bits', wanted, FACTOR_BITS[-1])}"
        raise UserError(
            f"the {name.replace('_', ' ')} {values[name]} of {layer.name!r}, channel {channel}, needs {needed} bits at "
            f"a shift of {shift}; the engine has {bits}{advice}"
        )
    return {**moves[fits[0]], "shift": (shift + up) // SHIFT_STEP - fits[0]}


def _misfit(held: dict[str, int], plan: EnginePlan) -> tuple[str, int] | None:
    """The first number for which there is no room, and its bits."""
    formats = {
        "multiplier": plan.factor, "offset": plan.offset, "residual_multiplier": plan.residual_factor,
        "second_multiplier": plan.factor, "second_offset": plan.offset,
    }  # fmt: skip
    return next(((name, formats[name].bits) for name, value in held.items() if not formats[name].allows(value)), None)


def _most_down(values: dict[str, int], *, even: bool, shift: int) -> int:
    """Places by which all numbers can be moved down so that sums are moved, and floored, as the numbers are. Where ties
    count, offsets lose nothing, either."""
    exact = [value for name, value in values.items() if value and (even or "offset" not in name)]
    return min([shift - 1 if even else shift, *((value & -value).bit_length() - 1 for value in exact)])
