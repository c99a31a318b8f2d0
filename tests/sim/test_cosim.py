"""Whole networks through Verilator: every score of every test image, stalls, other weights, faults that must show."""

import shutil
import time

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.common.executor import pool
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.build import open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.memories import export_memories
from addax.sim.cosim import simulate, simulator_of
from marks import guarded_but
from networks import random_images, random_plan, random_program


@pytest.fixture(scope="module")
def build_of(lenet, tmp_path_factory, digits):
    """A BUILD of LeNet-5 by kernel and bits, each generated once."""
    made = {}

    def make(kernel="adder", bits=8):
        if (kernel, bits) not in made:
            program = lenet(kernel, bits)
            plan = fold(program, device="ecp5-85k", clock_mhz=50.0)
            out = tmp_path_factory.mktemp("builds") / f"{kernel}{bits}"
            made[kernel, bits] = generate(program, plan, out, vectors=digits.x[:2])
        return made[kernel, bits]

    return make


ACCURACY = {"adder": 0.985, "mult": 0.985, "shift": 0.985, "xnor": 0.88}


@pytest.mark.parametrize(
    ("kernel", "bits"),
    guarded_but([("adder", 8), ("adder", 16), ("mult", 8), ("xnor", 8), ("shift", 8)], ("adder", 8)),
)
def test_all_test_images_are_bit_exact_and_on_time(build_of, digits, kernel, bits):
    """Protects the whole way: 360 images, every class score, the predicted interval and latency."""
    build = build_of(kernel, bits)

    outcome = simulate(build, digits.x)

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (360, 0, 0)
    assert outcome.cycles_per_image == build.schedule.interval
    assert outcome.cycles_first_image == build.schedule.latency
    assert (outcome.classes == digits.y).mean() >= ACCURACY[kernel]


@pytest.mark.parametrize("stall", [0.1, 0.5, 0.9])
def test_all_test_images_survive_random_stalls(build_of, digits, stall):
    """Protects the AXI4-Stream ends and every stream between."""
    outcome = simulate(build_of(), digits.x, stall=stall, seed=7)

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (360, 0, 0)
    assert outcome.cycles_per_image == build_of().schedule.interval  # measured without stalls, in a run of its own


def test_other_weights_need_no_new_rtl(build_of, digits, lenet, calibration, tmp_path):
    """A network trained from another seed runs in the same simulator, bit-exact, without a Verilator build."""
    import torch
    from addax.models import data
    from addax.models.nets import zoo
    from addax.models.training.loop import train
    from addax.quant.fold.scheme import Scheme
    from addax.quant.lower.lowering import lower

    torch.manual_seed(1)
    module = zoo.build("lenet5", kernel="adder")
    train(module, data.load("digits", "train").head(200), epochs=2, seed=1)
    other = lower(module, calibration, scheme=Scheme(bits=8, shifts="shared"))
    build = build_of()
    assert simulator_of(build).cached

    outcome = simulate(build, digits.x, program=other)

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (360, 0, 0)
    assert outcome.cached_build
    assert not np.array_equal(outcome.classes, simulate(build, digits.x).classes), "the other weights must matter"
    export_memories(build, tmp_path / "memories", program=other)
    assert (tmp_path / "memories" / "addax_fc1_weights.mem").read_text() != (
        build.path / "addax_fc1_weights.mem"
    ).read_text()


def test_a_wrong_weight_shows(build_of, digits, tmp_path):
    """The comparison must be able to fail: one bit of one weight changes scores."""
    folder = tmp_path / "broken"
    shutil.copytree(build_of().path, folder)
    broken = open_build(folder)
    memory = broken.path / "addax_fc3_weights.mem"
    first, *rest = memory.read_text().splitlines()
    memory.write_text("\n".join([f"{int(first, 16) ^ 0x10:0{len(first)}x}", *rest]) + "\n")
    expected = build_of().program

    outcome = simulate_against(broken, expected, digits.x[:40])

    assert outcome["mismatches"] > 0
    assert outcome["first_mismatch"] is not None
    with pytest.raises(UserError, match=r"addax_fc3_weights\.mem was changed after 'addax generate'"):
        open_build(folder)


def simulate_against(build, program, pixels):
    """What the bench says of ``build``'s RTL and weights when the golden model runs ``program``."""
    import tempfile
    from pathlib import Path

    from addax.sim.cosim import answers, run_job_in

    with tempfile.TemporaryDirectory() as name:
        return run_job_in(Path(name), build, simulator_of(build), pixels, expected=answers(program, pixels))


@pytest.mark.parametrize("seed", guarded_but([300, 301]))
def test_several_channels_and_pads_reach_the_ports(seed, tmp_path):
    """Protects the packing of pixels of several channels, and padding with values other than zero, in Verilog."""
    program = random_program(seed)
    build = generate(
        program, random_plan(program, seed), tmp_path / "build", vectors=random_images(program, 1, seed), prefix="other"
    )

    outcome = simulate(build, random_images(program, 50, seed), stall=0.3)

    assert outcome.bit_exact
    assert (outcome.cycles_first_image, outcome.cycles_per_image) == (build.schedule.latency, build.schedule.interval)


