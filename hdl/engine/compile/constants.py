"""The constants of output channels as the requantisers of an engine hold them."""

from ....common.errors import UserError
from ..plan import SHIFT_STEP, EnginePlan
from ..records import constants_record
from .reading.layers import EngineLayer

__all__ = ["held_constants"]


def held_constants(layer: EngineLayer, channel: int, plan: EnginePlan) -> dict[str, int]:
    """The fields of `records.constants_record` for a channel of ``layer``.

    ``v >> S`` is ``(v << k) >> (S + k)``: M, B and R are moved up by what brings S to a whole number of steps. An S
    that leaves nothing but the sign of the widest sum may as well be smaller.

    Raises
    ------
    UserError
        for a factor for which there is no room, by layer and name.
    """
    values = {name: int(getattr(layer, name)[channel]) for name in ("multiplier", "offset", "residual_multiplier")}
    steps, shift = plan.shift_steps, int(layer.shift[channel])
    if shift > steps.hi * SHIFT_STEP:
        shift = steps.hi * SHIFT_STEP
    up = -shift % SHIFT_STEP
    held = {name: value << up for name, value in values.items()}
    for field in constants_record(plan).fields:
        if field.name in held and not field.format.allows(held[field.name]):
            raise UserError(
                f"the {field.name.replace('_', ' ')} {values[field.name]} of {layer.name!r}, channel {channel}, needs "
                f"{held[field.name].bit_length() + 1} bits at a shift of {shift}; the engine has {field.bits}"
            )
    return {**held, "shift": (shift + up) // SHIFT_STEP}
