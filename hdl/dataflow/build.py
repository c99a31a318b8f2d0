"""Stages with their folds joined to a pipeline: who reads what, in which beats, and how deep queues are at least."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ...common.errors import UserError
from ...quant.program import Program
from .handshake import check_unstopped
from .kinds.build import StageBuild
from .plan import Plan, StagePlan
from .stages import INPUT_STAGE, Stage, stages_of

__all__ = ["StageBuild", "bind", "connected", "default_stage_plan", "queue_depth", "readers_of"]


def bind(program: Program, plan: Plan) -> tuple[StageBuild, ...]:
    """Join every stage of ``program`` with its fold.

    Raises
    ------
    UserError
        when the Plan does not fit the Program.
    """
    stages = stages_of(program, fixed_weights=plan.fixed_weights)
    names = [stage.name for stage in stages]
    planned = [stage.name for stage in plan.stages]
    if names != planned:
        raise UserError(f"the plan is for stages {', '.join(planned)}, but the program has {', '.join(names)}")
    pixels = int(np.prod(program.input.shape[1:]))
    if pixels % plan.pixels:
        raise UserError(f"the plan does not fit the program: {plan.pixels} pixels per beat do not divide {pixels}")
    elements = int(np.prod(program.shape(program.output)))
    if plan.outputs > 1 and (program.classifies or elements % plan.outputs):
        limit = "a classifier gives one score" if program.classifies else f"they do not divide {elements}"
        raise UserError(f"the plan does not fit the program: {plan.outputs} outputs per beat, but {limit}")
    channels = program.input.shape[0] * plan.pixels
    builds = connected(
        zip(stages, plan.stages, strict=True), channels=channels, outputs=plan.outputs, fabric=plan.fabric,
        handshake=plan.stream != "none",
    )  # fmt: skip
    for build in builds:
        try:
            build.check()
        except ValueError as error:
            raise UserError(f"the plan does not fit the program: {error}") from error
    if plan.stream == "none":
        check_unstopped(program, plan, builds)
    return builds


def connected(
    stages: Iterable[tuple[Stage, StagePlan]], *, channels: int, outputs: int = 1, fabric: str = "generic",
    handshake: bool = True,
) -> tuple[StageBuild, ...]:  # fmt: skip
    """Builds that know the beats of those that read them, and of those that they read.

    Parameters
    ----------
    channels : elements per beat of the input
    outputs : elements per beat of the packet
    handshake : of all streams, see `StageBuild`
    """
    builds = [StageBuild(stage=stage, plan=plan, fabric=fabric, handshake=handshake) for stage, plan in stages]
    readers = readers_of(builds)
    counts = {INPUT_STAGE: channels}
    result = []
    for build in builds:
        taken = sorted(readers.get(build.stage.name, ()), key=lambda reader: reader[1])
        width = outputs
        if taken:
            reader, port = taken[0]
            width = reader.takes(port)
        streams = tuple(counts[name] for name in build.stage.reads)
        result.append(replace(build, next_simd=width, counts=streams))
        counts[build.stage.name] = result[-1].gather * result[-1].out_count
    return tuple(result)


def readers_of(builds: Iterable[StageBuild]) -> dict[str, list[tuple[StageBuild, int]]]:
    """Who reads what a stage gives (or the pixels): builds, and which of their ``reads`` it is."""
    readers: dict[str, list[tuple[StageBuild, int]]] = {}
    for build in builds:
        for port, name in enumerate(build.stage.reads):
            readers.setdefault(name, []).append((build, port))
    return readers


def default_stage_plan(
    stage: Stage, *, simd: int, pe: int = 1, taps: int = 1, lines: int = 1, blocks: int = 1
) -> StagePlan:
    """The fold ``pe`` x ``simd`` x ``taps`` x ``lines`` x ``blocks`` with as few requantisers and rows as never cost a
    cycle.

    Its queue is for a next stage that takes every beat at once, and a residual's holds one beat; `queues.with_queues`
    makes them right for the real ones.
    """
    fold = StagePlan(
        name=stage.name, pe=pe, simd=simd, taps=taps, lines=lines, blocks=blocks, requantisers=1, rows=1, queue=1
    )
    draft = stage.drafted(fold)
    return replace(draft, queue=queue_depth(StageBuild(stage=stage, plan=draft), pause=0))


def queue_depth(build: StageBuild, *, pause: int) -> int:
    """Beats of the queue behind a stage, if the next one pauses for ``pause`` cycles.

    A group claims its beats when it begins; they are free again when they have left. Between the two lie the latency,
    the beats before them, one cycle each for gathering, entering and leaving, and the longest pause of the next stage.
    Beats that wait to be gathered come on top, and those that come faster than on average.
    """
    beats = -(-build.group_beats // build.gather) * build.split
    cycles = build.group_latency + build.group_beats + beats + 3 + pause
    claimed = build.group_beats * (-(-cycles // build.window.steps) + 1) + build.stage.burst(build.plan)
    return -(-(claimed + build.gather - 1) // build.gather)
