"""The folds that a stage can have, what they cost, and the cheapest that go together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import lcm
from types import MappingProxyType
from typing import NamedTuple

from ....quant.program import Program
from ..build import StageBuild, default_stage_plan
from ..plan import StagePlan
from ..stages import INPUT_STAGE, Stage

__all__ = [
    "Alternative", "Cost", "Option", "alternatives", "cheapest", "folds_of", "options_of", "structural_cost",
]  # fmt: skip

Cost = Callable[[StageBuild], float]


def structural_cost(build: StageBuild) -> float:
    """Lookup tables of a stage, roughly: enough to choose between folds of the same speed."""
    stage, plan = build.stage, build.plan
    word = build.x_count * stage.x.bits
    operands = word * plan.taps * plan.lines
    rotation = operands * ((plan.taps if plan.taps > 1 else 0) + (plan.lines if plan.lines > 1 else 0)) / 2
    lanes = build.lanes * (stage.x.bits + stage.weight_width)
    sums = build.sums * stage.carried.bits * 2
    requantisers = plan.requantisers * stage.carried.bits * stage.unit_cost
    depth = build.groups * build.window.steps
    port = build.lanes * stage.weight_width
    memory = min(-(-port // 72) * -(-depth // 512) * 100, port * depth / 64)
    return lanes + operands + rotation + sums + requantisers + memory + plan.queue * build.out_count * stage.y.bits / 4


class Option(NamedTuple):
    """A fold of a stage and what it costs."""

    build: StageBuild
    cost: float


def options_of(stage: Stage, cost: Cost, structures: Mapping[str, str] = MappingProxyType({})) -> list[Option]:
    """All folds of a stage, without those that another beats in speed, lanes and cost with the same beats at both
    ends.

    Parameters
    ----------
    structures : of the lanes of a kernel, where not the default one
    """
    options = []
    for plan in folds_of(stage):
        plan = replace(plan, structure=structures.get(stage.kind, ""))
        build = StageBuild(stage=stage, plan=plan)
        options.append(Option(build, cost(build)))
    options.sort(key=lambda o: (o.build.interval, o.cost))
    kept: list[Option] = []
    cheapest: dict[tuple[int, int], float] = {}
    fewest: dict[tuple[int, int], tuple[int, float]] = {}
    for option in options:
        build = option.build
        ends = build.x_count, build.out_count
        price = build.lanes, option.cost
        if option.cost < cheapest.get(ends, float("inf")) or price < fewest.get(ends, (float("inf"), 0.0)):
            cheapest[ends] = min(option.cost, cheapest.get(ends, float("inf")))
            fewest[ends] = min(price, fewest.get(ends, price))
            kept.append(option)
    return kept


def folds_of(stage: Stage) -> list[StagePlan]:
    """Every fold of ``stage``."""
    return [default_stage_plan(stage, **fold) for fold in stage.folds()]


def cheapest(options: list[list[Option]], program: Program, interval: int, *, by_lanes: bool) -> list[StageBuild]:
    """The folds of least cost, or of fewest lanes and then least cost, that all keep within ``interval`` cycles.

    Where beats of two stages do not fit together, they meet in beats of their least common multiple, which costs
    registers; so stages are not chosen one by one, but from the last to the first: what it costs to go on from beats of
    so many elements. Every stage has one that it reads, residuals aside, so they form a tree.
    """
    counts = {INPUT_STAGE: {program.input.shape[0]}}
    behind: dict[str, list[str]] = {}
    for choices in options:
        stage = choices[0].build.stage
        counts[stage.name] = {o.build.out_count for o in choices if o.build.interval <= interval}
        behind.setdefault(stage.reads[0], []).append(stage.name)

    # best[stage][count]: price and fold of the stage and all behind it, if it reads beats of `count` elements
    best: dict[str, dict[int, tuple[tuple[float, float], StageBuild]]] = {}
    for choices in reversed(options):
        stage = choices[0].build.stage
        priced = []
        for build, cost in choices:
            if build.interval > interval:
                continue
            after = [best[name][build.out_count][0] for name in behind.get(stage.name, ())]
            lanes = build.lanes if by_lanes else 0
            priced.append((lanes + sum(a[0] for a in after), cost + sum(a[1] for a in after), build))
        best[stage.name] = {}
        for count in counts[stage.reads[0]]:
            entries = (
                ((lanes, cost + (0 if count == b.x_count else 3 * lcm(count, b.x_count) * stage.x.bits)), b)
                for lanes, cost, b in priced
            )
            best[stage.name][count] = min(entries, key=lambda entry: entry[0])
    count_of = {INPUT_STAGE: program.input.shape[0]}
    chosen = []
    for choices in options:
        stage = choices[0].build.stage
        build = best[stage.name][count_of[stage.reads[0]]][1]
        count_of[stage.name] = build.out_count
        chosen.append(build)
    return chosen


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A fold of a stage.

    Attributes
    ----------
    plan : its stage plan, with queues of their least depth
    cycles : per image, of the stage by itself
    lanes : of its array
    cost : by the function that chose
    """

    plan: StagePlan
    cycles: int
    lanes: int
    cost: float

    def to_json(self) -> dict[str, int]:
        """Plain values: what of the plan is fold, then the rest."""
        fold = {key: getattr(self.plan, key) for key in ("pe", "simd", "taps", "lines", "blocks")}
        return {**fold, "lanes": self.lanes, "cycles": self.cycles, "cost": round(self.cost)}


def alternatives(build: StageBuild, cost: Cost = structural_cost) -> dict[str, Alternative | None]:
    """The fold of ``build`` (``chosen``), the next ``slower`` one that costs less, and the next ``faster`` one; None
    where there is none."""
    own = Alternative(plan=build.plan, cycles=build.interval, lanes=build.lanes, cost=cost(build))
    slower = faster = None
    for option, price in sorted(
        options_of(build.stage, cost, {build.stage.kind: build.plan.structure}), key=lambda o: o.build.interval
    ):
        found = Alternative(plan=option.plan, cycles=option.interval, lanes=option.lanes, cost=price)
        if found.cycles < own.cycles and (faster is None or found.cycles > faster.cycles):
            faster = found
        if found.cycles > own.cycles and found.cost < own.cost and slower is None:
            slower = found
    return {"chosen": own, "slower": slower, "faster": faster}
