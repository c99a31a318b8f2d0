"""Comparisons of kernels: the same terms for all, and mistakes before any work."""

import json

import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.planning.alike import FOLD, alike
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.schedule import schedule
from addax.quant.quantize import quantize
from addax.reports.compare.compare import Contest, KernelComparison, compare, structures_of
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.engine import measured
from addax.reports.page.pages import comparison_page
from addax.reports.synth.synth import Synthesis
from addax.reports.terminal.tables import comparison_tables
from addax.reports.tools.provenance import provenance
from addax.sim.activity import Activity, Toggles
from documents import comparison

TARGET = device("xc7z020")


@pytest.fixture(scope="module")
def programs():
    kernels = ("adder", "mult", "xnor", "shift")
    return {k: quantize("lenet5", kernel=k, weights=None, bits=8, data_source="digits") for k in kernels}


@pytest.mark.parametrize("multipliers", ["lut", "dsp"])
def test_all_kernels_have_the_folds_of_the_first(programs, multipliers):
    """Or the comparison would be of folds: same lanes, same cycles per image; only lanes differ."""
    structures = structures_of(multipliers, TARGET)
    first = programs["adder"]
    model = fold(first, device=TARGET.name, clock_mhz=50.0, lanes=80, fabric=TARGET.fabric)

    plans = {kernel: alike(program, model, first, structures=structures) for kernel, program in programs.items()}

    folds = {k: [tuple(getattr(s, key) for key in FOLD) for s in p.stages] for k, p in plans.items()}
    assert all(own == folds["adder"] for own in folds.values())
    timings = {k: schedule(bind(programs[k], p), programs[k], pixels=p.pixels) for k, p in plans.items()}
    assert len({(t.interval, t.lanes) for t in timings.values()}) == 1
    for kernel, plan in plans.items():
        for build in bind(programs[kernel], plan):
            wanted = structures.get(build.stage.kind, "")
            assert build.plan.structure == wanted


def test_multipliers_in_lookup_tables_are_the_cheapest_of_the_family():
    assert structures_of("lut", TARGET) == {"mult": "booth"} and structures_of("lut", device("ecp5-85k")) == {
        "mult": "rows"
    }
    assert structures_of("dsp", TARGET) == {}


@pytest.mark.parametrize("terms, message", [
    ({"multipliers": "csd"}, "multipliers must be one of lut, dsp, not 'csd'"),
    ({"images": -1}, "images must be a positive integer, or 0 for none, not -1"),
    ({"images": 0, "power": True}, "power needs images that are simulated"),
    ({"archs": ("engine", "systolic")}, "arch must be some of dataflow, engine, not 'engine,systolic'"),
    ({"archs": ("engine",), "pin": 12}, "pin of an engine must be 8 or 16 or 32 or 64, not 12"),
    ({"archs": ("engine",), "lanes": 80}, "the size of engines is said with --pin"),
    ({"archs": ("engine",), "images": 0, "power": True}, "power needs images that are simulated"),
])  # fmt: skip
def test_terms_that_cannot_be(terms, message):
    with pytest.raises(ValueError, match=message):
        Contest(network="lenet5", device=TARGET, **terms)