@pytest.mark.parametrize("fabric", guarded_but(["ecp5", "xc7", "xcup"]))
def test_a_network_in_device_form_is_bit_exact(fabric, tmp_path):
    """The carry cells that the lanes instantiate, in the models that yosys has of them; structures of all kinds."""
    program = random_program(300)
    plan = random_plan(program, 300, fabric=fabric, structures=True)
    build = generate(program, plan, tmp_path / "build", vectors=random_images(program, 1, 300))
    assert {"ecp5": "CCU2C", "xc7": "CARRY4", "xcup": "CARRY8"}[fabric] in build.sources[0].read_text()

    outcome = simulate(build, random_images(program, 20, 300), stall=0.3)

    assert outcome.bit_exact
    assert (outcome.cycles_first_image, outcome.cycles_per_image) == (build.schedule.latency, build.schedule.interval)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 308))
def test_lanes_of_any_structure_are_bit_exact(seed, tmp_path):
    program = random_program(seed)
    plan = random_plan(program, seed, structures=True)
    build = generate(program, plan, tmp_path / "build", vectors=random_images(program, 1, seed))

    outcome = simulate(build, random_images(program, 20, seed), stall=0.3)

    assert outcome.bit_exact
    assert (outcome.cycles_first_image, outcome.cycles_per_image) == (build.schedule.latency, build.schedule.interval)


@pytest.mark.slow
@pytest.mark.guard
def test_a_waveform_is_written_on_request(build_of, digits, tmp_path):
    target = tmp_path / "waves" / "lenet.vcd"

    outcome = simulate(build_of(), digits.x[:1], waves=target)

    assert outcome.bit_exact
    assert "$enddefinitions" in target.read_text(errors="replace")


def test_what_cannot_be_simulated_is_said_in_one_line(build_of, digits, lenet, tmp_path):
    build = build_of()
    with pytest.raises(UserError, match=r"images of shape \(1, 8, 8\) do not fit the network's \(1, 16, 16\)"):
        simulate(build, np.zeros((1, 1, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"stall must be a share in 0\.\.0\.99, not 1\.0"):
        simulate(build, digits.x[:1], stall=1.0)
    with pytest.raises(UserError, match=r"waveform file must end in \.vcd or \.fst"):
        simulate(build, digits.x[:1], waves=tmp_path / "waves.txt")
    with pytest.raises(UserError, match="another input or other scores than the build"):
        simulate(build, digits.x[:1], program=lenet("adder", 16))


@pytest.mark.slow
@pytest.mark.guard
def test_parts_side_by_side_give_what_one_run_gives(build_of, digits):
    """Parts of several processes join to the same scores and classes in order; what is timed stays exact."""
    build = build_of()
    heard = []

    alone = simulate(build, digits.x, stall=0.9, seed=3)
    with pool(2) as executor:
        outcome = simulate(
            build, digits.x, stall=0.9, seed=3, executor=executor, workers=2, progress=heard.append
        )  # fmt: skip

    assert (alone.parts, outcome.parts) == (1, 2)
    assert outcome.bit_exact and outcome.images == 360
    assert np.array_equal(outcome.classes, alone.classes)
    assert outcome.cycles_per_image == alone.cycles_per_image == build.schedule.interval
    assert outcome.cycles_first_image == alone.cycles_first_image == build.schedule.latency
    assert sum(heard) == 360 and len(heard) > 2, "progress is told of while parts run"


def test_an_unstalled_part_times_as_exactly_as_the_whole(build_of, digits):
    build = build_of()
    with pool(2) as executor:
        outcome = simulate(build, np.tile(digits.x, (6, 1, 1, 1)), executor=executor, workers=2)

    assert outcome.parts == 2 and outcome.bit_exact
    assert (outcome.cycles_first_image, outcome.cycles_per_image) == (build.schedule.latency, build.schedule.interval)
    assert np.array_equal(outcome.classes, np.tile(outcome.classes[:360], 6))


def test_a_difference_in_a_later_part_has_its_own_image(build_of, digits, monkeypatch):
    """Image numbers of all parts count from the first part on."""
    from addax.sim import cosim

    build = build_of()
    original = cosim.answers

    def one_wrong(program, pixels):
        expected = original(program, pixels)
        expected[len(expected) - 1, 4] += 1
        return expected

    monkeypatch.setattr(cosim, "answers", one_wrong)
    monkeypatch.setitem(build.manifest, "capacity", 8)

    outcome = simulate(build, digits.x[:30])

    assert (outcome.parts, outcome.mismatches, outcome.first_mismatch) == (4, 1, (29, 4))


def test_one_failing_part_stops_the_others(build_of, digits, monkeypatch):
    """A simulator would run for minutes; the other is not there. The error comes at once, and nobody runs on."""
    from dataclasses import replace

    from addax.sim import cosim

    build = build_of()
    original = cosim._job

    def breaking(session, name, *arguments, **settings):
        job = original(session, name, *arguments, **settings)
        return replace(job, simulator=replace(job.simulator, top="missing")) if name == "part1" else job

    monkeypatch.setattr(cosim, "_job", breaking)
    begin = time.monotonic()
    with pool(2) as executor, pytest.raises(UserError, match="missing"):
        simulate(build, np.tile(digits.x, (4, 1, 1, 1)), stall=0.99, executor=executor, workers=2)
    assert time.monotonic() - begin < LONG


LONG = 60
"""Seconds; the run that is stopped takes several minutes at a share of 0.99."""


def test_the_harness_can_tell_a_hang(build_of, digits, monkeypatch):
    """A pipeline that stops answering ends in a message, not in an endless simulation."""
    from addax.hdl.timing import Schedule

    monkeypatch.setattr(Schedule, "watchdog", lambda self, stall=0.0: 10)  # shorter than the latency
    with pytest.raises(UserError, match="the simulation hangs: no output after 0 of 1 images"):
        simulate(build_of(), digits.x[:1])
