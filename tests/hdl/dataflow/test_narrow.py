"""What of other weights a bus can write where the Plan says how far they may lie from the first ones."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.plan import StagePlan
from addax.hdl.dataflow.planning.narrow import narrowed
from addax.hdl.folder.build import memory_images
from addax.hdl.folder.generate import generate
from addax.hdl.folder.memories import read_memories
from addax.hdl.folder.vectors import sample_vectors
from addax.quant import golden
from addax.quant.program import Requantise
from addax.sim.cosim import simulate
from bus_sim import plan_of, program_of
from networks import random_images


def shifted(program, by, **more):
    """``program`` with every shift so many places further, and offsets that keep the sums where they were."""
    return replace(program, ops=tuple(
        replace(op, shift=op.shift + by, offset=np.left_shift(op.offset, max(by, 0)), **more)
        if isinstance(op, Requantise) else op
        for op in program.ops
    ))  # fmt: skip


def narrow_plan(program, control="axi-lite"):
    return narrowed(program, plan_of(program, control))


def test_ranges_hold_the_shifts_at_hand_and_shorten_their_words():
    """Two bits for five; thresholds and channels with shifts of their own have none, and a Plan that nothing can write
    stays as it is."""
    program = program_of(1)
    wide, narrow = plan_of(program, "axi-lite"), narrow_plan(program)

    shifts = [op.shift for op in program.ops if isinstance(op, Requantise) and not op.channelwise]
    assert [stage.shifts for stage in narrow.stages if stage.shifts] == [(s - 1, s + 2) for s in shifts]
    assert [bool(stage.shifts) for stage in narrow.stages] == [True, False, False, True]
    widths = [
        {image.name: image.width for image in memory_images(program, plan) if image.name.endswith("constants")}
        for plan in (wide, narrow)
    ]
    assert [widths[0][name] - width for name, width in widths[1].items()] == [3, 0, 3]
    assert narrowed(program, plan_of(program, "none")) == plan_of(program, "none")
    fixed = plan_of(program, "axi-lite", fixed_weights=True)
    assert narrowed(program, fixed) == fixed


@pytest.mark.parametrize("by, fits", [(-2, False), (-1, True), (2, True), (3, False)])
def test_other_shifts_fit_or_are_refused_by_name(tmp_path, by, fits):
    """Before anything is written: a shift beyond the field would be cut off."""
    program = program_of(1)
    build = generate(program, narrow_plan(program), tmp_path / "b", vectors=sample_vectors(program, 1))

    if fits:
        assert len(build.images_for(shifted(program, by))) == len(build.images_for(program))
    else:
        with pytest.raises(UserError, match=r"shifts of 'conv\w*' must hold its own, \d+, not be \(\d+, \d+\)"):
            build.images_for(shifted(program, by))


def test_a_clamp_that_was_its_format_stays_so(tmp_path):
    """Its ends are a part of the RTL, so another clamp is refused, by name and with its numbers."""
    program = program_of(1)
    whole = replace(program, ops=tuple(
        replace(op, lo=op.format.lo, hi=op.format.hi) if isinstance(op, Requantise) else op for op in program.ops
    ))  # fmt: skip
    plan = narrow_plan(whole)
    assert [stage.clamps for stage in plan.stages] == [False, True, False, False]
    build = generate(whole, plan, tmp_path / "b", vectors=sample_vectors(whole, 1))
    first = next(op for op in whole.ops if isinstance(op, Requantise))
    less = replace(whole, ops=tuple(replace(op, hi=op.hi - 1) if op is first else op for op in whole.ops))

    with pytest.raises(UserError, match=r"clamps of 'conv\w*' must be true: it clamps to 0\.\.30"):
        build.images_for(less)


def test_memories_of_a_narrow_plan_are_read_back(tmp_path):
    """The field holds what a shift is above the least one: the Program that is read has the shift itself."""
    program = program_of(1)
    build = generate(program, narrow_plan(program), tmp_path / "b", vectors=sample_vectors(program, 1))

    images = random_images(program, 50, 0)
    assert np.array_equal(golden.run(read_memories(build), images).scores, golden.run(program, images).scores)


@pytest.mark.slow
@pytest.mark.guard
def test_a_narrow_build_runs_other_shifts(tmp_path):
    """The RTL adds the least shift to what is written: one and the same build with shifts at both ends of its range."""
    program = program_of(1)
    build = generate(program, narrow_plan(program), tmp_path / "b", vectors=sample_vectors(program, 1))
    images = random_images(program, 40, 3)

    for by in (-1, 0, 2):
        outcome = simulate(build, images, program=shifted(program, by), stall=0.2)
        assert (outcome.images, outcome.mismatches) == (40, 0), by


@pytest.mark.parametrize("value, message", [
    ((3,), "must be the least and the most"), ((5, 4), "must be the least and the most"),
    ((0, 99), "must be the least and the most"), ("ab", "must be two integers or none"),
    ((1.0, 2), "must be two integers or none"),
])  # fmt: skip
def test_shifts_that_are_no_range_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        StagePlan(name="conv", pe=1, simd=1, taps=1, requantisers=1, rows=1, queue=1, shifts=value)


@pytest.mark.parametrize("change, message", [
    ({"shifts": (0, 3)}, "has no shift that its channels share"), ({"clamps": False}, "does not requantise"),
])  # fmt: skip
def test_a_stage_of_thresholds_has_neither(change, message):
    program = program_of(1)
    plan = plan_of(program, "axi-lite")
    stages = list(plan.stages)
    stages[1] = replace(stages[1], **change)

    with pytest.raises(UserError, match=message):
        bind(program, replace(plan, stages=tuple(stages)))
