# amaranth: UnusedElaboratable=no
"""Folds of a network found by trying all of them, which is what the search for folds is compared with."""

from itertools import product
from math import lcm

from addax.hdl.dataflow.build import StageBuild, bind, default_stage_plan
from addax.hdl.dataflow.kinds.layer import LayerStage
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of

SEEDS = [0, 1, 4, 5, 7, 8, 13, 18, 19]
"""Networks of one to five stages, with pools, strides and both kernels."""


def folded(program, *, clock_mhz=50.0, **target):
    return fold(program, device="ecp5-45k", clock_mhz=clock_mhz, **target)


def interval_of(program, plan):
    return schedule(bind(program, plan), program, pixels=plan.pixels).interval


def lanes_of(program, plan):
    return sum(build.lanes for build in bind(program, plan))


def divisors(n):
    return [k for k in range(1, n + 1) if n % k == 0]


def sides_of(stage):
    """How many rows and how many taps of a row of its window a stage may read at once."""
    view = stage.view
    return [
        {1, k} if isinstance(stage, LayerStage) and stride <= k * dilation else {1}
        for k, stride, dilation in zip(view.kernel, view.strides, view.dilations, strict=True)
    ]


def naive_folds(stage):
    """(cycles per image, lanes) of every fold of a stage."""
    channels, height, width = stage.source
    outputs, rows, columns = stage.result
    kh, kw = stage.window
    top, left, bottom, right = stage.view.pads
    pool = not isinstance(stage, LayerStage)
    result = []
    for simd in divisors(channels):
        for lines, taps in product(*sides_of(stage)):
            for pe in [1] if pool else divisors(outputs):
                groups = channels // simd if pool else outputs // pe
                steps = (kh // lines) * (kw // taps) * (1 if pool else channels // simd)
                sums = simd if pool else pe
                units = next(u for u in divisors(sums) if sums // u <= steps) if stage.multiplies else sums
                read = rows * columns * groups * steps
                write = (top + height + bottom) * (left + width + right) * channels // simd
                emit = outputs * rows * columns // units
                result.append((max(read, write, emit), 0 if pool else pe * simd * taps * lines))
    return result


def port_cycles(program):
    """What scores and class take, and the pixels: at most 64 bytes per beat, beats of as many pixels each."""
    channels, height, width = program.input.shape
    pixels = max(n for n in divisors(height * width) if n == 1 or n * channels <= 64)
    return max(program.classes + 1, height * width // pixels)


def least_interval(program):
    """The interval that no fold beats, and the names of the stages which need it, or that of the ports."""
    least = {stage.name: min(t for t, _ in naive_folds(stage)) for stage in stages_of(program)}
    slowest = max(*least.values(), port_cycles(program))
    return slowest, [name for name, t in least.items() if t == slowest] or ["the ports"]


def least_lanes(program, interval):
    """The fewest lanes with which every stage keeps within ``interval`` cycles; None if none does."""
    total = 0
    for stage in stages_of(program):
        fitting = [lanes for t, lanes in naive_folds(stage) if t <= interval]
        if not fitting:
            return None
        total += min(fitting)
    return total


def all_intervals(program):
    return sorted({t for stage in stages_of(program) for t, _ in naive_folds(stage)})


def layers(program):
    return sum(isinstance(stage, LayerStage) for stage in stages_of(program))


def all_builds(stage):
    for simd in divisors(stage.source[0]):
        for lines, taps in product(*sides_of(stage)):
            for pe in divisors(stage.result[0]) if isinstance(stage, LayerStage) else [1]:
                plan = default_stage_plan(stage, pe=pe, simd=simd, taps=taps, lines=lines)
                yield StageBuild(stage=stage, plan=plan)


def price_of(program, builds, cost):
    """What a chain costs: its stages, and registers wherever beats of two stages do not fit together."""
    count, total = program.input.shape[0], 0.0
    for build in builds:
        if count != build.plan.simd:
            total += 3 * lcm(count, build.plan.simd) * build.stage.x.bits
        total += cost(build)
        count = build.out_count
    return total


def as_folded(builds):
    """The folds of ``builds`` as the solver weighs them: before it knows how deep their queues must be."""
    keys = ("pe", "simd", "taps", "lines", "blocks")
    return [
        StageBuild(stage=b.stage, plan=default_stage_plan(b.stage, **{key: getattr(b.plan, key) for key in keys}))
        for b in builds
    ]
