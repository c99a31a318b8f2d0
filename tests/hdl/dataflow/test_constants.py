# amaranth: UnusedElaboratable=no
"""Pipelines whose weights are part of the circuit: when they are, that they equal the golden model, and on time."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind, default_stage_plan
from addax.hdl.dataflow.control_map import build_identity
from addax.hdl.dataflow.kinds.constant import reach_at
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.complete import complete_plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import Format
from marks import slow_but
from networks import random_chain, random_program, random_residual, random_windows
from perceptrons import perceptron
from pipelines import run_pipeline
from random_plans import StageBuild

KERNELS = ["adder", "mult", "xnor", "shift"]


def some_images(program, count, seed):
    """Images of any values that the input can have."""
    fmt = program.input.format
    return np.random.default_rng(seed).integers(fmt.lo, fmt.hi, (count, *program.input.shape), endpoint=True)


def at_once(program, clock_mhz=200.0, fabric="generic", *, compress=False):
    """An image in every clock."""
    return fold(
        program, device="xc7z020", clock_mhz=clock_mhz, fps=clock_mhz * 1e6, fixed_weights=True, fabric=fabric,
        compress=compress,
    )  # fmt: skip


def unrolled(program, reach=2):
    """All stages as parallel as they can be, and every layer that can be one a circuit of constants."""
    builds = []
    for stage in stages_of(program, fixed_weights=True):
        fold_of = max(stage.folds(), key=lambda own: np.prod(list(own.values())))
        plan = default_stage_plan(stage, **{"simd": 1, **fold_of})
        builds.append(StageBuild(stage=stage, plan=replace(plan, reach=reach) if plan.reach else plan))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=True,
        stages=with_queues(builds, program),
    )  # fmt: skip


def check(program, plan, images, stall=0.0):
    """Every word is the golden model's; without stalls the first comes when the cycle model says, and the last."""
    beats, ends = run_pipeline(program, plan, images, stall=stall)

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    if not stall:
        timing = schedule(bind(program, plan), program, pixels=plan.pixels)
        assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("clock_mhz", [50.0, 400.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_perceptron_gives_an_image_in_every_clock(kernel, clock_mhz, stall):
    """Protects sums, activations, ranks, queues and the cycle model, with the widest and the most ranks."""
    program = perceptron(kernel, (6, 5, 3), seed=3, factors="any" if clock_mhz > 50 else "steps")
    plan = at_once(program, clock_mhz)
    assert all(stage.reach for stage in plan.stages)
    assert schedule(bind(program, plan), program, pixels=plan.pixels).interval == 1

    check(program, plan, some_images(program, 9, 0), stall)


@pytest.mark.parametrize("bits", slow_but(range(2, 9), 3))
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("kernel", ["adder", "mult", "shift"])
def test_features_of_any_width_and_sign(kernel, bits, is_signed):
    program = perceptron(kernel, (4, 3, 2), seed=bits, pixel=Format(bits=bits, signed=is_signed), bits=bits)

    check(program, unrolled(program), some_images(program, 5, bits))


@pytest.mark.parametrize("make", [random_program, random_chain, random_windows, random_residual])
@pytest.mark.parametrize("seed", slow_but(range(24), 0))
def test_any_network_unrolled_equals_the_golden_model(make, seed):
    """Windows of several pixels with padding and strides in front of circuits of constants, and what cannot be one
    beside them."""
    program = make(seed)
    plan = unrolled(program, 1 + seed % 3)

    check(program, plan, some_images(program, 4, seed))
    check(program, plan, some_images(program, 3, seed), 0.3)


@pytest.mark.parametrize("clock_mhz", [50.0, 200.0, 400.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_words_that_are_counted_give_an_image_in_every_clock(kernel, clock_mhz):
    """Protects the ranks between counts and sums: of eight features counts stand in front of several levels."""
    program = perceptron(kernel, (8, 4, 3), seed=5)
    plan = at_once(program, clock_mhz, compress=True)
    assert all(stage.compress for stage in plan.stages)
    assert Plan.from_json(plan.to_json()) == plan

    check(program, plan, some_images(program, 5, 1), 0.0)


def test_to_count_words_takes_a_circuit_of_constants():
    program = perceptron("mult", (6, 5, 3))
    plan = at_once(program, compress=True)

    with pytest.raises(UserError, match="compress of 'dense0' must be false where memories hold its weights"):
        bind(program, replace(plan, stages=(replace(plan.stages[0], reach=0), plan.stages[1])))


def test_weights_that_may_change_are_in_memories():
    """Only fixed weights are constants, and only where all are read at once."""
    program = perceptron("mult", (6, 5, 3))
    loose = fold(program, device="xc7z020", clock_mhz=200.0, fps=200e6)
    slow = fold(program, device="xc7z020", clock_mhz=200.0, lanes=2, fixed_weights=True)

    assert not any(stage.reach for stage in (*loose.stages, *slow.stages))
    assert "reach" not in loose.to_json()["stages"][0]
    plan = at_once(program)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_may_leave_constants_to_synthesis():
    """With ``reach`` 0 a stage has memories as without fixed weights, and is still exact."""
    program = perceptron("mult", (6, 5, 3))
    plan = at_once(program)
    entries = [{"name": plan.stages[0].name, "pe": 5, "simd": 6, "reach": 0}]
    plan = complete_plan({"stages": entries}, program, device="xc7z020", clock_mhz=50.0, fixed_weights=True)

    assert plan.stages[0].reach == 0
    check(program, plan, some_images(program, 4, 0))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fixed_weights": False}, "reach of 'dense0' must be 0, not 2: its weights are not fixed"),
        ({"simd": 3}, "reach of 'dense0' must be 0, not 2: not all of it is computed at once"),
        ({"reach": -1}, "reach of stage 'dense0' must be 0 or a positive integer, not -1"),
    ],
)
def test_constants_that_cannot_be_are_refused(changes, message):
    program = perceptron("mult", (6, 5, 3))
    plan = at_once(program)
    changes = dict(changes)
    fixed = changes.pop("fixed_weights", True)

    with pytest.raises((UserError, ValueError), match=message):
        bind(program, replace(plan, fixed_weights=fixed, stages=(replace(plan.stages[0], **{"reach": 2, **changes}),
                                                                  plan.stages[1])))  # fmt: skip


def test_a_faster_clock_has_fewer_levels_between_ranks():
    assert [reach_at(clock, 1.5) for clock in (20.0, 50.0, 100.0, 200.0, 400.0, 1000.0)] == [32, 12, 6, 2, 1, 1]
    assert reach_at(100.0, 3.0) < reach_at(100.0, 1.0)


def test_builds_with_other_constants_are_other_builds():
    """A bus tells software which RTL it talks to: where weights are part of it, they count."""
    first, second = perceptron("mult", (6, 5, 3), seed=0), perceptron("mult", (6, 5, 3), seed=1)
    plan = replace(at_once(first), control="axi-lite")

    identities = {build_identity(program, bind(program, plan), plan, []) for program in (first, second)}

    assert len(identities) == 2