def test_an_unknown_kernel_is_refused_before_any_work(tmp_path):
    with pytest.raises(UserError, match="unknown kernel 'conv'; known: "):
        compare(Contest(network="lenet5", device=TARGET), ["adder", "conv"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def engine_row_of(row, name):
    """A row of `comparison` as an engine has it: no scopes, no saving, nothing simulated."""
    own = {key: value for key, value in row.items() if key not in ("scopes", "saving", "power")}
    return {
        **own,
        "kernel": name,
        "arch": "engine",
        "simulated_images": 0,
        "cycles_per_image": 4711,
        "lane_utilization": 0.5,
    }


def test_engines_stand_beside_dataflow_designs(tmp_path):
    """Their cycles and cells on the page and on the terminal; parts and savings are told of dataflow designs alone."""
    own = comparison(provenance("addax compare"))
    rows = [*own["rows"], engine_row_of(own["rows"][0], "adder, engine")]
    page = comparison_page(title="lenet5", **{**own, "rows": rows})
    assert f'data-path="rows.{len(rows) - 1}.cycles_per_image"' in page and "How much of it is lanes" in page
    assert "How much of it" not in comparison_page(title="lenet5", rows=rows[-1:])

    rows = [{"carry": 17, **row} for row in rows]
    found = KernelComparison(rows=rows, claims=[], designs=[], json=tmp_path / "j", html=tmp_path / "h")
    whole, scopes, *_ = comparison_tables(found, network="lenet5", device="ecp5-85k")
    assert [column.header for column in whole.columns][-1] == "adder, engine"
    assert "adder, engine" not in [column.header for column in scopes.columns]


@pytest.mark.slow
def test_two_kernels_as_engines(tmp_path, monkeypatch):
    """From the network to the page, each on an engine of the kernels that it has, and what the one saves of the other's
    power; what synthesis and simulation count is given here: lanes of the adders' engine toggle half as much."""

    def counted(parts, memories, target, *, progress):
        return Synthesis(
            parts={part.name: Resources(lut=3) for part in parts}, tool="none", version="0",
            blocks={part.name: {"control" if part.block_of else "": Resources(lut=3)} for part in parts},
        )  # fmt: skip

    def toggled(run, build):
        assert len(run.pixels) == 2
        lanes = Toggles(toggles=2000 if build.plan.kernels == ("mult",) else 1000, nets=10)
        others = {name: {"": Toggles(toggles=100, nets=10)} for name in ("control", "reader")}
        return Activity(parts={"lanes": {"lanes": lanes}, **others}, cycles=99_999, images=2)

    monkeypatch.setattr(measured, "map_parts", counted)
    monkeypatch.setattr(measured.PowerRun, "activity", toggled)
    contest = Contest(
        network="lenet5", device=device("ecp5-85k"), archs=("engine",), pin=8, pout=16, images=2, power=True
    )

    found = compare(contest, ["adder", "mult"], tmp_path, command="addax compare --arch engine")

    adder, mult = found.rows
    assert (adder["kernel"], adder["lanes"], mult["lanes"], adder["source"]) == ("adder", 128, 128, "synthesized")
    assert adder["cycles_per_image"] == mult["cycles_per_image"] > 1000 and adder["lut"] > 30
    plans = {row["kernel"]: json.loads((tmp_path / row["kernel"] / "engine" / "build" / "plan.json").read_text())
             for row in found.rows}  # fmt: skip
    assert plans["mult"]["kernels"] == ["mult"] and "adder" in plans["adder"]["kernels"]
    assert "lanes at work" in (tmp_path / "adder" / "engine" / "report" / "report.html").read_text()
    assert "engines of the same lanes" in found.html.read_text()

    saved = adder["saving"]
    assert mult["saving"] is None and 0 < saved["worst"] < saved["dynamic"] < saved["best"] < 0.5
    assert adder["power_mw"]["dynamic"] == pytest.approx((1 - saved["dynamic"]) * mult["power_mw"]["dynamic"])
    assert adder["power"]["total"]["low_mw"] < adder["power_mw"]["total"] < adder["power"]["total"]["high_mw"]
    assert "Does the saving of power hold?" in found.html.read_text()
    _, savings = comparison_tables(found, network="lenet5", device="ecp5-85k")
    assert savings.row_count == 1 and "power saved against mult" in savings.title


@pytest.mark.slow
def test_two_kernels_as_whole_as_whole_accelerators(tmp_path):
    """From the network to the page: every image simulated, parts that add up, power with its band, and what it takes
    to believe the saving."""
    contest = Contest(network="lenet5", device=device("ecp5-85k"), lanes=20, images=2, power=True)

    found = compare(contest, ["adder", "mult"], tmp_path, command="addax compare <it>")

    adder, mult = found.rows
    for row in found.rows:
        assert (row["simulated_images"], row["mismatches"], row["source"]) == (2, 0, "synthesized")
        whole = row["scopes"][-1]
        assert whole["lut"] == row["lut"] and whole["power_mw"] == pytest.approx(row["power_mw"]["dynamic"])
        assert row["power"]["total"]["low_mw"] < row["power_mw"]["total"] < row["power"]["total"]["high_mw"]
    assert mult["saving"] is None and adder["saving"]["worst"] < adder["saving"]["dynamic"] < adder["saving"]["best"]
    assert adder["lut"] < mult["lut"] and adder["cycles_per_image"] == mult["cycles_per_image"]
    lanes = adder["scopes"][0]
    assert lanes["lut_change"] < adder["scopes"][-1]["lut_change"] < 0
    assert json.loads(found.json.read_text())["rows"][0]["lut"] == adder["lut"]
    assert "addax compare &lt;it&gt;" in found.html.read_text()
