"""Published claims beside ours: every claim has a source, and ours are the comparison's own figures."""

import io
import json
import re
from pathlib import Path

import pytest
from addax.reports.compare.claims import claims_beside
from addax.reports.compare.compare import KernelComparison
from addax.reports.kernels.published import published
from addax.reports.page.pages import comparison_page
from addax.reports.power.scopes import SCOPES
from addax.reports.terminal.tables import comparison_tables
from rich.console import Console


def row(kernel, lut, mw, *, fmax=None, saving=None):
    scopes = [
        {"scope": name, "lut": part * lut, "lut_change": part * lut / (part * 200) - 1, "ff": 1, "ff_change": 0.0,
         "dsp": 0, "dsp_change": None, "power_mw": mw, "power_mw_change": mw / 40 - 1}
        for name, part in zip([scope.name for scope in SCOPES], (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0), strict=True)
    ]  # fmt: skip
    return {
        "kernel": kernel, "accuracy": 0.97, "cycles_per_image": 1280, "images_per_second": 39062.5, "lanes": 80,
        "lut": lut, "lut_paired": None, "ff": 5, "carry": 3, "bram": 2, "dsp": 1, "fmax_mhz": fmax, "source": "placed",
        "power": {"total": {"mw": mw}}, "power_mw": {"total": mw}, "energy_per_image_uj": mw / 10, "scopes": scopes,
        "saving": saving,
    }  # fmt: skip


SAVING = {"dynamic": 0.25, "total": 0.1, "worst": -0.05, "best": 0.6, "keeps_sign": False, "flips": ("bram_pj",)}
ROWS = [row("adder", 100, 30, fmax=110.0, saving=SAVING), row("mult", 200, 40, fmax=100.0)]


def test_every_published_figure_has_a_source():
    found = published()

    assert {claim["of"] for claim in found["claim"]} == {"logic", "speed", "power", "kernel", "energy"}
    for claim in found["claim"]:
        assert claim["low"] <= claim["high"] and claim["source"] and claim["terms"]
    for design in found["design"]:
        assert design["source"] and design["note"] and design["mark"]
    assert {"adder", "xnor", "shift", "memristor"} == {design["kernel"] for design in found["design"]}


def test_the_claims_of_the_paper_are_those_of_its_abstract():
    """The figures that the comparison exists to look at."""
    paper = {c["of"]: (c["low"], c["high"]) for c in published()["claim"] if "2101.10015" in c["source"]}

    assert paper == {"logic": (-71.4, -67.6), "speed": (16, 16), "power": (-77.9, -47.85), "kernel": (-81, -81)}


def test_ours_stand_beside_them():
    """All parts answer a claim about logic, the lanes alone one about the kernel, and Fmax one about speed."""
    found = {(c["claim"], c["paper"]): c["ours"] for c in claims_beside(ROWS)}

    assert found["adder: logic", "-71.4 to -67.6 %"] == f"{SCOPES[1].name} -50.0 %; {SCOPES[-1].name} -50.0 %"
    assert found["adder: kernel", "-81 %"] == f"{SCOPES[0].name} -50.0 %"
    assert found["adder: power", "-77.9 to -47.85 %"] == f"{SCOPES[1].name} -25.0 %; {SCOPES[-1].name} -25.0 %"
    assert found["adder: speed", "+16 %"] == "+10.0 %"
    assert found["adder: energy", "-52.4 %"] == "-25.0 % of the whole device"


def test_what_was_not_measured_is_said_to_be_missing():
    bare = [{**own, "fmax_mhz": None, "energy_per_image_uj": None} for own in ROWS]
    for own in bare:
        own["scopes"] = [{**scope, "power_mw_change": None} for scope in own["scopes"]]

    found = {c["claim"]: c["ours"] for c in claims_beside(bare)}

    assert (found["adder: speed"], found["adder: energy"], found["adder: power"]) == (
        "not measured", "not measured", "not modelled",
    )  # fmt: skip


def test_without_a_baseline_there_is_nothing_to_claim():
    assert claims_beside(ROWS[:1]) == []


@pytest.fixture
def comparison():
    return KernelComparison(
        rows=ROWS, claims=claims_beside(ROWS), designs=published()["design"], json=Path("x"), html=Path("y")
    )  # fmt: skip


def test_the_terminal_shows_it_all(comparison):
    console = Console(file=io.StringIO(), width=160)
    for table in comparison_tables(comparison, network="lenet5", device="ecp5-85k"):
        console.print(table)
    text = console.file.getvalue()

    assert "lenet5 on ecp5-85k" in text
    assert re.search(r"cycles per image\s+│\s+1,280\s+│\s+1,280 ", text)
    assert re.search(r"LUT\s+│\s+100 \(-50 %\)\s+│\s+200 ", text)
    assert re.search(r"adder\s+│\s+25\.0 %\s+│\s+-5\.0 %\s+│\s+60\.0 %\s+│\s+10\.0 %\s+│\s+bram_pj", text)
    assert "arXiv 2101.10015" in text


def test_a_comparison_without_a_baseline_has_one_table(comparison):
    alone = KernelComparison(rows=[{**ROWS[0], "scopes": None}], claims=[], designs=[], json=Path("x"), html=Path("y"))

    assert len(comparison_tables(alone, network="n", device="d")) == 1


def test_every_number_on_the_page_is_that_of_the_comparison(comparison):
    page = comparison_page(
        comparison.rows, title="lenet5 <on> ecp5-85k", published=comparison.designs, claims=comparison.claims
    )  # fmt: skip

    document = json.loads(json.dumps({"rows": ROWS, "published": comparison.designs, "claims": comparison.claims}))
    shown = re.findall(r'data-path="([^"]+)" value="([^"]*)"', page)
    assert {"rows.0.scopes.1.lut", "rows.0.saving.worst", "rows.1.lut"} <= {path for path, _ in shown}
    for path, value in shown:
        found = document
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert str(found) == value, path
    assert "lenet5 &lt;on&gt; ecp5-85k" in page
