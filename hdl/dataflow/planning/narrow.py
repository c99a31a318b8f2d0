"""How far constants that a bus can write may lie from those of the network at hand."""

from dataclasses import replace

from ....quant.program import MAX_SHIFT, Program
from ..kinds.activation import Requantised
from ..kinds.sums import WindowStage
from ..plan import Plan
from ..stages import stages_of

__all__ = ["narrowed"]

BELOW, ABOVE = 1, 2
"""A network trained anew has sums of nearly the same spread, so its shifts are the same or a neighbour: one of four,
which is two selections per bit instead of five."""


def narrowed(program: Program, plan: Plan) -> Plan:
    """``plan`` with a range of shifts around that of ``program`` for every stage whose channels share one, and with
    clamps only where ``program`` clamps to less than a format, where a bus can write them; any other plan as it is."""
    if not plan.reloads:
        return plan
    made = {
        stage.name: stage.activation
        for stage in stages_of(program)
        if isinstance(stage, WindowStage) and isinstance(stage.activation, Requantised)
    }
    stages = []
    for stage in plan.stages:
        if (own := made.get(stage.name)) is not None:
            shift = own.shared_shift
            ends = () if shift is None else (max(shift - BELOW, 0), min(shift + ABOVE, MAX_SHIFT))
            stage = replace(stage, shifts=ends, clamps=own.clamps)
        stages.append(stage)
    return replace(plan, stages=tuple(stages))
