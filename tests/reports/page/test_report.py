"""The report: counted cells, modelled power, and a page whose every number is the one in the JSON file."""

import html
import json
import re
import subprocess
import sys

import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.reports.devices.devices import device, device_names
from addax.reports.devices.resources import Resources
from addax.reports.estimate import estimate
from addax.reports.page.report import make_report
from addax.reports.synth import synth
from addax.reports.synth.synth import INTERCONNECT, synthesise
from networks import random_images, random_plan, random_program
from perceptrons import perceptron


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    program = random_program(300)
    return generate(
        program, random_plan(program, 300), tmp_path_factory.mktemp("report") / "build",
        vectors=random_images(program, 1, 300),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(build, tmp_path_factory):
    pixels = random_images(build.program, 4, 1)
    out = tmp_path_factory.mktemp("report") / "report"
    extra = {"accuracy_rtl": (0.9871, "share of 4 test images", "cocotb", "2")}
    return make_report(build, out, synth=True, power_images=pixels, extra=extra, command="addax <report>")


def test_stages_and_what_joins_them_add_up(build):
    """Hierarchy is kept for counting; nothing may be counted twice or not at all."""
    told = []
    found = synthesise(build, device("ecp5-45k"), progress=lambda *done: told.append(done))

    assert told == [(done, len(found.parts)) for done in range(1, len(found.parts) + 1)]
    names = [stage.name for stage in build.plan.stages]
    assert list(found.parts) == [*names, "packet", INTERCONNECT]
    assert sum(found.parts.values(), Resources()) == found.total
    assert all(found.parts[name].ff > 0 for name in names)
    assert all(found.parts[name].lut > 0 for name in names)


def test_luts_count_carries_and_rams():
    """The counting rule of the toolchain: LUT4 + 2 per carry cell, and six for a distributed RAM."""
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "DP16KD": 1, "MULT18X18D": 4, "PFUMX": 9}

    assert Resources.of_cells(cells) == Resources(lut=28, ff=7, bram=1, dsp=4, carry=3, lutram=2)


def test_every_number_has_unit_tool_and_version(report):
    document = json.loads(report.json.read_text())

    assert {"lut", "ff", "bram", "dsp", "cycles_per_image", "power_total_mw", "accuracy_rtl"} <= {
        item["name"] for item in document["figures"]
    }
    for item in document["figures"]:
        assert set(item) == {"name", "value", "unit", "tool", "version"}
        assert item["unit"] and item["tool"] and item["version"], item
        assert isinstance(item["value"], int | float)
    assert document["source"] == "synthesized"
    assert "modelled" in document["power_note"]


def test_the_page_shows_what_the_json_says(report):
    """Parses the HTML independently of the template: each figure's cell, rounded as people read it."""
    document = json.loads(report.json.read_text())
    page = report.html.read_text()
    shown = {name: html.unescape(text) for name, text in re.findall(r'data-figure="(\w+)">([^<]*)<', page)}

    assert set(shown) == {item["name"] for item in document["figures"]}
    for item in document["figures"]:
        value = float(shown[item["name"]].replace(",", ""))
        assert value == pytest.approx(item["value"], rel=1e-3), item["name"]


def test_the_page_is_self_contained_and_safe(report):
    """It must open offline, and nothing a user names may become markup."""
    page = report.html.read_text()

    # Within the page, charts refer to parts of themselves.
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!#)[^"'\s]|@import|url\((?!#)|<script""", page)
    assert "addax &lt;report&gt;" in page and "<report>" not in page


def test_without_coefficients_nothing_is_invented(build, tmp_path, monkeypatch):
    """A family that cannot be estimated has cycles, no zeros, and a line that says why."""
    monkeypatch.setattr(estimate, "_models", dict)
    made = make_report(build, tmp_path / "r")

    assert [made.keys[k] for k in ("lut", "ff", "bram", "dsp", "carry", "fmax_mhz")] == [None] * 6
    assert made.keys["estimate_note"].startswith("no coefficients to estimate ecp5")
    assert made.keys["cycles_per_image"] == build.schedule.interval
    assert "LUTs per stage" not in made.html.read_text()


def test_unknown_device():
    with pytest.raises(UserError, match="unknown device 'ecp9'; known: ecp5-25k, ecp5-45k, ecp5-85k"):
        device("ecp9")
    assert device_names()[:7] == ("ecp5-25k", "ecp5-45k", "ecp5-85k", "xc7z020", "xczu7ev", "ice40-up5k", "gw2a-18")


def test_a_tool_that_dies_shows_its_last_lines_and_caches_nothing(build, tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    tool = tmp_path / "yosys"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = -V ] && echo "Yosys 9.99" && exit 0\necho reading\necho "ERROR: out of luck"\nexit 1\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("ADDAX_YOSYS", str(tool))
    synth.yosys_version.cache_clear()
    try:
        with pytest.raises(UserError, match=r"yosys for \w+ failed: reading \| ERROR: out of luck"):
            synthesise(build, device("ecp5-45k"))
        assert not any(p.is_dir() for p in (tmp_path / "cache" / "synth").iterdir())

        for ending, words in (
            ("kill -9 $$", r"was killed \(SIGKILL\); perhaps for its memory"),
            ("exit 139", r"was killed \(SIGSEGV\)"),
            ("echo 'terminating: std::bad_alloc'; echo at backtrace; exit 134", "failed: out of memory"),
            ("exit 1", "failed: exit status 1"),
        ):
            tool.write_text(f'#!/bin/sh\n[ "$1" = -V ] && echo "Yosys 9.99" && exit 0\n{ending}\n')
            with pytest.raises(UserError, match=rf"^yosys for \w+ {words}$"):
                synthesise(build, device("ecp5-45k"))

        monkeypatch.setenv("ADDAX_YOSYS", str(tmp_path / "nothing"))
        synth.yosys_version.cache_clear()
        with pytest.raises(UserError, match="cannot run yosys"):
            synthesise(build, device("ecp5-45k"))
    finally:
        synth.yosys_version.cache_clear()


@pytest.mark.slow
def test_place_and_route_gives_a_clock(tmp_path):
    """The median of three seeds, and the stages that the longest path goes through. A small design: some seed of a
    large one may take the router a quarter of an hour."""
    program = perceptron("adder", (8, 12, 6))
    plan = fold(program, device="ecp5-45k", clock_mhz=50.0, lanes=12)
    build = generate(program, plan, tmp_path / "build", vectors=random_images(program, 1, 300))
    made = make_report(build, tmp_path / "r", placed=True, seeds=3)

    assert made.keys["source"] == "placed"
    assert 20 < made.keys["fmax_mhz"] < 400
    document = json.loads(made.json.read_text())
    assert len(document["seeds_mhz"]) == 3
    assert sorted(document["seeds_mhz"])[1] == made.keys["fmax_mhz"]
    path = document["critical_path"]
    assert {piece["stage"] for piece in path} <= {*(stage.name for stage in build.plan.stages), "packet", INTERCONNECT}
    delay = sum(piece["delay_ns"] for piece in path)
    assert delay == pytest.approx(1000 / made.keys["fmax_mhz"], rel=0.01)


def test_an_estimate_needs_no_training_framework():
    """Most of what a report without synthesis takes would be the import of it."""
    code = "import sys, addax.hdl.folder.generate, addax.reports.page.report; print('torch' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "False"
