# amaranth: UnusedElaboratable=no
"""Depths of the queues in front of joins: enough, and not one more than that."""

from dataclasses import replace

import numpy as np
import pytest
from addax.hdl.dataflow.build import StageBuild, bind, default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import expected_beats
from addax.hdl.streams import queue as streams
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.program import Flatten
from marks import guarded
from networks import Builder, random_images, random_moving, random_plan, random_residual
from pipelines import run_pipeline

IMAGES = 4


def residual_blocks(blocks):
    """Blocks of two 3 x 3 layers with an identity around them, as a ResNet has, on a map of 4 x 4."""
    b = Builder(np.random.default_rng(1), (2, 4, 4))

    def layer(source, join=None):
        b.last = source
        b.convolution("adder", 2, 3, 1, 1, 4)
        b.rescale(unsigned(8), residual=join)
        return b.last

    last = layer(b.last)
    for _ in range(blocks):
        last = layer(layer(last), join=last)
    b.emit(Flatten(name="flatten", source=last))
    b.convolution("adder", 3)
    b.requantise(None, scores=True)
    return b.program()


def plan_of(program, **fold):
    """All layers of the blocks in the same fold: none has a cycle to spare, as in a balanced pipeline."""
    folds = [fold if stage.window == (3, 3) else {"pe": 1, "simd": 1, "taps": 1} for stage in stages_of(program)]
    builds = [
        StageBuild(stage=stage, plan=default_stage_plan(stage, **own))
        for stage, own in zip(stages_of(program), folds, strict=True)
    ]
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=with_queues(builds, program)
    )


def pace(program, plan):
    """Cycles between the last two images through the RTL; None when it deadlocks."""
    try:
        _, ends = run_pipeline(program, plan, random_images(program, IMAGES, 1))
    except AssertionError:
        return None
    return ends[-1] - ends[-2]


@pytest.mark.parametrize("seed", guarded([0, 1, 4, 6, 9], 0, 4))
def test_queues_of_block_ram_change_no_cycle(seed, monkeypatch):
    """They hand on a beat one cycle later; a residual is needed later than that, whatever the fold."""
    monkeypatch.setattr(streams, "BLOCK_QUEUE_BITS", 1)
    monkeypatch.setattr(streams, "BLOCK_QUEUE_BEATS", 2)
    program = random_residual(seed)
    plan, images = random_plan(program, seed), random_images(program, 5, seed)
    assert any(streams.in_block_ram(1, stage.residual) for stage in plan.stages)

    beats, ends = run_pipeline(program, plan, images)

    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


def test_a_deep_queue_is_block_ram():
    """What a lookup table or two hold for each bit stays there."""
    assert streams.in_block_ram(8, 2144) and streams.in_block_ram(128, 32)
    assert not streams.in_block_ram(8, 511) and not streams.in_block_ram(512, 31)


@pytest.mark.parametrize("blocks, fold", [
    (1, {"pe": 1, "simd": 2, "taps": 3}),
    (1, {"pe": 2, "simd": 2, "taps": 1}),
    pytest.param(1, {"pe": 1, "simd": 1, "taps": 1}, marks=pytest.mark.slow),
    pytest.param(2, {"pe": 1, "simd": 2, "taps": 1}, marks=pytest.mark.slow),
    pytest.param(2, {"pe": 2, "simd": 1, "taps": 3, "lines": 3}, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_join_has_the_least_queue_that_keeps_the_pace(blocks, fold):
    """In a balanced pipeline the deepest queue is as deep as it must be: with one beat less images come slower, or none
    come."""
    program = residual_blocks(blocks)
    plan = plan_of(program, **fold)
    interval = schedule(bind(program, plan), program).interval
    deepest = max(plan.stages, key=lambda stage: stage.residual)
    assert deepest.residual > 3
    less = [replace(s, residual=s.residual - 1) if s is deepest else s for s in plan.stages]

    assert pace(program, plan) == interval
    slower = pace(program, replace(plan, stages=tuple(less)))
    assert slower is None or slower > interval


def test_a_fork_keeps_a_beat_only_until_its_place_is_claimed():
    """The slowest stage, which claims places before it works, must not wait for a residual behind its short queue."""
    program = random_moving(1133)
    plan = random_plan(program, 1133)

    assert pace(program, plan) == schedule(bind(program, plan), program, pixels=plan.pixels).interval
