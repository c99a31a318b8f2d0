"""Folding: how many lanes each stage gets, so that all keep the same pace."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from math import lcm, prod
from typing import NamedTuple

from ..common.errors import UserError
from ..quant.program import Program
from .join import join_folds
from .move import move_folds
from .packet import element_bits
from .plan import Plan, StageBuild, StagePlan, bind, default_stage_plan
from .queues import with_queues
from .schedule import answer_beats, schedule
from .stages import PIXELS, Stage, stages_of

__all__ = ["DEFAULT_LANES", "Cost", "fold", "structural_cost"]

DEFAULT_LANES = 80
LEAST_BLOCK_WORDS = 9
"""With fewer, a lookup table per bit of a word is cheap, and block RAM would stay nearly empty."""
MAX_PORT_BYTES = 64
"""Of a beat at either end: the widest bus that AXI4-Stream interconnects commonly have."""
Cost = Callable[[StageBuild], float]


def structural_cost(build: StageBuild) -> float:
    """Lookup tables of a stage, roughly: enough to choose between folds of the same speed."""
    stage, plan = build.stage, build.plan
    word = build.x_count * stage.x.bits
    operands = word * plan.taps * plan.lines
    rotation = operands * ((plan.taps if plan.taps > 1 else 0) + (plan.lines if plan.lines > 1 else 0)) / 2
    weight_bits = stage.weight_format.bits if stage.weight_format else 0
    lanes = build.lanes * (stage.x.bits + weight_bits)
    sums = build.sums * stage.total.bits * 2
    requantisers = plan.requantisers * stage.total.bits * (8 if stage.requantise else 2 * stage.levels)
    depth = build.groups * build.window.steps
    memory = min(-(-build.lanes * weight_bits // 72) * -(-depth // 512) * 100, build.lanes * weight_bits * depth / 64)
    return lanes + operands + rotation + sums + requantisers + memory + plan.queue * build.out_count * stage.y.bits / 4


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
    cost: Cost = structural_cost,
) -> Plan:
    """Choose the fold of every stage, and the pixels per beat of the input.

    Parameters
    ----------
    lanes : the fastest design with at most so many lanes; of those the cheapest where its lanes do, too, else that with
        the fewest
    fps : the cheapest design that reaches so many images per second at ``clock_mhz``; with neither, 80 lanes
    fabric : whose carry cells the lanes instantiate
    memory : of the weights, see `StagePlan`; one of a few words is left to synthesis all the same
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
    floors = {choices[0].build.stage.name: min(o.build.interval for o in choices) for choices in options}
    # Whatever the stages do, scores leave one per cycle, and pixels come, or a raw result leaves, so many at a time.
    image = prod(program.input.shape[1:])
    ports = max(-(-image // _pixels(program, 0)), answer_beats(program, _outputs(program, 0)))
    fastest = max(ports, *floors.values())
    if fps is not None:
        target = int(clock_mhz * 1e6 / fps * (1 + 1e-9))
        if target < fastest:
            slowest = max(floors, key=lambda name: floors[name])
            limit = slowest if floors[slowest] == fastest else "the ports"
            raise UserError(
                f"no fold reaches {fps:g} images/s at {clock_mhz:g} MHz; the fastest takes {fastest} cycles per image "
                f"({int(clock_mhz * 1e6 / fastest)} images/s), limited by {limit}"
            )
        chosen = _cheapest(options, program, target, by_lanes=False)
    else:
        budget = lanes if lanes is not None else DEFAULT_LANES
        intervals = sorted({max(fastest, o.build.interval) for choices in options for o in choices})

        def fewest(interval: int) -> int:
            """Lanes that keep within ``interval`` cycles; ever fewer the longer it is."""
            return sum(min(o.build.lanes for o in choices if o.build.interval <= interval) for choices in options)

        at = bisect_left(intervals, -budget, key=lambda interval: -fewest(interval))
        if at == len(intervals):
            raise UserError(
                f"{budget} lanes are too few: the network needs at least {fewest(intervals[-1])}, one per layer"
            )
        target = intervals[at]
        chosen = _cheapest(options, program, target, by_lanes=False)
        if sum(build.lanes for build in chosen) > budget:
            chosen = _cheapest(options, program, target, by_lanes=True)
    plan = _planned(program, chosen, target, device, clock_mhz, fixed_weights, fabric, memory)
    reached = schedule(bind(program, plan), program, pixels=plan.pixels).interval
    aim = target
    while fps is not None and reached > target:
        # Forks cost cycles that no stage sees: somewhat faster folds make up for them.
        aim -= reached - target
        if aim < fastest:
            raise UserError(
                f"no fold found that reaches {fps:g} images/s at {clock_mhz:g} MHz; the nearest takes {reached} cycles "
                f"per image ({int(clock_mhz * 1e6 / reached)} images/s), limited by forks of the stream"
            )
        chosen = _cheapest(options, program, aim, by_lanes=False)
        plan = _planned(program, chosen, aim, device, clock_mhz, fixed_weights, fabric, memory)
        reached = schedule(bind(program, plan), program, pixels=plan.pixels).interval
    return plan


def _planned(
    program: Program, chosen: list[StageBuild], target: int, device: str, clock_mhz: float, fixed_weights: bool,
    fabric: str, memory: str,
) -> Plan:  # fmt: skip
    """The Plan of the folds that were chosen for ``target`` cycles."""
    pixels, outputs = _pixels(program, target), _outputs(program, target)
    stages = with_queues([replace(build, fabric=fabric) for build in chosen], program, pixels=pixels, outputs=outputs)
    stages = tuple(
        replace(plan, memory=memory) if build.lanes and build.groups * build.window.steps >= LEAST_BLOCK_WORDS else plan
        for plan, build in zip(stages, chosen, strict=True)
    )
    return Plan(
        family="dataflow", device=device, clock_mhz=clock_mhz, fixed_weights=fixed_weights, stages=stages,
        fabric=fabric, pixels=pixels, outputs=outputs,
    )  # fmt: skip


def _pixels(program: Program, interval: int) -> int:
    """The fewest pixels per beat that bring an image in ``interval`` cycles; as many as may be when none do."""
    channels, height, width = program.input.shape
    image = height * width
    counts = [n for n in _divisors(image) if n == 1 or n * channels <= MAX_PORT_BYTES]
    return next((n for n in counts if image // n <= interval), counts[-1])


def _outputs(program: Program, interval: int) -> int:
    """The fewest elements per beat of a raw result that leave within ``interval`` cycles, a part of a pixel or whole
    ones; as many as may be when none do. A classifier gives one score at a time."""
    if program.classifies:
        return 1
    channels, _, width = program.shape(program.output)
    each = element_bits(program.format(program.output)) // 8
    counts = [*_divisors(channels), *(channels * n for n in _divisors(width)[1:])]
    counts = [n for n in counts if n == 1 or n * each <= MAX_PORT_BYTES]
    return next((n for n in counts if answer_beats(program, n) <= interval), counts[-1])


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


class _Option(NamedTuple):
    """A fold of a stage and what it costs."""

    build: StageBuild
    cost: float


def _options(stage: Stage, cost: Cost) -> list[_Option]:
    """All folds of a stage, without those that another beats in speed, lanes and cost with the same beats at both
    ends."""
    options = []
    for plan in _folds(stage):
        build = StageBuild(stage=stage, plan=plan)
        options.append(_Option(build, cost(build)))
    options.sort(key=lambda o: (o.build.interval, o.cost))
    kept: list[_Option] = []
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


def _folds(stage: Stage) -> list[StagePlan]:
    if stage.moves or stage.joins:
        simds = join_folds(stage.parts) if stage.joins else move_folds(stage.kind, stage.source[0], stage.factor)
        return [default_stage_plan(stage, pe=1, simd=simd, taps=1) for simd in simds]
    if stage.weight is None:
        return [default_stage_plan(stage, pe=1, simd=simd, taps=1) for simd in _divisors(stage.source[0])]
    inputs, filters = (n // stage.groups for n in (stage.source[0], stage.result[0]))
    high, wide = stage.window
    taps = [1, wide] if wide > 1 and stage.stride <= wide else [1]
    lines = [1, high] if high > 1 and stage.stride <= high else [1]
    parts = [(simd, pe, 1) for simd in _divisors(inputs) for pe in _divisors(filters)]
    parts += [(inputs, filters, blocks) for blocks in _divisors(stage.groups)[1:]]
    return [
        default_stage_plan(stage, pe=pe, simd=simd, taps=tap, lines=line, blocks=blocks)
        for simd, pe, blocks in parts for tap in taps for line in lines
    ]  # fmt: skip


def _cheapest(options: list[list[_Option]], program: Program, interval: int, *, by_lanes: bool) -> list[StageBuild]:
    """The folds of least cost, or of fewest lanes and then least cost, that all keep within ``interval`` cycles.

    Where beats of two stages do not fit together, they meet in beats of their least common multiple, which costs
    registers; so stages are not chosen one by one, but from the last to the first: what it costs to go on from beats of
    so many elements. Every stage has one that it reads, residuals aside, so they form a tree.
    """
    counts = {PIXELS: {program.input.shape[0]}}
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
    count_of = {PIXELS: program.input.shape[0]}
    chosen = []
    for choices in options:
        stage = choices[0].build.stage
        build = best[stage.name][count_of[stage.reads[0]]][1]
        count_of[stage.name] = build.out_count
        chosen.append(build)
    return chosen
