"""Folding: how many lanes each stage gets, so that all keep the same pace."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from types import MappingProxyType

from ....common.errors import UserError
from ....quant.program import Program
from ...capacity import Capacity
from ...interface import answer_beats
from ...memory.image import ROMS
from ...streams.beats import element_bits
from ..build import StageBuild, bind
from ..kinds.constant import reach_at
from ..kinds.stage import divisors
from ..plan import Plan, StagePlan
from ..schedule import schedule
from ..stages import stages_of
from .choices import Cost, Option, cheapest, options_of, structural_cost
from .queues import with_queues

__all__ = ["DEFAULT_LANES", "fold"]

DEFAULT_LANES = 80
LEAST_BLOCK_WORDS = 9
"""The fewest words for block RAM: with fewer, it would stay nearly empty, and a lookup table per bit is cheap."""
MAX_PORT_BYTES = 64
"""The most bytes of a beat at either end: the widest bus that AXI4-Stream interconnects commonly have."""


def fold(
    program: Program,
    *,
    device: str,
    clock_mhz: float,
    lanes: int | None = None,
    fps: float | None = None,
    fixed_weights: bool = False,
    fabric: str = "generic",
    memory: str = "auto",
    scale: str = "auto",
    halves_above: int | None = None,
    structures: Mapping[str, str] = MappingProxyType({}),
    cost: Cost = structural_cost,
    capacity: Capacity | None = None,
    level_ns: float | None = None,
    compress: bool = False,
) -> Plan:
    """Choose the fold of every stage, and the pixels per beat of the input.

    Parameters
    ----------
    lanes : the fastest design with at most so many lanes; of those the cheapest where its lanes do, too, else that with
        the fewest
    fps : the cheapest design that reaches so many images per second at ``clock_mhz``; with neither, the fastest that
        fills the device, or 80 lanes without one
    fabric : whose carry cells the lanes instantiate
    memory : of the weights, see `StagePlan`; ``auto`` takes what costs less; few words are left to synthesis, and all
        factors where the design does not fit otherwise
    scale : how requantisers multiply, see `scale.SCALES`; ``auto`` shifts where factors are few powers of two, and
        takes ``halves`` for signed sums of more than ``halves_above`` bits
    structures : of the lanes of a kernel, see `structures.STRUCTURES`; where none is given multiplications are left to
        synthesis, which has DSP blocks for them
    cost : what a fold of a stage costs, to choose among those that are fast enough
    capacity : of the device, which the design has to fit
    level_ns, compress : of circuits of constants, see `family.PlanRequest`

    Raises
    ------
    UserError
        when no fold meets the target: the nearest one that does, and the stage that limits it; when the device is too
        small: how much is missing, and the option that asks for the fastest design that fits.
    """
    _check_target(clock_mhz, lanes, fps)
    space = _Space(
        program=program, cost=cost, halves_above=halves_above,
        options=[options_of(stage, cost, structures) for stage in stages_of(program, fixed_weights=fixed_weights)],
        device=device, clock_mhz=clock_mhz, fixed_weights=fixed_weights, fabric=fabric, memory=memory, scale=scale,
        level_ns=level_ns, compress=compress,
    )  # fmt: skip
    if fps is not None:
        plan = space.for_rate(fps)
    elif lanes is None and capacity is not None:
        plan = space.filling(capacity)
    else:
        plan = space.for_lanes(DEFAULT_LANES if lanes is None else lanes)
    return plan if capacity is None else space.fitted(plan, capacity, by_lanes=lanes is not None)


def _without_blocks_of_factors(plan: Plan) -> Plan:
    """``plan`` whose factors are left to synthesis: they are few words, and block RAM that saves tables is given back
    first where a device has too little of it."""
    return replace(plan, stages=tuple(replace(stage, factors="auto") for stage in plan.stages))


def _check_target(clock_mhz: float, lanes: int | None, fps: float | None) -> None:
    """Raise `UserError` for a target that no design can have."""
    if lanes is not None and fps is not None:
        raise UserError("give either lanes or frames per second, not both")
    if lanes is not None and lanes < 1:
        raise UserError(f"lanes must be a positive integer, not {lanes}")
    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz}")
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"frames per second must be a positive number, not {fps}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Space:
    """All Plans of a Program that differ in their folds only.

    Attributes
    ----------
    options : folds of each stage
    cost : what a fold of a stage costs
    """

    program: Program
    options: list[list[Option]]
    cost: Cost
    device: str
    clock_mhz: float
    fixed_weights: bool
    fabric: str
    memory: str
    scale: str
    halves_above: int | None
    level_ns: float | None
    compress: bool

    @cached_property
    def floors(self) -> dict[str, int]:
        """The fewest cycles per image of each stage."""
        return {choices[0].build.stage.name: min(o.build.interval for o in choices) for choices in self.options}

    @cached_property
    def fastest(self) -> int:
        """The fewest cycles per image: whatever the stages do, scores leave one per cycle, and pixels come, or a raw
        result leaves, so many at a time."""
        image = prod(self.program.input.shape[1:])
        ports = max(-(-image // _pixels(self.program, 0)), answer_beats(self.program, _outputs(self.program, 0)))
        return max(ports, *self.floors.values())

    @cached_property
    def intervals(self) -> list[int]:
        """Cycles per image at which some stage can have another fold, ascending."""
        return sorted({max(self.fastest, o.build.interval) for choices in self.options for o in choices})

    def for_rate(self, fps: float) -> Plan:
        """The cheapest that gives so many images per second."""
        target = int(self.clock_mhz * 1e6 / fps * (1 + 1e-9))
        if target < self.fastest:
            slowest = max(self.floors, key=lambda name: self.floors[name])
            limit = slowest if self.floors[slowest] == self.fastest else "the ports"
            raise UserError(f"no fold reaches {self._rate(fps)}; the fastest takes {self._cycles(self.fastest, limit)}")
        aim = target
        while True:
            plan = self.plan(cheapest(self.options, self.program, aim, by_lanes=False), aim)
            reached = schedule(bind(self.program, plan), self.program, pixels=plan.pixels).interval
            if reached <= target:
                return plan
            # Forks cost cycles that no stage sees: somewhat faster folds make up for them.
            aim -= reached - target
            if aim < self.fastest:
                found = self._cycles(reached, "forks of the stream")
                raise UserError(f"no fold found that reaches {self._rate(fps)}; the nearest takes {found}")

    def for_lanes(self, budget: int) -> Plan:
        """The fastest with at most so many lanes."""
        at = bisect_left(self.intervals, -budget, key=lambda interval: -self._fewest(interval))
        if at == len(self.intervals):
            least = self._fewest(self.intervals[-1])
            raise UserError(f"{budget} lanes are too few: the network needs at least {least}, one per layer")
        target = self.intervals[at]
        chosen = cheapest(self.options, self.program, target, by_lanes=False)
        if sum(build.lanes for build in chosen) > budget:
            chosen = cheapest(self.options, self.program, target, by_lanes=True)
        return self.plan(chosen, target)

    def filling(self, capacity: Capacity) -> Plan:
        """The fastest that stays within the capacity's share, or the slowest if none does.

        The cheapest folds need ever less the longer the interval is, nearly; where they do not, a slower one is found.
        """

        def plan(interval: int) -> Plan:
            return self.plan(cheapest(self.options, self.program, interval, by_lanes=False), interval)

        def fills(interval: int) -> bool:
            return capacity.fills(bind(self.program, plan(interval)))

        return plan(self.intervals[bisect_left(self.intervals, True, hi=len(self.intervals) - 1, key=fills)])

    def fitted(self, plan: Plan, capacity: Capacity, *, by_lanes: bool) -> Plan:
        """``plan`` as it fits the device, see `spared`; a `UserError` with `advice` where it does not."""
        plan = self.spared(plan, capacity)
        if missing := capacity.lack(bind(self.program, plan)):
            raise UserError(f"{missing}; {self.advice(capacity, by_lanes=by_lanes)}")
        return plan

    def spared(self, plan: Plan, capacity: Capacity) -> Plan:
        """``plan``, without blocks of factors where the memory of weights is not said and it does not fit otherwise."""
        if self.memory != "auto" or capacity.holds(bind(self.program, plan)):
            return plan
        return _without_blocks_of_factors(plan)

    def advice(self, capacity: Capacity, *, by_lanes: bool) -> str:
        """The option that asks for the fastest design that fits, found as `filling` finds one.

        Parameters
        ----------
        by_lanes : as a number of lanes, where just those give a design that fits
        """

        def fits(plan: Plan) -> bool:
            return capacity.holds(bind(self.program, self.spared(plan, capacity)))

        def at(interval: int) -> Plan:
            return self.plan(cheapest(self.options, self.program, interval, by_lanes=False), interval)

        found = bisect_left(self.intervals, True, key=lambda interval: fits(at(interval)))
        if found == len(self.intervals):
            return "no fold of it fits"
        plan = at(self.intervals[found])
        lanes = sum(build.lanes for build in bind(self.program, plan))
        if by_lanes and fits(self.for_lanes(lanes)):
            return f"the fastest that fits: --lanes {lanes}"
        reached = schedule(bind(self.program, plan), self.program, pixels=plan.pixels).interval
        return f"the fastest that fits: --fps {int(self.clock_mhz * 1e6 / reached)}"

    def plan(self, chosen: Sequence[StageBuild], target: int) -> Plan:
        """The Plan of the folds that were chosen for ``target`` cycles."""
        pixels, outputs = _pixels(self.program, target), _outputs(self.program, target)
        builds = [replace(b, plan=self._stage_plan(b), fabric=self.fabric) for b in chosen]
        stages = with_queues(builds, self.program, pixels=pixels, outputs=outputs)
        return Plan(
            family="dataflow", device=self.device, clock_mhz=self.clock_mhz, fixed_weights=self.fixed_weights,
            stages=stages, fabric=self.fabric, pixels=pixels, outputs=outputs,
        )  # fmt: skip

    def _stage_plan(self, build: StageBuild) -> StagePlan:
        plan = build.plan
        if plan.reach:
            reach = reach_at(self.clock_mhz, self.level_ns)
            return replace(plan, reach=reach, compress=self.compress and self.fabric == "generic")
        kinds = ROMS if self.memory == "auto" else (self.memory,)
        for key, words in build.stage.rom_words(plan).items():
            if words >= LEAST_BLOCK_WORDS:
                made = (
                    replace(plan, memory=kind) if key == "memory" else replace(plan, factors=kind) for kind in kinds
                )
                plan = min(made, key=lambda p: self.cost(replace(build, plan=p)))
        if self.scale == "auto" and self._in_halves(build):
            plan = replace(plan, scale="halves")
        if self.scale != "auto" and build.stage.multiplies:
            plan = replace(plan, scale=self.scale)
            try:
                build.stage.check_scale(plan.scale)
            except ValueError as error:
                raise UserError(str(error)) from error
        return plan

    def _in_halves(self, build: StageBuild) -> bool:
        """Whether sums of a stage are wider than a multiplier block takes."""
        stage, most = build.stage, self.halves_above
        wide = stage.carried.bits + (not stage.carried.signed)
        return most is not None and stage.multiplies and build.plan.scale == "dsp" and wide > most

    def _fewest(self, interval: int) -> int:
        """Lanes that keep within ``interval`` cycles; ever fewer the longer it is."""
        return sum(min(o.build.lanes for o in choices if o.build.interval <= interval) for choices in self.options)

    def _rate(self, fps: float) -> str:
        return f"{fps:g} images/s at {self.clock_mhz:g} MHz"

    def _cycles(self, cycles: int, limit: str) -> str:
        return f"{cycles} cycles per image ({int(self.clock_mhz * 1e6 / cycles)} images/s), limited by {limit}"


def _pixels(program: Program, interval: int) -> int:
    """The fewest pixels per beat that bring an image in ``interval`` cycles; as many as may be when none do."""
    channels, height, width = program.input.shape
    image = height * width
    each = channels * element_bits(program.input.format) // 8
    counts = [n for n in divisors(image) if n == 1 or n * each <= MAX_PORT_BYTES]
    return next((n for n in counts if image // n <= interval), counts[-1])


def _outputs(program: Program, interval: int) -> int:
    """The fewest elements per beat of a raw result that leave within ``interval`` cycles, a part of a pixel or whole
    ones; as many as may be when none do. A classifier gives one score at a time."""
    if program.classifies:
        return 1
    channels, _, width = program.shape(program.output)
    each = element_bits(program.format(program.output)) // 8
    counts = [*divisors(channels), *(channels * n for n in divisors(width)[1:])]
    counts = [n for n in counts if n == 1 or n * each <= MAX_PORT_BYTES]
    return next((n for n in counts if answer_beats(program, n) <= interval), counts[-1])
