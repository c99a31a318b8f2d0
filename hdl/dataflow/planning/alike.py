"""Two Programs with the same folds, so that a comparison of them is not one of folds."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ....quant.program import Program
from ..build import StageBuild, bind, default_stage_plan
from ..plan import Plan
from ..schedule import schedule
from ..stages import stages_of
from .fold import fold
from .narrow import narrowed
from .queues import with_queues

__all__ = ["FOLD", "alike"]

FOLD = ("pe", "simd", "taps", "lines", "blocks")
"""What of a stage plan is the fold; the rest follows from it and from the stage."""


def alike(program: Program, plan: Plan, like: Program, *, structures: Mapping[str, str] = MappingProxyType({})) -> Plan:
    """``program`` with the folds that ``plan`` gives ``like``; where the networks differ in more than their kernel,
    with folds of the same rate.

    Parameters
    ----------
    structures : of the lanes of a kernel, where not the default one
    """
    stages, others = stages_of(program), stages_of(like)
    if [stage.geometry for stage in stages] != [stage.geometry for stage in others]:
        interval = schedule(bind(like, plan), like, pixels=plan.pixels).interval
        plan = fold(
            program, device=plan.device, clock_mhz=plan.clock_mhz, fps=plan.clock_mhz * 1e6 / interval,
            fabric=plan.fabric, structures=structures,
        )  # fmt: skip
    builds = []
    for stage, own in zip(stages, plan.stages, strict=True):
        chosen = default_stage_plan(stage, **{key: getattr(own, key) for key in FOLD})
        chosen = replace(chosen, structure=structures.get(stage.kind, ""))
        builds.append(StageBuild(stage=stage, plan=chosen, fabric=plan.fabric))
    return narrowed(program, replace(plan, stages=with_queues(builds, program, pixels=plan.pixels)))
