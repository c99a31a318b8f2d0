# amaranth: UnusedElaboratable=no
"""Second slopes in hardware: words of memory, sums at the knee, other numbers in the same build."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.activation.arithmetic import Scale
from addax.hdl.activation.requantise import FactorLayout
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.kinds.images import stage_images, stage_tensors
from addax.hdl.dataflow.reload import check_fits
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.folder.generate import generate
from addax.hdl.folder.memories import export_memories, read_memories
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Requantise
from hypothesis import given
from hypothesis import strategies as st
from marks import guarded
from networks import Builder, random_built, random_images, random_plan
from pipelines import run_pipeline

FIELDS = ("multiplier", "offset", "second", "second_offset")


@given(data=st.data(), bits=st.integers(2, 40), units=st.integers(1, 4), own=st.booleans())
def test_words_with_a_second_slope_can_be_read_back(data, bits, units, own):
    """T0, N and D stand above whatever else a word holds."""
    offset, knee, scale = signed(bits), signed(bits + 1), Scale(bits=24)
    layout = FactorLayout(
        offset=offset, units=units, scale=scale, knee=knee, shift=unsigned(6) if own else None,
        residual=scale.residual if own else None,
    )  # fmt: skip
    factor, wide = (-(2**23) + 1, 2**23 - 1), (offset.lo, offset.hi)
    ranges = [factor, wide, (0, 47), (-(2**31) + 1, 2**31 - 1), (knee.lo, knee.hi), factor, wide]
    rows = [data.draw(st.lists(st.integers(*ends), min_size=units, max_size=units)) for ends in ranges]

    word = layout.pack(*rows[:4], rows[4:])

    assert 0 <= word < 1 << layout.width == 1 << units * (24 + bits + 38 * own + bits + 1 + 24 + bits)
    nothing = [[0] * units] * 2
    assert [list(values) for values in layout.unpack(word)] == [*rows[:2], *(rows[2:4] if own else nothing)]
    assert [list(values) for values in layout.unpack_second(word)] == rows[4:]


def bent(kernel, terms=0, seed=0, residual=False):
    """One layer of ``kernel`` with a knee in every channel, many of them where sums are."""
    b = Builder(np.random.default_rng(seed), (2, 4, 4))
    b.rescale(unsigned(1) if kernel == "xnor" else unsigned(4))
    source = b.last
    b.convolution(kernel, 2 if residual else 5, 3, padding=1)
    b.rescale(signed(7), terms=terms, residual=source if residual else None)
    b.bend()
    return b.raw()


@pytest.mark.parametrize("kernel", ["adder", "mult", "xnor", "shift"])
@pytest.mark.parametrize(("how", "terms"), guarded([("dsp", 0), ("lut", 0), ("pow2", 2)], ("lut", 0)))
@pytest.mark.parametrize("residual", [False, True])
def test_any_kernel_and_multiplier_bends_on_time(kernel, how, terms, residual):
    """An adder's array gives falling sums, a binary one counts: both see the knee elsewhere than the Program."""
    program = bent(kernel, terms, residual=residual)
    plan = random_plan(program, 3)
    plan = replace(plan, stages=tuple(replace(stage, scale=how) for stage in plan.stages))
    images = random_images(program, 4, 1)

    beats, ends = run_pipeline(program, plan, images)

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


@pytest.mark.parametrize("seed", range(16))
def test_what_stands_in_memories_is_the_program(seed):
    """A knee may come back as another that no sum can tell from it: between two possible sums, or beyond all."""
    program = random_built(seed)
    for build in bind(program, random_plan(program, seed)):
        made = program.by_name[build.stage.tensor]
        if not isinstance(made, Requantise) or not made.bends:
            continue
        held = stage_tensors(build, stage_images(build, fixed=False))[made.name]
        whole = replace(made, **held)
        for field in FIELDS:
            assert np.array_equal(getattr(whole, field), getattr(made, field)), (made.name, field)
        step, fmt = 2 if build.stage.kind == "xnor" else 1, program.format(made.source)
        lo, hi = (fmt.lo, fmt.hi) if build.stage.name == made.name else program.sum_range(made.source)
        sums = np.arange(lo, hi + 1, step)[:, None]
        assert np.array_equal(sums >= whole.knees, sums >= made.knees)


@pytest.mark.parametrize("kernel", ["adder", "mult", "xnor"])
def test_other_slopes_run_in_the_same_build(kernel, tmp_path):
    """Memory files of another network say all of it, and are read back as it."""
    own, other = bent(kernel), bent(kernel, seed=7)
    knee = np.random.default_rng(1).permutation(other.ops[-1].knees)
    ops = (*own.ops[:2], *(replace(op, **({"knee": knee} if op.name == other.ops[-1].name else {}))
                           for op in other.ops[2:]))  # fmt: skip
    other = replace(other, ops=ops)
    build = generate(own, random_plan(own, 1), tmp_path / "out", vectors=sample_vectors(own, 1))
    export_memories(build, tmp_path / "mem", program=other)

    again = read_memories(build, tmp_path / "mem")

    images = random_images(own, 50, 0)
    found = golden.run(again, images).output
    assert np.array_equal(found, golden.run(other, images).output)
    assert not np.array_equal(found, golden.run(own, images).output)


def test_one_slope_does_not_fit_a_build_of_two_nor_two_one_of_one():
    two = bent("mult")
    one = replace(two, ops=(*two.ops[:-1], replace(two.ops[-1], second=None, knee=0, second_offset=None)))

    with pytest.raises(UserError, match=r"slopes of .* is 1, the RTL is made for 2"):
        check_fits(one, two, random_plan(two, 0))
    with pytest.raises(UserError, match=r"slopes of .* is 2, the RTL is made for 1"):
        check_fits(two, one, random_plan(one, 0))


def test_fixed_weights_may_have_knees_that_no_sum_reaches():
    """Sums of the actual weights are narrower: what lies beyond them is said by their ends."""
    program = bent("mult")
    last = program.ops[-1]
    fmt = program.format(last.source)
    knees = np.array([fmt.lo, fmt.hi + 1, fmt.hi, fmt.lo + 1, 0])
    program = replace(program, ops=(*program.ops[:-1], replace(last, knee=knees)))
    plan = random_plan(program, 0, fixed_weights=True)
    images = random_images(program, 3, 0)

    beats, _ = run_pipeline(program, plan, images)

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)


def test_pixels_may_bend_on_their_way_in():
    """The input operation has its constants in the RTL."""
    b = Builder(np.random.default_rng(3), (3, 3, 3))
    b.rescale(signed(6))
    op = b.ops[b.last]
    bend = {"second": -op.multiplier // 3, "knee": np.array([0, 100, 256]), "second_offset": op.offset + 5}
    b.ops[b.last] = replace(op, **bend)
    b.convolution("mult", 3)
    b.rescale(signed(8))
    program = b.raw()
    plan, images = random_plan(program, 0), random_images(program, 4, 0)

    beats, _ = run_pipeline(program, plan, images, stall=0.3, seed=1)

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
