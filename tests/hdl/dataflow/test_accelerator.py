# amaranth: UnusedElaboratable=no
"""Whole small accelerators in Amaranth's simulator: any network, any fold, equal to the golden model, on time."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.interface import expected_beats
from addax.quant import golden
from folds import folded
from marks import guarded_but
from networks import (
    random_built,
    random_chain,
    random_images,
    random_moving,
    random_plan,
    random_program,
    random_residual,
    random_windows,
)  # fmt: skip
from pipelines import run_pipeline

MAKERS = pytest.mark.parametrize(
    "make", [random_program, random_chain, random_residual, random_moving, random_windows, random_built]
)


def right_beats(program, plan, images):
    """What the golden model expects at the output."""
    return expected_beats(program, golden.run(program, images).output, plan.outputs)


@MAKERS
@pytest.mark.parametrize("seed", guarded_but(range(24), 0, 2, 3))
def test_any_network_in_any_fold_equals_the_golden_model_on_time(make, seed):
    """Protects widths, weight order, padding, pooling, requantising, and the cycle model, all at once."""
    program = make(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 5, seed)

    beats, ends = run_pipeline(program, plan, images)

    assert beats == right_beats(program, plan, images)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert ends[0] == timing.latency
    assert ends[-1] - ends[-2] == timing.interval


@pytest.mark.parametrize("seed", guarded_but(range(4), 1))
def test_products_in_halves_come_later_and_on_time(seed):
    """They take a rank more, which the cycle model must know; here all are made so."""
    program = random_program(seed)
    plan = folded(program, halves_above=1)
    assert "halves" in {stage.scale for stage in plan.stages}
    images = random_images(program, 5, seed)

    beats, ends = run_pipeline(program, plan, images)

    assert beats == right_beats(program, plan, images)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


@MAKERS
@pytest.mark.parametrize("seed", guarded_but(range(100, 108), 100, 102))
@pytest.mark.parametrize("stall", [0.1, 0.7])
def test_random_stalls_change_nothing(make, seed, stall):
    """Protects the stream contract of every block as they stand in a pipeline."""
    program = make(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 3, seed)

    beats, _ = run_pipeline(program, plan, images, stall=stall, seed=seed)

    assert beats == right_beats(program, plan, images)


@MAKERS
@pytest.mark.parametrize("seed", guarded_but(range(200, 206), 200, 203))
def test_fixed_weights_are_narrower_and_equal(make, seed):
    """Protects the widths that are taken from the actual weights."""
    program = make(seed)
    plan = random_plan(program, seed, fixed_weights=True)
    loose = bind(program, random_plan(program, seed))
    images = random_images(program, 3, seed)

    beats, _ = run_pipeline(program, plan, images)

    assert beats == right_beats(program, plan, images)
    for tight, other in zip(bind(program, plan), loose, strict=True):
        assert tight.stage.carried.bits <= other.stage.carried.bits


@MAKERS
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_more_networks(make, seed):
    program = make(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 4, seed)

    beats, ends = run_pipeline(program, plan, images)

    assert beats == right_beats(program, plan, images)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


def test_scores_keep_their_extremes():
    """The random networks must exercise what they protect: scores differ, classes vary, clamps are reached."""
    seen = set()
    for seed in range(24):
        program = random_program(seed)
        result = golden.run(program, random_images(program, 5, seed))
        seen.add(tuple(np.unique(result.classes)))
    assert len(seen) > 3


def test_a_plan_for_another_network_is_refused():
    with pytest.raises(UserError, match="the plan is for stages"):
        bind(random_program(1), random_plan(random_program(2), 2))
