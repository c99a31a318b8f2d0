"""What synthesis makes computes: netlists of whole designs, in cells of the device, under Icarus Verilog."""

import shutil

import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.family import PlanRequest
from addax.hdl.folder.engine import generate_engine
from addax.hdl.folder.engine_bench import write_engine_bench
from addax.hdl.folder.families import family_of
from addax.hdl.folder.generate import generate
from addax.reports.devices.devices import device
from addax.reports.engine.parts import engine_parts
from addax.reports.synth.synth import parts_of
from engine_networks import engine_program, small_plan
from gate_level import gate_level
from plain_bench import icarus, needs_icarus

pytestmark = [pytest.mark.slow, needs_icarus]
BLOCKS = {"ecp5-45k": ("DP16KD", "MULT18X18D"), "xc7z020": ("RAMB18E1", "DSP48E1")}


def run_on_gates(folder, gates, prefix="addax"):
    """The plain test bench of ``folder``, whose design is now ``gates``."""
    shutil.copy(gates, folder / f"{prefix}.v")
    return icarus(folder, prefix=prefix, seconds=1800)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_netlist_of_lenet5_gives_the_scores_of_the_golden_model(name, lenet, digits, tmp_path):
    """Tables, carries, registers, block RAM with its weights, multiplier blocks with the registers that were moved into
    them: two images, every beat."""
    program = lenet()
    plan = family_of("dataflow").plan(program, PlanRequest(device=name, clock_mhz=50.0))
    build = generate(program, plan, tmp_path / "build", vectors=digits.x[:2])

    cells = gate_level(parts_of(build), build.path, device(name), build.prefix, tmp_path)
    said = run_on_gates(build.path, tmp_path / "gates.v")

    assert said.status == 0 and said.text.startswith("PASS: 2 images"), said.text
    assert all(cells[kind] for kind in BLOCKS[name]) and sum(cells.values()) > 5000


@pytest.mark.parametrize("name", BLOCKS)
def test_the_netlist_of_an_engine_stores_what_the_golden_model_does(name, tmp_path):
    """4 x 4 lanes, two networks with a picture each, every stored tensor; the same gates for both."""
    plan = small_plan(device=name)
    build = generate_engine(plan, tmp_path / "engine")
    cells = gate_level(engine_parts(build), build.path, device(name), build.prefix, tmp_path)

    for seed in (5, 8):
        bench = tmp_path / f"bench{seed}"
        write_engine_bench(build, compiled(engine_program(seed, bits=plan.bits), plan), bench)
        said = run_on_gates(bench, tmp_path / "gates.v")
        assert said.status == 0 and said.text.startswith("PASS"), said.text
    assert sum(cells.values()) > 2000
