"""Pipelines without handshake: beats have a valid alone, and nothing can hold them up.

Only a chain of layers that are circuits of constants and look at one pixel is of that kind: each takes a beat in every
cycle and gives its results a fixed number of cycles later. Where a queue stands otherwise, a rank of registers takes
its place, which takes the same cycle; so the cycle model is one.
"""

from collections.abc import Sequence
from dataclasses import replace

from ...common.errors import UserError
from ...quant.program import Program
from ..maps.direct import DirectShape
from .kinds.build import StageBuild
from .kinds.constant import no_constants
from .kinds.layer import LayerStage
from .plan import Plan

__all__ = ["check_unstopped", "without_handshake"]


def without_handshake(plan: Plan) -> Plan:
    """``plan`` with streams that have a valid alone; whether it can be built so, `build.bind` says."""
    return replace(plan, stream="none", stages=tuple(replace(stage, queue=1) for stage in plan.stages))


def check_unstopped(program: Program, plan: Plan, builds: Sequence[StageBuild]) -> None:
    """Raise `UserError` where ``plan``, whose streams have no handshake, has something that may wait: what it is."""
    if fault := _fault(program, plan, builds):
        raise UserError(f"stream none needs a design in which nothing waits, but {fault}")


def _fault(program: Program, plan: Plan, builds: Sequence[StageBuild]) -> str:
    """What may wait in a design; empty where nothing does."""
    if plan.control != "none":
        return f"the registers behind {plan.control} stop its streams; leave --control out"
    if program.classifies:
        return f"a classifier gives its {program.classes} scores and its class one after the other"
    channels = program.input.shape[0] * plan.pixels
    for build in builds:
        name, stage = build.stage.name, build.stage
        if not isinstance(stage, LayerStage):
            return f"stage {name!r} ({stage.kind}) is no layer of constants"
        if not build.plan.reach:
            why = no_constants(stage, build.plan) or "its plan leaves its weights in memories (reach 0)"
            return f"stage {name!r} is no circuit of constants: {why}"
        if not isinstance(build.window, DirectShape):
            return f"stage {name!r} keeps rows of its map, for it looks at more than one pixel"
        if channels != build.x_count:
            return f"{channels} elements per beat come to stage {name!r}, which takes {build.x_count}"
        if build.plan.queue != 1:
            return f"queue of stage {name!r} must be 1, not {build.plan.queue}"
        channels = build.out_count
    if channels != plan.outputs:
        return f"{plan.outputs} elements of a result leave per beat, and {channels} are made"
    return ""
