"""A stage with its fold and its neighbours: what its hardware, its memory files and the cycle model read."""

from dataclasses import dataclass
from functools import cached_property
from math import lcm

from ..plan import StagePlan
from .rhythm import Rhythm
from .stage import Geometry, Stage

__all__ = ["StageBuild"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageBuild:
    """A stage together with its fold: every derived number that the hardware, the memory files and the cycle model
    read.

    Attributes
    ----------
    next_simd : elements per beat that the next stage (or the packet) takes; where several read, the first of them
    counts : elements per beat of each stream that it reads; empty where that is not known yet
    fabric : of the lanes
    handshake : whether what reads its results may hold it up, so that a queue stands behind it; else registers do
    """

    stage: Stage
    plan: StagePlan
    next_simd: int = 1
    counts: tuple[int, ...] = ()
    fabric: str = "generic"
    handshake: bool = True

    @property
    def x_count(self) -> int:
        """Elements per beat of its input: channels of a pixel."""
        return self.plan.simd * self.plan.blocks

    @property
    def groups(self) -> int:
        """Groups of output channels per output pixel."""
        return self.stage.result[0] // self.sums

    @cached_property
    def window(self) -> Geometry:
        """Geometry of what takes its beats in."""
        return self.stage.geometry_of(self.plan)

    @property
    def sums(self) -> int:
        """Sums that the array gives at once."""
        return self.stage.sums(self.plan)

    @property
    def lanes(self) -> int:
        """Lanes of the array; 0 without."""
        return self.stage.lanes(self.plan)

    @property
    def out_count(self) -> int:
        """Elements that leave the array at once."""
        return self.stage.out_count(self.plan)

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
        return self.stage.group_beats(self.plan)

    @property
    def array_latency(self) -> int:
        """Cycles from operands to what leaves the array."""
        return self.stage.array_latency(self.plan, self.fabric)

    @property
    def group_latency(self) -> int:
        """Cycles from the begin of a group to its first beat behind the array."""
        way = self.window.latency + self.window.steps - 1
        return way + self.array_latency + self.stage.unit_latency(self.plan)

    @cached_property
    def rhythm(self) -> Rhythm:
        """When it takes beats and begins groups."""
        return self.stage.rhythm(self)

    def takes(self, port: int) -> int:
        """Elements per beat of what it computes with, by which of its ``reads`` it is."""
        return self.stage.takes(port, self.plan)

    def wants(self, port: int, have: int) -> int:
        """Elements per beat in which it takes in what comes in beats of ``have``: those that it computes with, or whole
        beats of both sides for a queue."""
        return lcm(have, self.takes(port)) if self.stage.waits(port) else self.takes(port)

    def count_of(self, port: int) -> int:
        """Elements per beat of a stream that it reads; 1 where that is not known yet."""
        return self.counts[port] if self.counts else 1

    def waiting_gather(self, port: int) -> int:
        """Beats of a stream in one beat of the queue in which it waits."""
        return self.wants(port, self.count_of(port)) // self.count_of(port)

    def waiting_split(self, port: int) -> int:
        """Beats that it computes with in one beat of that queue."""
        return self.wants(port, self.count_of(port)) // self.takes(port)

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
        stage.check(plan)
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
        stage.check_scale(plan.scale)
        stage.check_shifts(plan.shifts)
        stage.check_clamps(plan.clamps)
        if (stage.residual is not None) != (plan.residual > 0):
            wanted = "at least 1 beat" if stage.residual is not None else "0 beats, it has none"
            raise ValueError(f"residual of {name!r} must be {wanted}, not {plan.residual}")
        if len(plan.joins) != stage.joined:
            raise ValueError(f"joins of {name!r} must be {stage.joined} depths, not {len(plan.joins)}")
