"""Divisions: products of tokens or stored numerators, scaled by a requantise, and rows of dividers behind it."""

import numpy as np

from ......common.errors import UserError
from ......quant.program import Divide, MatMul, Program, Requantise
from ....plan import MOST_SUM_BITS, RESIDUAL_BITS, EnginePlan
from ...advice import built_with
from ..layers import EngineNetwork

__all__ = ["as_divided", "check_denominators", "check_divided"]


def as_divided(op: Divide) -> Requantise:
    """What stands in front of the dividers: ``(num*M + d*B) >> S``, to which denominators come as a residual."""
    return Requantise(
        name=op.name, source=op.source, multiplier=op.multiplier, offset=np.zeros_like(op.offset), shift=op.shift,
        format=op.format, lo=op.lo, hi=op.hi, residual=op.denominator, residual_multiplier=op.offset,
    )  # fmt: skip


def check_divided(op: Divide, program: Program, plan: EnginePlan) -> None:
    """Refuse a division that the engine does not have, by name.

    Raises
    ------
    UserError
        for an engine without divisions; for quotients that no element holds, denominators of more bits than residuals,
        and numerators that are wider behind their factors than results of requantisers; for a number of denominators
        other than that of the heads whose products are divided.
    """
    if not plan.divide:
        raise UserError(f"the engine has no divisions, which {op.name!r} is: build it with --divide")
    made, num, below = program.by_name[op.source], program.format(op.source), program.format(op.denominator)
    parts = program.shape(op.denominator)[0]
    if isinstance(made, MatMul) and made.heads != parts:
        raise UserError(
            f"{op.name!r} divides {made.heads} heads of {op.source!r} by {parts} denominators; the engine has one for "
            "each head"
        )
    if op.format.bits > plan.bits:
        raise UserError(f"the engine's quotients have at most {plan.bits} bits; those of {op.name!r} have {op.format}")
    if below.bits > RESIDUAL_BITS:
        raise UserError(
            f"the denominators {op.denominator!r} of {op.name!r} have {below}; the engine divides by at most "
            f"{RESIDUAL_BITS} bits"
        )
    factor, offset = (int(np.abs(values).max()) for values in (op.multiplier, op.offset))
    needed = (max(-num.lo, num.hi) * factor + below.hi * offset >> op.shift).bit_length() + 1
    if needed > plan.result.bits:
        raise UserError(
            f"{op.name!r} divides numbers of {needed} bits; the engine's have {plan.result.bits}; "
            f"{built_with('sum-bits', needed, MOST_SUM_BITS)}"
        )


def check_denominators(network: EngineNetwork) -> None:
    """Refuse denominators of which each begins a block, as heads of one channel do: they must stand side by side."""
    for layer in network.layers:
        if layer.divides and layer.residual is not None and (size := network.heads.get(layer.residual)):
            raise UserError(
                f"the denominators {layer.residual!r} of {layer.name!r} are stored as heads of {size} channels; the "
                "engine divides by those of whole words"
            )
