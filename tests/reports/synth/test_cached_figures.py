"""Figures that come out of the cache: what is there was written by a tool, and may be anything."""

import json

import pytest
from addax.common.cache import cached
from addax.common.errors import UserError
from addax.reports.devices.devices import device
from addax.reports.synth.place import place_netlist
from addax.reports.synth.synth import counts_in

GOOD = {"cells": {"LUT4": 3}, "blocks": {"array": {"LUT4": 3}}, "paired": None}


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))

    def make(name, value):
        return cached("kind", "key", lambda folder: (folder / name).write_text(json.dumps(value)))[0]

    return make


def test_counts_of_cells_come_back(entry):
    assert counts_in(entry("cells.json", GOOD)) == GOOD


@pytest.mark.parametrize(
    "wrong",
    [
        [], {}, {"cells": {}}, GOOD | {"cells": 3}, GOOD | {"cells": {"LUT4": "3"}}, GOOD | {"cells": {"LUT4": -3}},
        GOOD | {"cells": {"LUT4": True}}, GOOD | {"blocks": {"array": {"LUT4": 0.5}}}, GOOD | {"blocks": []},
        GOOD | {"paired": "many"},
    ],
)  # fmt: skip
def test_counts_that_are_none_are_one_line(entry, wrong):
    with pytest.raises(UserError, match="in the cache holds no counts of cells as expected"):
        counts_in(entry("cells.json", wrong))


@pytest.mark.parametrize(
    "wrong", [[], {}, {"fmax": 3}, {"fmax": {"clk": {}}}, {"fmax": {"clk": {"achieved": "fast"}}, "critical_paths": []}]
)
def test_a_report_of_place_and_route_that_is_none_is_one_line(entry, tmp_path, monkeypatch, wrong):
    (tmp_path / "netlist.json").write_text("{}")
    monkeypatch.setattr("addax.reports.synth.place.find_tool", lambda name: name)
    monkeypatch.setattr("addax.reports.synth.place.tool_version", lambda command, what: "1")
    monkeypatch.setattr("addax.reports.synth.place.run_tool", lambda command, folder, what: _report(folder, wrong))

    with pytest.raises(UserError, match=r"in the cache holds no report of nextpnr as expected"):
        place_netlist(tmp_path / "netlist.json", device("ecp5-85k"), top="top", clock_mhz=50, seed=1)


def _report(folder, value):
    (folder / "report.json").write_text(json.dumps(value))
