"""Folding: how many lanes each stage gets, so that all keep the same pace."""

from collections.abc import Callable
from dataclasses import replace
from math import lcm, prod

from ..common.errors import UserError
from ..quant.program import Program
from .plan import Plan, StageBuild, bind, default_stage_plan, with_queues
from .schedule import schedule
from .stages import Stage, stages_of

__all__ = ["DEFAULT_LANES", "Cost", "fold", "structural_cost"]

DEFAULT_LANES = 80
Cost = Callable[[StageBuild], float]


def structural_cost(build: StageBuild) -> float:
    """Adder and register bits of a stage, roughly: enough to choose between folds of the same speed."""
    stage, plan = build.stage, build.plan
    operands = plan.simd * plan.taps * stage.x.bits
    rotation = operands * plan.taps if plan.taps > 1 else 0
    lanes = build.lanes * (stage.x.bits + (stage.weight_format.bits if stage.weight_format else 0))
    sums = build.sums * stage.total.bits * 2
    requantisers = plan.requantisers * stage.total.bits * (8 if stage.requantise else 2 * stage.levels)
    return lanes + operands + rotation + sums + requantisers + plan.queue * build.out_count * stage.y.bits / 4


def fold(
    program: Program,
    *,
    device: str,
    clock_mhz: float,
    lanes: int | None = None,
    fps: float | None = None,
    fixed_weights: bool = False,
    fabric: str = "generic",
    cost: Cost = structural_cost,
) -> Plan:
    """Choose PE, SIMD and taps of every stage.

    Parameters
    ----------
    lanes : the fastest design with at most so many lanes
    fps : the cheapest design that reaches so many images per second at ``clock_mhz``; with neither, 80 lanes
    fabric : whose carry cells the lanes instantiate
    cost : what a fold of a stage costs, to choose among those that are fast enough

    Raises
    ------
    UserError
        when no fold meets the target: the nearest one that does, and the stage that limits it.
    """
    if lanes is not None and fps is not None:
        raise UserError("give either lanes or frames per second, not both")
    if lanes is not None and lanes < 1:
        raise UserError(f"lanes must be a positive integer, not {lanes}")
    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz}")
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"frames per second must be a positive number, not {fps}")
    options = [_options(stage, cost) for stage in stages_of(program, fixed_weights=fixed_weights)]
    # Whatever the stages do, pixels come and scores go one per cycle.
    ports = max(prod(program.input.shape[1:]), program.classes + 1)

    def cheapest(interval: int) -> list[StageBuild] | None:
        return _cheapest_chain(options, program, interval, cost)

    intervals = sorted({max(ports, b.interval) for choices in options for b in choices})
    fastest = next(t for t in intervals if cheapest(t) is not None)
    if fps is not None:
        target = int(clock_mhz * 1e6 / fps * (1 + 1e-9))
        if target < fastest:
            floors = {choices[0].stage.name: min(b.interval for b in choices) for choices in options}
            slowest = max(floors, key=lambda name: floors[name])
            limit = slowest if floors[slowest] == fastest else "the ports"
            raise UserError(
                f"no fold reaches {fps:g} images/s at {clock_mhz:g} MHz; the fastest takes {fastest} cycles per image "
                f"({int(clock_mhz * 1e6 / fastest)} images/s), limited by {limit}"
            )
        chosen = cheapest(target)
    else:
        budget = lanes if lanes is not None else DEFAULT_LANES
        target = intervals[-1]
        chosen = next((c for t in intervals if (c := cheapest(t)) and sum(b.lanes for b in c) <= budget), None)
        if chosen is None:
            least = sum(min(b.lanes for b in choices) for choices in options)
            raise UserError(f"{budget} lanes are too few: the network needs at least {least}, one per layer")
    assert chosen is not None
    stages = with_queues([replace(build, fabric=fabric) for build in chosen])
    plan = Plan(
        family="dataflow", device=device, clock_mhz=clock_mhz, fixed_weights=fixed_weights, stages=stages, fabric=fabric
    )
    assert schedule(bind(program, plan), program).interval <= target
    return plan


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def _options(stage: Stage, cost: Cost) -> list[StageBuild]:
    """All folds of a stage, without those that another beats in speed and cost with the same beats at both ends."""
    pool = stage.weight is None
    wide = stage.window[1]
    all_taps = [1, wide] if not pool and wide > 1 and stage.stride <= wide else [1]
    builds = []
    for simd in _divisors(stage.source[0]):
        for taps in all_taps:
            for pe in [1] if pool else _divisors(stage.result[0]):
                plan = default_stage_plan(stage, pe=pe, simd=simd, taps=taps)
                builds.append(StageBuild(stage=stage, plan=plan))
    builds.sort(key=lambda b: (b.interval, cost(b)))
    kept: list[StageBuild] = []
    best: dict[tuple[int, int], float] = {}
    for build in builds:
        ends = build.plan.simd, build.out_count
        price = cost(build) + 1e6 * build.lanes
        if price < best.get(ends, float("inf")):
            best[ends] = price
            kept.append(build)
    return kept


def _cheapest_chain(
    options: list[list[StageBuild]], program: Program, interval: int, cost: Cost
) -> list[StageBuild] | None:
    """The folds with fewest lanes, then least cost, that all keep within ``interval`` cycles.

    Where beats of two stages do not fit together, they meet in beats of their least common multiple, which costs
    registers; so stages are chosen in a chain, not one by one.
    """
    # best[count]: (lanes, cost, chain) of the chains whose last stage emits beats of `count` elements
    best: dict[int, tuple[int, float, list[StageBuild]]] = {program.input.shape[0]: (0, 0.0, [])}
    for choices in options:
        following: dict[int, tuple[int, float, list[StageBuild]]] = {}
        for build in choices:
            if build.interval > interval:
                continue
            for count, (lanes, price, chosen) in best.items():
                joint = 0 if count == build.plan.simd else 3 * lcm(count, build.plan.simd) * build.stage.x.bits
                candidate = (lanes + build.lanes, price + cost(build) + joint, [*chosen, build])
                known = following.get(build.out_count)
                if known is None or candidate[:2] < known[:2]:
                    following[build.out_count] = candidate
        best = following
    if not best:
        return None
    return min(best.values(), key=lambda entry: entry[:2])[2]
