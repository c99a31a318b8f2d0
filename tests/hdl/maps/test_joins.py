# amaranth: UnusedElaboratable=no
"""Queues of concatenated streams: deep enough, and needed."""

from dataclasses import replace

import numpy as np
import pytest
from addax.hdl.dataflow.build import StageBuild, bind, default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.program import Concat, SpatialShift
from marks import guarded_but
from networks import Builder, random_images, random_moving, random_plan
from pipelines import run_pipeline

ROW = 5 * 2
"""Beats of a row of `ghost`'s streams, under `planned`."""


def ghost(ahead):
    """4 channels beside the same ones from ``ahead`` rows below."""
    b = Builder(np.random.default_rng(ahead), (1, 6, 5))
    b.convolution("mult", 4, 3, padding=1)
    b.rescale(unsigned(5))
    made = b.last
    offsets = np.array([[-ahead, 0], [0, 1], [-1, -1], [1, 0]])
    b.emit(SpatialShift(name="moved", source=made, offsets=offsets))
    b.emit(Concat(name="both", source=made, others=("moved",)))
    return b.raw()


def planned(program):
    """Every stage as fast as the join: two channels per cycle."""
    folds = {"pe": 2, "simd": 1, "taps": 3, "lines": 3}
    stages = []
    for stage in stages_of(program):
        how = folds if stage.weight_bits else {"pe": 1, "simd": 2, "taps": 1}
        stages.append(StageBuild(stage=stage, plan=default_stage_plan(stage, **how)))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False,
        stages=with_queues(stages, program, outputs=2), outputs=2,
    )  # fmt: skip


def ends_of(program, plan, images, limit=20_000):
    """The cycles at which packets end, all of whose elements must be right."""
    beats, ends = run_pipeline(program, plan, images, limit=limit)
    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    return ends


def with_joins(plan, change):
    """``plan`` with each depth of each join replaced by a function of it and of the number of the stream."""
    return replace(
        plan,
        stages=tuple(replace(s, joins=tuple(change(depth, k) for k, depth in enumerate(s.joins))) for s in plan.stages),
    )


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_what_waits_for_a_shift_is_as_much_as_it_looks_ahead(ahead):
    """The queue of the unshifted channels holds the rows until the one that is looked at, and the join keeps pace."""
    program = ghost(ahead)
    plan = planned(program)
    both = next(stage for stage in plan.stages if stage.name == "both")

    ends = ends_of(program, plan, random_images(program, 4, 0))

    timing = schedule(bind(program, plan), program)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)
    assert both.joins == ((ahead + 1) * ROW + 1, 2)


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.slow
@pytest.mark.guard
def test_one_beat_less_costs_cycles_and_some_less_hang(ahead):
    """The computed queue is the least one: then the fork must wait; with less than the rows that the shift waits for,
    for ever."""
    program = ghost(ahead)
    plan, images = planned(program), random_images(program, 3, 0)

    ends = ends_of(program, with_joins(plan, lambda depth, k: depth - 1 if k == 0 else depth), images)

    timing = schedule(bind(program, plan), program)
    assert ends[0] > timing.latency and ends[-1] - ends[-2] > timing.interval
    with pytest.raises(AssertionError, match="beats after 20000 cycles"):
        ends_of(program, with_joins(plan, lambda depth, k: depth - 8 if k == 0 else depth), images)


@pytest.mark.parametrize("seed", guarded_but([0, 3, 9, 10], 3))
def test_deeper_queues_of_joins_save_no_cycle(seed):
    program = random_moving(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 4, seed)

    ends = ends_of(program, plan, images)
    more = ends_of(program, with_joins(plan, lambda depth, k: 4 * depth + 50), images)

    assert more[0] == ends[0] and more[-1] - more[-2] == ends[-1] - ends[-2]
