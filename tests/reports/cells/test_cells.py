"""Standard cells: what is read of a library, how toggles are counted, and that gates, power and area are those of the
circuit that was asked for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.reports.cells import asic, opensta
from addax.reports.cells.asic import cell_requests, comparison, price_cells
from addax.reports.cells.build import modelled_power, price_builds, rankings
from addax.reports.cells.gates import GateActivity, gates_version
from addax.reports.cells.netlist import map_to_cells
from addax.reports.cells.toggles import read_vcd
from addax.reports.devices.cell_library import parse_liberty
from addax.reports.devices.devices import cell_library, device, device_names
from addax.reports.kernels.operands import steps_for, terms_of
from addax.reports.terminal.cell_tables import build_table
from rich.console import Console

NAME = "asic-osu018"
LIBRARY = cell_library(NAME)
PERIOD_PS = 5000.0

has_library = Path(LIBRARY.folder, LIBRARY.liberty).is_file()
needs_library = pytest.mark.skipif(not has_library, reason=f"needs the Debian package {LIBRARY.package}")
needs_tools = pytest.mark.skipif(
    not (has_library and shutil.which("sta") and shutil.which("iverilog")),
    reason=f"needs the Debian packages {LIBRARY.package}, opensta and iverilog",
)

LIBERTY = """\
library (small) {
cell (INV) {
  area : 16;
  pin(A)  { direction : input; capacitance : 0.0093; rise_capacitance : 0.5; timing() { related_pin : "B"; } }
  pin(Y)  {
    direction : output;
    capacitance : 0;
  }
}
cell (FF) {
  area : 96.5;
  pin(CLK) { direction : input; capacitance : 0.02; clock : true; }
  pin(D) { direction : input; capacitance : 0.01; }
  pin(Q) { direction : output; }
}
}
"""

VCD = """\
$timescale 10ps $end
$scope module dut $end
$var wire 1 ! a $end
$var wire 1 " b $end
$var wire 1 ! alias $end
$var wire 4 # wide [3:0] $end
$upscope $end
$enddefinitions $end
#100
$dumpvars
0!
1"
b0000 #
$end
#105
1!
#106
0!
#108
1!
b1010 #
#120
0"
#130
x"
#135
1"
#140
"""


def test_areas_pins_and_capacitances_come_of_the_liberty_file():
    cells = parse_liberty(LIBERTY)
    assert cells["INV"].area == 16 and cells["INV"].inputs == {"A": 0.0093} and cells["INV"].outputs == ("Y",)
    assert cells["FF"].area == 96.5 and set(cells["FF"].inputs) == {"CLK", "D"} and cells["FF"].outputs == ("Q",)
    with pytest.raises(UserError, match="holds no cell"):
        parse_liberty("library (nothing) {\n}\n")


def test_toggles_shares_and_glitches_of_a_waveform(tmp_path):
    """A net that ends a cycle where it began has toggled, but has not settled to another value."""
    path = tmp_path / "small.vcd"
    path.write_text(VCD)
    seen = read_vcd(path, 20)
    at = {name: k for k, name in enumerate(seen.names)}
    assert set(at) == {"a", "b", "alias"}
    # a rises, falls and rises within the first cycle; 33 of the 40 units of time at 1.
    assert seen.counts[at["a"]] == seen.counts[at["alias"]] == 3
    assert seen.settled[at["a"]] == 1
    assert seen.high[at["a"]] == pytest.approx(33 / 40)
    # b falls at the very beginning of the second cycle, is unknown for a while and comes back.
    assert seen.counts[at["b"]] == 2 and seen.settled[at["b"]] == 0
    assert seen.unknown == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("$enddefinitions $end\n#0\n", "no single-bit net"), (VCD.split("#105")[0], "ends where it begins")],
)
def test_a_waveform_that_says_nothing_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.vcd"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_vcd(path, 20)


def test_a_library_of_cells_is_no_fpga():
    assert NAME not in device_names()
    with pytest.raises(UserError, match=f"addax kernels --device {NAME}"):
        device(NAME)
    with pytest.raises(UserError, match="known: asic-osu018"):
        cell_library("ecp5-85k")


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    """One line that says what to install, and what can be had without."""
    with pytest.raises(UserError, match=r"Debian package qflow-tech-osu018.*priced for an FPGA"):
        replace(LIBRARY, folder=str(tmp_path)).cells()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"install the Debian package opensta\. Without it, --synth gives cells"):
        opensta.sta_version()
    with pytest.raises(UserError, match=r"install the Debian package iverilog\. Without it, --synth gives cells"):
        gates_version()


def test_operands_of_a_layer_and_random_ones():
    """Groups are whole, padding adds nothing where it may not, and foreign formats are refused."""
    shape = cell_requests(LIBRARY, kernels=["adder"], structures=["carry"], pin=16, pout=4, period_ps=PERIOD_PS)[
        0
    ].shape
    steps = steps_for(shape, source="lenet5", count=25)
    assert steps.x.shape == (3, 10, 16) and steps.w.shape == (3, 10, 4, 16)
    assert not steps.x[:, -1, 6:].any() and not steps.w[:, -1, :, 6:].any() and steps.x.any()
    assert terms_of(shape, steps)[0, 0] == -np.abs(steps.x[0] - steps.w[0, :, 0]).sum()
    signed = cell_requests(
        LIBRARY, kernels=["adder"], structures=["carry"], pin=2, pout=1, signed_features=True, period_ps=PERIOD_PS
    )[0].shape
    with pytest.raises(UserError, match="take random operands"):
        steps_for(signed, source="lenet5", count=1)
    assert steps_for(signed, source="random", count=80).x.min() < 0
    with pytest.raises(UserError, match="lenet5 or random, not 'noise'"):
        steps_for(shape, source="noise", count=1)


@pytest.fixture(scope="module")
def tiny():
    return cell_requests(
        LIBRARY, kernels=["adder"], structures=["carry"], pin=2, pout=1, bits=3, period_ps=PERIOD_PS, registers="1"
    )


@pytest.fixture(scope="module")
def priced(tiny):
    return price_cells(tiny, LIBRARY, period_ps=PERIOD_PS, operands="random")[0]


@needs_tools
def test_a_tiny_array_has_area_a_path_and_power(priced):
    row = priced.to_json()
    known = LIBRARY.cells()
    assert row["area_um2"] == sum(known[name].area * count for name, count in priced.netlist.counts.items())
    assert row["cells"] == sum(priced.netlist.counts.values()) > row["ff"] > 0
    assert row["lut"] is row["carry"] is row["dsp"] is None
    assert 0.5 < row["path_ns"] < 20 and row["fmax_mhz"] == pytest.approx(1000 / row["path_ns"])
    assert 0 < row["power_settled_mw"] <= row["power_mw"] and 0 < row["leakage_mw"] < 0.01 * row["power_mw"]
    assert sum(row["power_parts_mw"].values()) == pytest.approx(row["power_mw"])


@needs_tools
def test_power_follows_the_activities(priced):
    """Twice the toggles, twice the power of the nets; with none, the clock is left."""
    activity = asic.array_activity(priced.netlist, priced.request.shape, "random")

    def scaled(factor):
        toggles = {net: factor * value for net, value in activity.toggles.items()}
        return opensta.power_of(priced.netlist, replace(activity, toggles=toggles), clock_mhz=100.0)

    none, one, two = scaled(0.0), scaled(1.0), scaled(2.0)
    assert none.switching == pytest.approx(0.0, abs=1e-6) and none.clock == one.clock > 0
    assert two.switching == pytest.approx(2 * one.switching, rel=1e-3)
    assert two.internal - none.internal == pytest.approx(2 * (one.internal - none.internal), rel=1e-3)


@needs_tools
def test_activities_that_opensta_did_not_use_are_noticed(priced, monkeypatch):
    activity = GateActivity(toggles={}, settled={}, duty={}, cycles=1)
    busy = asic.array_activity(priced.netlist, priced.request.shape, "random")
    annotated = opensta._annotations(priced.netlist, activity)
    monkeypatch.setattr(opensta, "_annotations", lambda netlist, activity: annotated)
    with pytest.raises(UserError, match="did not use the simulated activities"):
        opensta.power_of(priced.netlist, busy, clock_mhz=100.0)


@needs_tools
def test_gates_that_sum_something_else_are_noticed(tiny, monkeypatch):
    """The sums of the gates are compared with the kernel's definition."""
    monkeypatch.setattr(asic, "terms_of", lambda shape, steps: terms_of(shape, steps) + 1)
    with pytest.raises(UserError, match="other sums than the kernel's definition"):
        price_cells(tiny, LIBRARY, period_ps=PERIOD_PS, operands="random")


