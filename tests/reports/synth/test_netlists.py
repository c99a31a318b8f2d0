"""What synthesis makes computes: netlists of whole designs, in cells of the device, under Icarus Verilog."""

import shutil

import pytest
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.reports.devices.devices import device
from addax.reports.synth.synth import parts_of
from gate_level import gate_level
from networks import random_program
from plain_bench import icarus, needs_icarus

CELLS = {
    "ecp5-45k": ("LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "MULT18X18D"),
    "xc7z020": ("LUT6", "CARRY4", "FDRE", "RAM32M", "DSP48E1"),
}  # fmt: skip


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("name", CELLS)
def test_the_netlist_of_a_network_gives_the_scores_of_the_golden_model(name, tmp_path):
    """Tables, carries, registers, memories in tables, multiplier blocks with the registers that were moved into them:
    two images, every beat."""
    program = random_program(7)
    plan = fold(program, device=name, clock_mhz=50.0, lanes=8)
    build = generate(program, plan, tmp_path / "build", vectors=sample_vectors(program, 2))

    cells = gate_level(parts_of(build), build.path, device(name), build.prefix, tmp_path)
    shutil.copy(tmp_path / "gates.v", build.path / f"{build.prefix}.v")
    said = icarus(build.path, seconds=600)

    assert said.status == 0 and said.text.startswith("PASS: 2 images"), said.text
    assert all(cells[kind] for kind in CELLS[name]), cells
