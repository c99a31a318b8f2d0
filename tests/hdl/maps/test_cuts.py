# amaranth: UnusedElaboratable=no
"""Slices and constants in streams: what passes, what a queue must hold meanwhile, and what is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import StageBuild, bind, default_stage_plan
from addax.hdl.dataflow.kinds.cut import CutStage
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.reload import check_fits
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import expected_beats
from addax.hdl.maps.cut import CutShape, cut_folds
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Concat, Constant, Program, Requantise, Slice
from marks import GUARD, guarded
from networks import Builder, random_built, random_images, random_plan
from pipelines import run_pipeline


def cut(axis, start, stop, step):
    """A layer, a slice, and a layer that has as much to do as the first."""
    b = Builder(np.random.default_rng(5), (2, 6, 6))
    b.convolution("mult", 4, 3, padding=1)
    b.rescale(unsigned(5))
    b.emit(Slice(name="cut", source=b.last, axis=axis, start=start, stop=stop, step=step))
    b.convolution("adder", 4, 3, padding=1)
    b.rescale(signed(6))
    return b.raw()


def paced(program, pe):
    """One sum and one channel at once, ``pe`` filters in the second layer."""
    builds = []
    for number, stage in enumerate(stages_of(program)):
        how = {"pe": pe if number else 1} if stage.weight_bits else {}
        builds.append(StageBuild(stage=stage, plan=default_stage_plan(stage, simd=1, **how)))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=with_queues(builds, program)
    )


def ends_of(program, plan, images, **how):
    """The cycles at which packets end, all of whose elements must be right."""
    beats, ends = run_pipeline(program, plan, images, **how)
    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    return ends


CUTS = [("C", 1, 3, 1), ("C", 0, 4, 3), ("H", 0, 6, 2), ("H", 3, 6, 1), ("H", 0, 2, 1), ("W", 1, 6, 2), ("W", 4, 6, 1)]
SOME_FAST = [how if k in (0, 5) else pytest.param(how, marks=GUARD) for k, how in enumerate(CUTS)]


@pytest.mark.parametrize("how", SOME_FAST, ids=str)
@pytest.mark.parametrize("pe", guarded([1, 2, 4], 1, 2))
def test_pipeline_with_a_slice_keeps_its_pace(how, pe):
    """Beats come in bursts behind it: whichever stage is the slowest, the cycles are those that were predicted."""
    program = cut(*how)
    plan = paced(program, pe)

    ends = ends_of(program, plan, random_images(program, 4, 0))

    timing = schedule(bind(program, plan), program)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


@pytest.mark.parametrize("how", SOME_FAST, ids=str)
def test_stalls_lose_nothing(how):
    program = cut(*how)

    ends_of(program, paced(program, 2), random_images(program, 2, 1), stall=0.5, seed=3)


@pytest.mark.parametrize("axis", ["C", "H", "W"])
def test_a_shape_says_which_beats_pass(axis):
    """Against an array of the places themselves, for every slice and fold of a small map."""
    sizes = {"C": 4, "H": 3, "W": 5}
    for start in range(sizes[axis]):
        for stop in range(start + 1, sizes[axis] + 1):
            for step in (1, 2, 3):
                kept = range(start, stop, step)
                whole = np.arange(60).reshape(3, 5, 4)  # rows, columns, channels: the order of the stream
                wanted = np.take(whole, list(kept), "HWC".index(axis)).reshape(-1).tolist()
                for simd in cut_folds(axis, 4, kept):
                    shape = CutShape(axis=axis, kept=kept, channels=4, height=3, width=5, bits=3, simd=simd)
                    beats = whole.reshape(-1, simd)[shape.passes][:, list(shape.within)]
                    assert beats.reshape(-1).tolist() == wanted, (kept, simd)
                    assert shape.read_cycles == len(beats)


def test_a_fold_that_would_tear_a_beat_is_refused():
    with pytest.raises(ValueError, match="simd must be one of 1, 4 for a slice of 4 channels, not 2"):
        CutShape(axis="C", kept=range(1, 3), channels=4, height=1, width=1, bits=1, simd=2)


def shortcut(channels=2):
    """A block of a residual network whose shortcut leaves out every second pixel and adds channels of zeros."""
    b = Builder(np.random.default_rng(8), (2, 6, 6))
    b.rescale(signed(7))
    source = b.last
    b.emit(Slice(name="rows", source=source, axis="H", start=0, stop=6, step=2))
    b.emit(Slice(name="pixels_left", source=b.last, axis="W", start=0, stop=6, step=2))
    value = np.zeros((channels, 3, 3), np.int64)
    b.emit(Constant(name="zeros", value=value, format=signed(7)))
    b.emit(Concat(name="wide", source="zeros", others=("pixels_left", "zeros")))
    b.last = source
    b.convolution("adder", 2 * channels + 2, 3, 2, 1)
    b.rescale(unsigned(6))
    b.convolution("mult", 2 * channels + 2, 3, 1, 1)
    b.rescale(signed(7), residual="wide")
    b.bend()
    return b.raw()


@pytest.mark.parametrize("lanes", guarded([2, 12, 500], 2))
def test_shortcut_of_zeros_needs_no_convolution(lanes):
    """At any pace, with folds as a user gets them: zeros beside every second pixel, added to a residual."""
    program = shortcut()
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=lanes, fps=None, fixed_weights=False,
                fabric="generic")  # fmt: skip
    images = random_images(program, 4, 2)

    ends = ends_of(program, plan, images)
    ends_of(program, plan, images[:2], stall=0.6, seed=lanes)

    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


def with_constant(value, reader):
    b = Builder(np.random.default_rng(2), (1, 2, 2))
    b.rescale(unsigned(3))
    b.convolution("mult", 2)
    b.rescale(unsigned(3))
    source = b.last
    b.emit(Constant(name="positions", value=value, format=unsigned(3)))
    b.last = source
    b.emit(reader(source))
    return b.raw()


def joined(source):
    return Concat(name="both", source=source, others=("positions",))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (joined, "positions differs from pixel to pixel; the dataflow family joins constants that are equal for all"),
        (
            lambda source: Requantise(
                name="sum", source=source, residual="positions", residual_multiplier=1, multiplier=np.ones(2, int),
                offset=np.zeros(2, int), shift=0, format=unsigned(5), lo=0, hi=31,
            ),
            "sum reads the constant positions; the dataflow family only joins constants",
        ),
    ],
)  # fmt: skip
def test_what_no_stage_does_with_constants_is_refused_by_name(reader, message):
    value = np.arange(8).reshape(2, 2, 2)
    with pytest.raises(UserError, match=f"^{message}"):
        stages_of(with_constant(value, reader))


def test_constants_alone_are_no_join():
    ops = with_constant(np.ones((2, 2, 2), int), joined).ops
    alone = Concat(name="alone", source="positions", others=())

    with pytest.raises(UserError, match=r"^alone joins constants alone; make one constant of them$"):
        stages_of(Program(ops=(*ops[:-1], alone, replace(ops[-1], others=("alone",)))))


def test_other_constants_are_another_build():
    """They are part of the RTL."""
    ones, zeros = (with_constant(np.full((2, 2, 2), n), joined) for n in (1, 0))
    plan = random_plan(ones, 0)

    check_fits(ones, ones, plan)
    with pytest.raises(UserError, match="the program does not fit the build: constants of both is"):
        check_fits(zeros, ones, plan)


def test_random_networks_have_slices_of_every_axis_in_hardware():
    """What the comparisons of any network protect."""
    stages = [stage for seed in range(24) for stage in stages_of(random_built(seed))]

    assert {stage.axis for stage in stages if isinstance(stage, CutStage)} == {"C", "H", "W"}
    assert any(getattr(stage, "constants", None) for stage in stages)
    assert any("slopes" in stage.aspects for stage in stages)
