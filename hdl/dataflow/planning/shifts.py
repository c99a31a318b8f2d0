"""How far shifts that are data may lie from those of the network at hand."""

from dataclasses import replace

from ....quant.program import MAX_SHIFT, Program
from ..plan import Plan
from ..stages import stages_of

__all__ = ["narrowed"]

BELOW, ABOVE = 1, 2
"""A network trained anew has sums of nearly the same spread, so its shifts are the same or a neighbour: one of four,
which is two selections per bit instead of five."""


def narrowed(program: Program, plan: Plan) -> Plan:
    """``plan`` with a range of shifts around that of ``program`` for every stage whose channels share one, where a bus
    can write it; any other plan as it is."""
    if not plan.reloads:
        return plan
    own = {stage.name: stage.shared_shift for stage in stages_of(program)}
    stages = []
    for stage in plan.stages:
        shift = own[stage.name]
        ends = () if shift is None else (max(shift - BELOW, 0), min(shift + ABOVE, MAX_SHIFT))
        stages.append(replace(stage, shifts=ends))
    return replace(plan, stages=tuple(stages))
