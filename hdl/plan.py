"""The Plan: how each stage of a Program is built. Frozen, hashable, saved as JSON, edited and given back."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import lcm
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import read_json
from ..quant.formats import format_for
from ..quant.program import Program
from .fabric import fabric_named
from .kernels import STRUCTURES
from .lanes import ArrayShape, Reduce
from .requantise import LATENCY as REQUANTISE_LATENCY
from .stages import Stage, stages_of
from .threshold import LATENCY as THRESHOLD_LATENCY
from .threshold import Levels
from .window import WindowShape, ring_rows

__all__ = ["FAMILIES", "Plan", "StageBuild", "StagePlan", "bind", "default_stage_plan", "with_queues"]

FAMILIES = ("dataflow",)
_STRUCTURES = {"adder": "carry", "mult": "star", "xnor": "count", "shift": "barrel"}
_OFFSET = ("max",)
"""Structures whose sums hold a constant of the weights besides, which the requantise of a stage does not take away."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """The fold of one stage.

    Attributes
    ----------
    pe : output channels computed at once; divides the number of output channels (1 for a pool)
    simd : input channels of a tap at once; divides the number of input channels
    taps : taps of a window row at once: 1, or the width of the window
    requantisers : units behind the array; divides ``pe`` (of a pool: ``simd``)
    rows : of the ring in front of the array
    queue : beats of the queue behind it, each of whole beats of the next stage
    structure : of its lanes, see `kernels.STRUCTURES`; empty for the default one, and for a pool
    """

    name: str
    pe: int
    simd: int
    taps: int
    requantisers: int
    rows: int
    queue: int
    structure: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"name of a stage must be text, not {self.name!r}")
        if not isinstance(self.structure, str):
            raise ValueError(f"structure of stage {self.name!r} must be text, not {self.structure!r}")
        for key, value in asdict(self).items():
            if key not in ("name", "structure") and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise ValueError(f"{key} of stage {self.name!r} must be a positive integer, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a Program becomes hardware.

    Attributes
    ----------
    family : ``dataflow``, one stage per layer
    device : what it is meant for; reports take its sizes from it
    clock_mhz : the clock at which rates are quoted
    fixed_weights : accumulators and shifts are sized for the weights of the Program, not for any of the same formats
    fabric : ``generic``, or the family whose carry cells the lanes instantiate, see `fabric.FABRICS`
    """

    family: str
    device: str
    clock_mhz: float
    fixed_weights: bool
    stages: tuple[StagePlan, ...]
    fabric: str = "generic"

    def __post_init__(self) -> None:
        fabric_named(self.fabric)
        if self.family not in FAMILIES:
            raise ValueError(f"architecture must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if not isinstance(self.fixed_weights, bool):
            raise ValueError(f"fixed_weights must be true or false, not {self.fixed_weights!r}")
        if not isinstance(self.device, str):
            raise ValueError(f"device must be a name, not {self.device!r}")
        if not isinstance(self.clock_mhz, int | float) or not 0 < self.clock_mhz <= 10_000:
            raise ValueError(f"clock must be a positive number of MHz, not {self.clock_mhz!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """The Plan that `to_json` wrote, perhaps edited since.

        Raises
        ------
        UserError
            for missing, unknown or impossible values.
        """
        try:
            stages = tuple(StagePlan(**stage) for stage in value["stages"])
            return cls(**{**value, "stages": stages})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"not a plan: {error}") from error

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """The Plan in a JSON file; raises `UserError` when it is missing, broken or impossible."""
        return cls.from_json(read_json(path, "plan"))


@dataclass(frozen=True, kw_only=True, eq=False)
class StageBuild:
    """A stage together with its fold: every derived number that the hardware, the memory files and the cycle model
    read.

    Attributes
    ----------
    next_simd : elements per beat that the next stage (or the packet) takes
    fabric : of the lanes
    """

    stage: Stage
    plan: StagePlan
    next_simd: int = 1
    fabric: str = "generic"

    @cached_property
    def array(self) -> ArrayShape:
        """The array of a stage with weights."""
        assert self.stage.weight_format is not None
        # Without a choice, multipliers are left to synthesis, which has DSP blocks for them.
        structure = self.plan.structure or _STRUCTURES[self.stage.kind]
        return ArrayShape(
            kernel=self.stage.kind, structure=structure, fabric=self.fabric, pin=self.plan.simd * self.plan.taps,
            pout=self.plan.pe, x=self.stage.x, w=self.stage.weight_format,
        )  # fmt: skip

    @cached_property
    def groups(self) -> int:
        """Groups per output pixel."""
        if self.stage.weight is None:
            return self.stage.source[0] // self.plan.simd
        return self.stage.result[0] // self.plan.pe

    @cached_property
    def window(self) -> WindowShape:
        """Geometry of the window."""
        channels, height, width = self.stage.source
        return WindowShape(
            channels=channels, height=height, width=width, kernel=self.stage.window, stride=self.stage.stride,
            padding=self.stage.padding, bits=self.stage.x.bits, simd=self.plan.simd, taps=self.plan.taps,
            groups=self.groups, depthwise=self.stage.weight is None, rows=self.plan.rows,
        )  # fmt: skip

    @property
    def sums(self) -> int:
        """Sums that the array gives at once."""
        return self.plan.simd if self.stage.weight is None else self.plan.pe

    @property
    def lanes(self) -> int:
        """Lanes of the array; a pool has none."""
        return 0 if self.stage.weight is None else self.plan.pe * self.plan.simd * self.plan.taps

    @property
    def out_count(self) -> int:
        """Elements that leave the array at once."""
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
        return self.sums // self.out_count

    @property
    def array_latency(self) -> int:
        """Cycles from operands to ``done``."""
        return Reduce.latency if self.stage.weight is None else self.array.latency

    @property
    def group_latency(self) -> int:
        """Cycles from the begin of a group to its first beat behind the array."""
        latency = self.window.latency + self.window.steps - 1 + self.array_latency
        if self.stage.threshold is not None:
            return latency + THRESHOLD_LATENCY
        return latency + (REQUANTISE_LATENCY if self.stage.requantise is not None else 0)

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
        name = self.stage.name
        if self.stage.weight is None:
            if self.plan.pe != 1:
                raise ValueError(f"pe of pool {name!r} must be 1, not {self.plan.pe}")
        elif self.stage.result[0] % self.plan.pe:
            raise ValueError(f"pe of {name!r} must divide {self.stage.result[0]} channels, not be {self.plan.pe}")
        if self.stage.weight is None and self.plan.structure:
            raise ValueError(f"pool {name!r} has no lanes, so no structure {self.plan.structure!r}")
        if self.stage.weight is not None and self.plan.structure:
            known = [s for s in STRUCTURES[self.stage.kind] if s not in _OFFSET]
            if self.plan.structure not in known:
                raise ValueError(
                    f"structure of {name!r} must be one of {', '.join(known)}, not {self.plan.structure!r}"
                )
        try:
            steps = self.window.steps
        except ValueError as error:
            raise ValueError(f"stage {name!r}: {error}") from error
        if self.sums % self.plan.requantisers:
            raise ValueError(f"requantisers of {name!r} must divide {self.sums}, not be {self.plan.requantisers}")
        if self.group_beats > steps:
            raise ValueError(
                f"{self.plan.requantisers} requantisers of {name!r} take {self.group_beats} cycles for a group, "
                f"but a group comes every {steps}"
            )
        least = -(-(self.group_beats + self.gather - 1) // self.gather)
        if self.plan.queue < least:
            raise ValueError(f"queue of {name!r} must hold a group, {least} beats, not {self.plan.queue}")


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
    builds = chain(zip(stages, plan.stages, strict=True), fabric=plan.fabric)
    for build in builds:
        try:
            build.check()
        except ValueError as error:
            raise UserError(f"the plan does not fit the program: {error}") from error
    return builds


def default_stage_plan(stage: Stage, *, pe: int, simd: int, taps: int) -> StagePlan:
    """The fold ``pe`` x ``simd`` x ``taps`` with as few requantisers and rows as never cost a cycle.

    Its queue is for a next stage that takes every beat at once; `with_queues` makes it right for the real one.
    """
    pool = stage.weight is None
    sums = simd if pool else pe
    row = stage.window[1] // taps * (1 if pool else stage.source[0] // simd)
    steps = stage.window[0] * row
    units = next(u for u in range(1, sums + 1) if sums % u == 0 and sums // u <= steps)
    row_cycles = (stage.source[2] + 2 * stage.padding) * (stage.source[0] // simd)
    draft = StagePlan(
        name=stage.name, pe=pe, simd=simd, taps=taps, requantisers=units,
        rows=ring_rows(stage.window[0], stage.stride, row_cycles), queue=1,
    )  # fmt: skip
    build = StageBuild(stage=stage, plan=draft)
    return replace(draft, queue=_queue(build, pause=0))


def with_queues(builds: Sequence[StageBuild]) -> tuple[StagePlan, ...]:
    """The plans of ``builds`` with queues deep enough that no stage waits for the next one's padding."""
    joined = chain(((build.stage, build.plan) for build in builds), fabric=builds[0].fabric)
    pauses = [following.window.longest_pause for following in joined[1:]] + [1]
    return tuple(
        replace(build.plan, queue=_queue(build, pause=pause)) for build, pause in zip(joined, pauses, strict=True)
    )


def _queue(build: StageBuild, *, pause: int) -> int:
    """Beats of the queue.

    A group claims its beats when it begins; they are free again when they have left. Between the two lie the latency,
    the beats before them, one cycle each for gathering, entering and leaving, and the longest pause of the next stage.
    Beats that wait to be gathered come on top.
    """
    beats = -(-build.group_beats // build.gather) * build.split
    cycles = build.group_latency + build.group_beats + beats + 3 + pause
    claimed = build.group_beats * (-(-cycles // build.window.steps) + 1)
    return -(-(claimed + build.gather - 1) // build.gather)


def chain(stages: Iterable[tuple[Stage, StagePlan]], *, fabric: str = "generic") -> tuple[StageBuild, ...]:
    """Builds that know the beats of the stage behind them."""
    pairs = list(stages)
    widths = [plan.simd for _, plan in pairs[1:]] + [1]
    return tuple(
        StageBuild(stage=stage, plan=plan, next_simd=simd, fabric=fabric)
        for (stage, plan), simd in zip(pairs, widths, strict=True)
    )
