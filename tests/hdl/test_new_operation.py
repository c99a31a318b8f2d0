# amaranth: UnusedElaboratable=no
"""An operation that the package does not know, from torch to a report: registered at run time, it goes the way of ours.

Its way through golden model and exports is in tests/quant/test_registers.py.
"""

import json

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.family import DATAFLOW
from addax.hdl.dataflow.planning.complete import complete_plan
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.family import PlanRequest
from addax.hdl.folder.generate import generate
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.lower.aten import table
from addax.quant.lower.lowering import lower
from addax.quant.program import Concat, MaxPool
from addax.reports.estimate.dataflow.stages import count_kind
from addax.reports.page.report import make_report
from addax.sim.cosim import simulate
from addax.sim.stopwatch import watch
from negate import Negate, negated
from negate_stage import Dark, NegateStage, built_negation, lower_negation
from networks import Builder, random_images, random_plan
from pipelines import run_pipeline
from torch import nn
from torchnets import as_floats, pictures, settle


@pytest.fixture
def negate():
    with built_negation():
        yield


@pytest.fixture(scope="module")
def net():
    """A small trained-like network that negates its features."""
    torch.manual_seed(0)
    images = pictures(60, (2, 8, 8))
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Dark(), nn.MaxPool2d(2), nn.Flatten())
    return settle(nn.Sequential(*layers, nn.Linear(64, 5)), images), images


@pytest.fixture
def program(negate, net, monkeypatch):
    """What becomes of that network."""
    monkeypatch.setattr(table, "_table", dict(table._table))
    lower_negation()
    return lower(*net, bits=8)


def test_torch_asks_for_it(program, net):
    """Its network decides as in float, which a sign the wrong way would not."""
    module, images = net
    with torch.no_grad():
        expected = module(as_floats(images).float()).argmax(1).numpy()

    assert [type(op).__name__ for op in program.ops].count("Negate") == 1
    assert (golden.run(program, images).classes == expected).mean() > 0.9


@pytest.mark.slow
@pytest.mark.guard
def test_it_is_built_simulated_and_reported(program, net, tmp_path):
    """Every word of every stage, in the predicted cycles, through stalls and behind a bus; its cost by its counts."""
    _, images = net
    plan = DATAFLOW.plan(program, PlanRequest(device="ecp5-45k", lanes=20, control="axi-lite"))
    build = generate(program, plan, tmp_path / "build", vectors=images[:2])

    outcome = simulate(build, images[:12], stall=0.3, trace_stages=True)

    assert outcome.bit_exact and outcome.images == 12
    assert outcome.cycles_first_image == build.schedule.latency
    assert outcome.cycles_per_image == build.schedule.interval
    (stage,) = [b for b in bind(program, plan) if isinstance(b.stage, NegateStage)]
    traced = {trace.name: (trace.values, trace.mismatches) for trace in outcome.stages}
    assert traced[stage.stage.name] == (12 * int(np.prod(stage.stage.result)), 0)
    work = watch(build, images[:2]).tracks[stage.stage.name]
    assert [image.busy for image in work] == [stage.window.read_cycles] * 2
    rows = json.loads(make_report(build, tmp_path / "report").json.read_text())["stages"]
    (row,) = [row for row in rows if row["name"] == stage.stage.name]
    assert row["ff"] > stage.plan.simd * stage.stage.y.bits


def everywhere(seed):
    """It reads the pixels, stands behind a fork, and in front of a residual, a pool and a join."""
    b = Builder(np.random.default_rng(seed), (2, 5, 4))
    b.emit(Negate(name="first", source=b.last))
    b.convolution("mult", 4, 3, padding=1)
    b.rescale(signed(5))
    light = b.last
    b.emit(Negate(name="dark", source=light))
    b.emit(MaxPool(name="pool", source="dark", size=1, stride=1))
    b.emit(Concat(name="both", source="dark", others=("pool",)))
    b.convolution("adder", 4, weight_bits=6)
    b.rescale(unsigned(6), residual="dark")
    b.emit(Negate(name="last", source=b.last))
    return b.raw()


@pytest.mark.parametrize("seed", range(4))
def test_any_fold_of_it_is_exact_and_on_time(negate, seed):
    """Protects what a stage says of itself as the pipeline, the queues and the cycle model ask it."""
    program = everywhere(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 4, seed)

    beats, ends = run_pipeline(program, plan, images)

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)


def test_a_plan_of_it_is_checked(negate):
    def complete(**changes):
        stages = [{"name": "dark", **changes}]
        return complete_plan({"stages": stages}, negated(), device="ecp5-45k", clock_mhz=50.0)

    assert complete(simd=2).stages[0].simd == 2
    with pytest.raises(UserError, match=r"stage 'dark': simd must divide 2 channels, not be 3$"):
        complete(simd=3)
    with pytest.raises(UserError, match=r"pe of stage 'dark' must be 1, not 2$"):
        complete(pe=2)


def test_without_its_entries_it_is_refused_by_name():
    with pytest.raises(UserError, match=r"^dark: the dataflow family cannot build Negate; it builds ArgMax, "):
        DATAFLOW.plan(negated(), PlanRequest(device="ecp5-45k"))
    with pytest.raises(UserError, match=r"^nothing is known of stages of object to estimate them by; use --synth$"):
        count_kind(object(), None, None)
