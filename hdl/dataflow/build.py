"""A stage together with its fold, and all of a Program's stages joined: what hardware and cycle model are made of."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm

import numpy as np

from ...common.errors import UserError
from ...quant.formats import format_for
from ...quant.program import MULTIPLIER_BITS, Program
from ..activation.requantise import Scale
from ..activation.threshold import LATENCY as THRESHOLD_LATENCY
from ..activation.threshold import Levels
from ..lanes.array import ArrayShape, Reduce
from ..lanes.kernels import STRUCTURES
from ..maps.join import JoinShape, join_takes
from ..maps.move import MoveShape, move_rows, moved_at_once
from ..maps.window import WindowShape, ring_rows
from .plan import Plan, StagePlan
from .stages import PIXELS, Stage, stages_of

__all__ = [
    "Shape", "StageBuild", "bind", "connected", "default_stage_plan", "queue_depth", "readers_of",
]  # fmt: skip

Shape = WindowShape | MoveShape | JoinShape
"""What takes the beats of a stage in, and in which rhythm."""
_STRUCTURES = {"adder": "carry", "mult": "star", "xnor": "count", "shift": "barrel"}
_OFFSET = ("max",)
"""Structures that a stage cannot have: their sums hold a constant of the weights, which requantise does not take
away."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StageBuild:
    """A stage together with its fold: every derived number that the hardware, the memory files and the cycle model
    read.

    Attributes
    ----------
    next_simd : elements per beat that the next stage (or the packet) takes; where several read, the first of them
    residual_count : elements per beat of the stage that the residual comes from
    join_counts : elements per beat of the streams that a join reads
    fabric : of the lanes
    """

    stage: Stage
    plan: StagePlan
    next_simd: int = 1
    residual_count: int = 1
    join_counts: tuple[int, ...] = ()
    fabric: str = "generic"

    @cached_property
    def array(self) -> ArrayShape:
        """The array of a stage with weights, one for each block."""
        assert self.stage.weight_format is not None
        # Without a choice, multipliers are left to synthesis, which has DSP blocks for them.
        structure = self.plan.structure or _STRUCTURES[self.stage.kind]
        return ArrayShape(
            kernel=self.stage.kind, structure=structure, fabric=self.fabric,
            pin=self.plan.simd * self.plan.taps * self.plan.lines, pout=self.plan.pe, x=self.stage.x,
            w=self.stage.weight_format,
        )  # fmt: skip

    @property
    def x_count(self) -> int:
        """Elements per beat of its input: channels of a pixel."""
        return self.plan.simd * self.plan.blocks

    @cached_property
    def groups(self) -> int:
        """Groups of output channels per output pixel."""
        return (self.stage.source[0] if self.stage.weight is None else self.stage.result[0]) // self.sums

    @cached_property
    def window(self) -> Shape:
        """Geometry of the window, or of the ring of a move, or of a join."""
        channels, height, width = self.stage.source
        pool, bits = self.stage.weight is None, self.stage.x.bits
        if self.stage.joins:
            return JoinShape(parts=self.stage.parts, height=height, width=width, bits=bits, simd=self.plan.simd)
        if self.stage.moves:
            return MoveShape(
                kind=self.stage.kind, channels=channels, height=height, width=width, bits=bits, simd=self.plan.simd,
                factor=self.stage.factor, offsets=self.stage.offsets, rows=self.plan.rows,
            )  # fmt: skip
        return WindowShape(
            channels=channels, height=height, width=width, kernel=self.stage.window, stride=self.stage.stride,
            padding=self.stage.padding, bits=bits, simd=self.x_count, taps=self.plan.taps,
            lines=self.plan.lines, groups=self.groups,
            segments=channels // self.plan.simd if pool else self.stage.groups // self.plan.blocks,
            rows=self.plan.rows,
        )  # fmt: skip

    @property
    def sums(self) -> int:
        """Sums that the array gives at once."""
        return self.plan.simd if self.stage.weight is None else self.plan.pe * self.plan.blocks

    @property
    def lanes(self) -> int:
        """Lanes of the array; a pool has none."""
        plan = self.plan
        return 0 if self.stage.weight is None else plan.pe * plan.simd * plan.taps * plan.lines * plan.blocks

    @property
    def out_count(self) -> int:
        """Elements that leave the array at once."""
        if self.stage.moves:
            return moved_at_once(self.stage.kind, self.plan.simd, self.stage.factor)
        return self.plan.requantisers if self.activates else self.plan.simd

    @property
    def activates(self) -> bool:
        """Whether sums become features behind the array, in ``plan.requantisers`` units."""
        return self.stage.requantise is not None or self.stage.threshold is not None

    @property
    def levels(self) -> Levels:
        """Layout of the thresholds."""
        total = self.stage.total
        return Levels(level=format_for(total.lo, total.hi + 1), count=self.stage.levels, units=self.plan.requantisers)

    @property
    def gather(self) -> int:
        """Beats of the array in one beat of the queue, which holds whole beats of the next stage."""
        return lcm(self.out_count, self.next_simd) // self.out_count

    @property
    def split(self) -> int:
        """Beats of the next stage in one beat of the queue."""
        return self.gather * self.out_count // self.next_simd

    @property
    def group_beats(self) -> int:
        """Beats of the array per group."""
        return 1 if self.stage.moves else self.sums // self.out_count

    @property
    def array_latency(self) -> int:
        """Cycles from operands to ``done``."""
        if self.stage.moves or self.stage.joins:
            return 0
        return Reduce.latency if self.stage.weight is None else self.array.latency

    @property
    def group_latency(self) -> int:
        """Cycles from the begin of a group to its first beat behind the array."""
        latency = self.window.latency + self.window.steps - 1 + self.array_latency
        if self.stage.threshold is not None:
            return latency + THRESHOLD_LATENCY
        if self.stage.requantise is None:
            return latency
        return latency + self.scale.latency(residual=self.stage.residual is not None)

    @property
    def scale(self) -> Scale:
        """How its requantisers multiply."""
        bits = self.stage.factor_bits or MULTIPLIER_BITS
        return Scale(how=self.plan.scale, terms=self.stage.terms, bits=bits)

    def wants(self, port: int, have: int) -> int:
        """Elements per beat in which it takes in what comes in beats of ``have``: those of its window, or whole beats
        of both sides for the queue of a residual or of a stream that is joined."""
        waits = port > 0 or self.stage.joins
        return lcm(have, self.takes(port)) if waits else self.x_count

    def takes(self, port: int) -> int:
        """Elements per beat of what it computes with, by which of its ``reads`` it is."""
        if self.stage.joins:
            return join_takes(self.stage.parts, self.plan.simd)[port]
        return self.out_count if port else self.x_count

    def join_split(self, port: int) -> int:
        """Beats of a join in one beat of the queue of a stream."""
        return self.wants(port, self.join_counts[port]) // self.takes(port)

    @property
    def residual_gather(self) -> int:
        """Beats of a residual's stage in one beat of the queue in which it waits."""
        return lcm(self.residual_count, self.out_count) // self.residual_count

    @property
    def residual_split(self) -> int:
        """Beats of the requantisers in one beat of that queue."""
        return self.residual_gather * self.residual_count // self.out_count

    @property
    def interval(self) -> int:
        """Cycles per image that the stage needs by itself."""
        return max(self.window.read_cycles, self.window.write_cycles, self.out_beats)

    @property
    def out_beats(self) -> int:
        """Beats of the array per image."""
        channels, height, width = self.stage.result
        return channels * height * width // self.out_count

    def check(self) -> None:
        """Raise ``ValueError`` when the fold does not fit the stage."""
        name, stage, plan = self.stage.name, self.stage, self.plan
        if stage.weight is None:
            what = "move" if stage.moves else "join" if stage.joins else "pool"
            ones = ("pe", "taps", "lines", "blocks", *(("rows",) if stage.joins else ()))
            ones += ("requantisers",) if what != "pool" else ()
            for key in ones:
                if getattr(plan, key) != 1:
                    raise ValueError(f"{key} of {what} {name!r} must be 1, not {getattr(plan, key)}")
            if plan.structure:
                raise ValueError(f"{what} {name!r} has no lanes, so no structure {plan.structure!r}")
        else:
            self._check_lanes()
        try:
            steps = self.window.steps
        except ValueError as error:
            raise ValueError(f"stage {name!r}: {error}") from error
        if self.sums % plan.requantisers:
            raise ValueError(f"requantisers of {name!r} must divide {self.sums}, not be {plan.requantisers}")
        if self.group_beats > steps:
            raise ValueError(
                f"{plan.requantisers} requantisers of {name!r} take {self.group_beats} cycles for a group, "
                f"but a group comes every {steps}"
            )
        least = -(-(self.group_beats + self.gather - 1) // self.gather)
        if plan.queue < least:
            raise ValueError(f"queue of {name!r} must hold a group, {least} beats, not {plan.queue}")
        self.check_scale()
        if (stage.residual is not None) != (plan.residual > 0):
            wanted = "at least 1 beat" if stage.residual is not None else "0 beats, it has none"
            raise ValueError(f"residual of {name!r} must be {wanted}, not {plan.residual}")
        if len(plan.joins) != len(stage.parts):
            raise ValueError(f"joins of {name!r} must be {len(stage.parts)} depths, not {len(plan.joins)}")

    def check_scale(self) -> None:
        """Raise ``ValueError`` when its requantisers cannot multiply as the plan says."""
        name, how = self.stage.name, self.plan.scale
        if how != "dsp" and self.stage.requantise is None:
            raise ValueError(f"stage {name!r} does not requantise, so it has no scale {how!r}")
        if how == "pow2" and not self.stage.terms:
            raise ValueError(
                f"scale pow2 of {name!r} needs factors of few powers of two; quantise with --terms for that"
            )

    def _check_lanes(self) -> None:
        name, stage, plan = self.stage.name, self.stage, self.plan
        filters = stage.result[0] // stage.groups
        if filters % plan.pe:
            own = f"{filters} channels" + (" of a group" if stage.groups > 1 else "")
            raise ValueError(f"pe of {name!r} must divide {own}, not be {plan.pe}")
        if stage.groups % plan.blocks:
            raise ValueError(f"blocks of {name!r} must divide {stage.groups} groups, not be {plan.blocks}")
        if plan.blocks > 1 and (plan.pe, plan.simd) != (filters, stage.source[0] // stage.groups):
            raise ValueError(f"several blocks of {name!r} must have all channels of their groups")
        known = [s for s in STRUCTURES[stage.kind] if s not in _OFFSET]
        if plan.structure and plan.structure not in known:
            raise ValueError(f"structure of {name!r} must be one of {', '.join(known)}, not {plan.structure!r}")


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
        zip(stages, plan.stages, strict=True), channels=channels, outputs=plan.outputs, fabric=plan.fabric
    )
    for build in builds:
        try:
            build.check()
        except ValueError as error:
            raise UserError(f"the plan does not fit the program: {error}") from error
    return builds


def default_stage_plan(stage: Stage, *, pe: int, simd: int, taps: int, lines: int = 1, blocks: int = 1) -> StagePlan:
    """The fold ``pe`` x ``simd`` x ``taps`` x ``lines`` x ``blocks`` with as few requantisers and rows as never cost a
    cycle.

    Its queue is for a next stage that takes every beat at once, and a residual's holds one beat; `queues.with_queues`
    makes them right for the real ones.
    """
    pool = stage.weight is None
    sums = simd if pool else pe * blocks
    channels = stage.source[0] // stage.groups
    if stage.moves or stage.joins:
        rows = move_rows(stage.offsets, stage.source[0] * stage.source[2] // simd) if stage.moves else 1
        draft = StagePlan(
            name=stage.name, pe=pe, simd=simd, taps=taps, lines=lines, blocks=blocks, requantisers=1, rows=rows,
            queue=1, joins=(1,) * len(stage.parts),
        )  # fmt: skip
        return replace(draft, queue=queue_depth(StageBuild(stage=stage, plan=draft), pause=0))
    row = stage.window[1] // taps * (1 if pool else channels // simd)
    steps = stage.window[0] // lines * row
    units = next(u for u in range(1, sums + 1) if sums % u == 0 and sums // u <= steps)
    row_cycles = (stage.source[2] + 2 * stage.padding) * (stage.source[0] // (simd * blocks))
    draft = StagePlan(
        name=stage.name, pe=pe, simd=simd, taps=taps, lines=lines, blocks=blocks, requantisers=units,
        rows=ring_rows(stage.window[0], stage.stride, row_cycles, lines), queue=1,
        residual=0 if stage.residual is None else 1, scale="pow2" if stage.terms else "dsp",
    )  # fmt: skip
    return replace(draft, queue=queue_depth(StageBuild(stage=stage, plan=draft), pause=0))


def queue_depth(build: StageBuild, *, pause: int) -> int:
    """Beats of the queue behind a stage, if the next one pauses for ``pause`` cycles.

    A group claims its beats when it begins; they are free again when they have left. Between the two lie the latency,
    the beats before them, one cycle each for gathering, entering and leaving, and the longest pause of the next stage.
    Beats that wait to be gathered come on top.
    """
    beats = -(-build.group_beats // build.gather) * build.split
    cycles = build.group_latency + build.group_beats + beats + 3 + pause
    claimed = build.group_beats * (-(-cycles // build.window.steps) + 1)
    return -(-(claimed + build.gather - 1) // build.gather)


def readers_of(builds: Iterable[StageBuild]) -> dict[str, list[tuple[StageBuild, int]]]:
    """Who reads what a stage gives (or the pixels): builds, and which of their ``reads`` it is."""
    readers: dict[str, list[tuple[StageBuild, int]]] = {}
    for build in builds:
        for port, name in enumerate(build.stage.reads):
            readers.setdefault(name, []).append((build, port))
    return readers


def connected(
    stages: Iterable[tuple[Stage, StagePlan]], *, channels: int, outputs: int = 1, fabric: str = "generic"
) -> tuple[StageBuild, ...]:
    """Builds that know the beats of those behind them, and of those that their residuals come from.

    Parameters
    ----------
    channels : elements per beat of the input
    outputs : elements per beat of the packet
    """
    builds = [StageBuild(stage=stage, plan=plan, fabric=fabric) for stage, plan in stages]
    readers = readers_of(builds)
    counts = {PIXELS: channels}
    result = []
    for build in builds:
        taken = sorted(readers.get(build.stage.name, ()), key=lambda reader: reader[1])
        width = outputs
        if taken:
            reader, port = taken[0]
            width = reader.takes(port)
        joined = counts[build.stage.reads[1]] if build.stage.residual is not None else 1
        streams = tuple(counts[name] for name in build.stage.reads) if build.stage.joins else ()
        result.append(replace(build, next_simd=width, residual_count=joined, join_counts=streams))
        counts[build.stage.name] = result[-1].gather * result[-1].out_count
    return tuple(result)