@needs_library
def test_every_kernel_comes_in_its_smallest_structure(capsys):
    """The multiplier too: what is chosen is no larger than any other way to write it."""
    terms = ["--device", NAME, "--pin", "2", "--pout", "1", "--bits", "2", "--synth", "--json", "--kernel", "mult"]
    assert main(["kernels", *terms]) == 0
    (chosen,) = json.loads(capsys.readouterr().out)
    assert main(["kernels", *terms, "--all-structures"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["structure"] for row in rows} == {"booth", "rows", "star", "star+booth"}
    assert chosen["area_um2"] == min(row["area_um2"] for row in rows)
    assert chosen["path_ns"] is chosen["power_mw"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernels", "--device", NAME, "--place"], "no place and route"),
        (["kernels", "--device", NAME, "--structure", "max", "--kernel", "xnor"], "has the structure max"),
        (["kernels", "--device", NAME, "--clock", "0"], "clock must be a positive number"),
        (["cells", "nowhere"], "nowhere"),
        (["cells", "nowhere", "--clock", "-1"], "clock must be a positive number"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(capsys, arguments, message):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@needs_tools
def test_the_table_fits_a_terminal_and_names_the_published_figures(capsys):
    """Eighty columns, nothing cut off."""
    kernels = ["--kernel", "adder", "--kernel", "mult"]
    assert main(["kernels", "--device", NAME, "--pin", "2", "--pout", "1", "--bits", "2", *kernels, "--synth"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out and all(len(line) <= 80 for line in out.splitlines()[:5])
    for text in ("adder", "mult", "81 %", "67.6 to 71.4 %", "4 register stages"):
        assert text in out, text


def test_the_model_s_ranking_is_that_of_its_reports(tmp_path, capsys):
    """What `addax report --power` left beside a BUILD stands beside OpenSTA's figures; without it there is nothing."""
    builds = [SimpleNamespace(path=tmp_path / name) for name in ("few", "many", "unknown")]
    for build, power in zip(builds, (3.0, 7.5, None), strict=True):
        (build.path / "report").mkdir(parents=True)
        report = {"power_mw": {"static": 1.0, "dynamic": power, "total": 9.0} if power else None}
        (build.path / "report" / "report.json").write_text(json.dumps(report))
    modelled = modelled_power(builds)
    assert modelled == {"few": 3.0, "many": 7.5}

    watts = {"few": 2.0, "many": 4.0, "unknown": 3.0}
    costs = [SimpleNamespace(name=name, glitching=SimpleNamespace(dynamic=value)) for name, value in watts.items()]
    assert rankings(costs, modelled) == {"opensta": ["few", "unknown", "many"], "modelled": ["few", "many"]}

    keys = [
        "lanes", "cycles_per_image", "area_um2", "flip_flop_um2", "cells", "ff", "memory_bits", "path_ns", "power_mw",
        "power_settled_mw", "leakage_mw", "energy_per_image_uj", "modelled_mw", "images",
    ]  # fmt: skip
    row = dict.fromkeys(keys, 4)
    Console(width=80).print(build_table([row | {"name": "few", "cells": 2}, row | {"name": "many"}], NAME))
    out = capsys.readouterr().out
    assert "2 (-50.0 %)" in out and "memory bits, apart" in out


@pytest.mark.slow
@needs_tools
def test_adders_against_multipliers_in_cells():
    """8 x 4 lanes of 8 bit: smaller, faster and less power, in words beside the published figures."""
    wanted = cell_requests(LIBRARY, pin=8, pout=4, bits=8, period_ps=PERIOD_PS)
    costs = {cost.request.shape.kernel: cost for cost in price_cells(wanted, LIBRARY, period_ps=PERIOD_PS)}
    adder, mult = costs["adder"], costs["mult"]
    assert adder.request.shape.register_stages == mult.request.shape.register_stages
    assert adder.netlist.area_um2 < 0.5 * mult.netlist.area_um2
    assert adder.path_ns < mult.path_ns
    assert adder.glitching.dynamic < 0.6 * mult.glitching.dynamic
    assert costs["xnor"].netlist.area_um2 < adder.netlist.area_um2
    text = "\n".join(comparison(list(costs.values())))
    for published in ("81 %", "67.6 to 71.4 %", "+16 %", "-47.85 to -77.9 %"):
        assert published in text


@pytest.mark.slow
@needs_tools
def test_a_whole_accelerator_in_cells(tmp_path):
    """Its gates give the golden model's scores while its power is taken; its memories are in bits, not in area."""
    program = networks.random_program(8)
    plan = networks.random_plan(program, 0)
    build = generate(program, plan, tmp_path / "small", vectors=sample_vectors(program))
    (cost,) = price_builds([build], LIBRARY, period_ps=PERIOD_PS, pixels=[networks.random_images(program, 2, 0)])
    row = cost.to_json()
    assert row["images"] == 2 and row["memory_bits"] > 0 and row["power_mw"] > row["power_settled_mw"] > 0
    assert rankings([cost], {"small": 1.0}) == {"opensta": ["small"], "modelled": ["small"]}
    assert not [name for name in cost.netlist.counts if name not in LIBRARY.cells()]


@needs_library
def test_netlists_are_cached(tiny):
    first, again = (map_to_cells(tiny[0].circuit(), LIBRARY, period_ps=PERIOD_PS) for _ in range(2))
    assert first.folder == again.folder
    assert map_to_cells(tiny[0].circuit(), LIBRARY, period_ps=4000.0).folder != first.folder
