"""Place and route: paths in the names of our blocks, seeds side by side, and mistakes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.blocks import BLOCK_OF
from addax.reports.devices.devices import device
from addax.reports.synth import place as place_module
from addax.reports.synth.owners import Owners
from addax.reports.synth.place import PathStep, Routed, place, place_netlist, steps_of
from addax.reports.synth.synth import INTERCONNECT

TARGET = device("ecp5-45k")
OWNERS = Owners(
    parts={f"stage_{name}": name for name in ("conv1", "conv2", "c")}, ends={"packet": "packet"}, block_of=BLOCK_OF
)


def piece(cell, delay, kind):
    return {"to": {"cell": cell}, "delay": delay, "type": kind}


def test_a_path_is_told_in_our_names():
    """From a tree's register through its carry chain to the control of the same stage, then to the packet."""
    path = [
        piece("pipeline.stage_conv2.array.total0_TRELLIS_FF_Q_3", 0.5, "clk-to-q"),
        piece("pipeline.stage_conv2.array.total0_TRELLIS_FF_Q_3_DI_CCU2C_S0", 1.0, "routing"),
        piece("pipeline.stage_conv2.array.total0_TRELLIS_FF_Q_3_DI_CCU2C_S0", 0.25, "logic"),
        piece("pipeline.stage_conv2.go_LUT4_Z", 2.0, "routing"),
        piece("pipeline.packet.best_LUT4_Z", 0.5, "routing"),
        piece("m_axis_tvalid_LUT4_Z", 0.125, "setup"),
    ]

    assert steps_of(path, OWNERS) == (
        PathStep(stage="conv2", block="trees", cells=2, logic_ns=0.75, routing_ns=1.0),
        PathStep(stage="conv2", block="control", cells=0, logic_ns=0.0, routing_ns=2.0),
        PathStep(stage="packet", block="", cells=0, logic_ns=0.0, routing_ns=0.5),
        PathStep(stage=INTERCONNECT, block="", cells=1, logic_ns=0.125, routing_ns=0.0),
    )


def test_a_table_in_front_of_an_operand_register_is_not_the_register():
    """Choosing among taps is the window's work, not the lanes', though the table's name holds the register's."""
    register = "pipeline.stage_conv1.array.x_held_TRELLIS_FF_Q_102"
    path = [piece(register, 0.5, "clk-to-q"), piece(f"{register}_DI_LUT4_Z", 0.25, "logic")]

    assert [step.block for step in steps_of(path, OWNERS)] == ["lanes", "window"]


@pytest.fixture
def netlist(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "netlist.json"
    file.write_text("{}")
    return file


def tool(tmp_path, monkeypatch, body):
    """A place and route that does what ``body`` says."""
    script = tmp_path / "nextpnr"
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "nextpnr 9.9" && exit 0\n{body}\n')
    script.chmod(0o755)
    monkeypatch.setattr(place_module, "find_tool", lambda name: str(script))


def test_seeds_give_a_median_and_an_interrupted_run_goes_on(netlist, tmp_path, monkeypatch):
    """Each seed is kept by itself: what ended before an interruption is not run again."""
    runs = []

    def fake(netlist, target, *, top, clock_mhz, seed, owners):
        runs.append(seed)
        path = (PathStep(stage=f"s{seed}", block="", cells=1, logic_ns=1.0, routing_ns=0.0),)
        return Routed(fmax_mhz=[50.0, 80.0, 60.0, 75.0][seed - 1], path=path, used={"cells": seed})

    monkeypatch.setattr(place_module, "place_netlist", fake)
    monkeypatch.setattr(place_module, "joined", lambda *_: netlist)
    tool(tmp_path, monkeypatch, "exit 1")
    told = []

    design = SimpleNamespace(parts=(), ends=(), block_of=BLOCK_OF)
    found = place(
        SimpleNamespace(prefix="addax", design=design), SimpleNamespace(netlists=()), TARGET, clock_mhz=50.0, seeds=4,
        progress=told.append,
    )  # fmt: skip

    assert found.seeds_mhz == (50.0, 80.0, 60.0, 75.0) and found.fmax_mhz == 67.5
    assert found.critical_path[0].stage in ("s3", "s4")
    assert sorted(runs) == told == [1, 2, 3, 4]


def test_a_run_is_kept_and_one_that_dies_is_not(netlist, tmp_path, monkeypatch):
    tool(tmp_path, monkeypatch, "kill -9 $$")
    with pytest.raises(UserError, match=r"^nextpnr was killed \(SIGKILL\); perhaps for its memory$"):
        place_netlist(netlist, TARGET, top="addax", clock_mhz=50.0, seed=1)

    report = {
        "fmax": {"fast": {"achieved": 200.0}, "slow": {"achieved": 80.0}},
        "critical_paths": [
            {"from": "posedge fast", "to": "posedge fast", "path": [piece("stage_a.go", 5.0, "logic")]},
            {"from": "<async>", "to": "posedge slow", "path": [piece("stage_b.go", 20.0, "logic")]},
            {"from": "posedge slow", "to": "posedge slow", "path": [piece("stage_c.go", 12.5, "logic")]},
        ],
        "utilization": {"LUT": {"used": 3, "available": 9}, "DSP": {"used": 0, "available": 2}},
    }
    (tmp_path / "made.json").write_text(json.dumps(report))
    tool(tmp_path, monkeypatch, f"echo run >> {tmp_path}/runs; cp {tmp_path}/made.json report.json")
    found = [place_netlist(netlist, TARGET, top="addax", clock_mhz=50.0, seed=1, owners=OWNERS) for _ in range(2)]

    assert found[0] == found[1]
    assert found[0].fmax_mhz == 80.0 and found[0].used == {"LUT": 3}
    assert [step.stage for step in found[0].path] == ["c"]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_device_that_nothing_places(netlist):
    with pytest.raises(UserError, match="there is no open place and route for xc7z020; leave out --place"):
        place_netlist(netlist, device("xc7z020"), top="addax", clock_mhz=50.0, seed=1)


def test_a_design_without_a_clock_has_no_fmax(netlist, tmp_path, monkeypatch):
    (tmp_path / "made.json").write_text(json.dumps({"fmax": {}, "critical_paths": [], "utilization": {}}))
    tool(tmp_path, monkeypatch, f"cp {tmp_path}/made.json report.json")

    with pytest.raises(UserError, match="nextpnr found no clock, so there is no Fmax"):
        place_netlist(netlist, replace(TARGET, name="other"), top="addax", clock_mhz=50.0, seed=1)
