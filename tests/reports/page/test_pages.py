"""Pages in a browser: they stand alone, show what the JSON says, and can be read, at any width, dark or printed."""

import json
import re
from functools import cache

import pytest
from addax.hdl.folder.generate import generate
from addax.reports.page import drawing
from addax.reports.page.drawing import begin_drawing, draw
from addax.reports.page.engine import engine_page
from addax.reports.page.pages import comparison_page, report_page
from addax.reports.page.report import make_report
from addax.reports.page.survey import survey_page
from browser import Browser, find_browser
from documents import comparison, deep, engine, placed, survey
from networks import random_images, random_plan, random_program
from page_audit import AUDIT, at, shows

WIDE, NARROW, PAPER = 1280, 400, 718
"""px: a desk, a phone, and A4 between its margins."""
NAMES = ("estimated", "full", "deep", "comparison", "engine", "survey")


def page_of(compared):
    return comparison_page(title="lenet5 on ecp5-85k", **compared)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """An estimate, all that a report can hold, the same for 26 stages, a comparison, an engine, and transformers."""
    program = random_program(300)
    folder = tmp_path_factory.mktemp("pages")
    build = generate(program, random_plan(program, 300), folder / "build", vectors=random_images(program, 1, 300))
    extra = {"accuracy_rtl": (0.9871, "share of 4 test images", "cocotb", "2")}
    made = make_report(build, folder / "report", extra=extra, command="addax report <build> & co")
    estimated = json.loads(made.json.read_text())
    return {
        "estimated": estimated, "full": placed(estimated), "deep": placed(deep(estimated)),
        "comparison": comparison(estimated["provenance"]), "engine": engine(folder),
        "survey": survey(estimated["provenance"]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def pages(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    files = {name: folder / f"{name}.html" for name in NAMES}
    for name, file in files.items():
        own = documents[name]
        file.write_text(
            {"comparison": page_of, "engine": engine_page, "survey": survey_page}.get(name, report_page)(own)
        )
    return files


@pytest.fixture(scope="module")
def browser():
    if find_browser() is None:
        pytest.skip("there is no Chromium (Debian package chromium)")
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def audit(browser, pages):
    """What the browser sees of a page, looked at once in each way; with what it complained of and asked for."""

    @cache
    def look(name, **how):
        browser.open(pages[name], **how)
        seen = browser.evaluate(AUDIT)
        return seen | {"complaints": browser.complaints(), "requests": browser.requests()}

    return look


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_page_can_be_read(audit, pages, name, width):
    """Silent, alone, no wider than the window; texts neither overlap nor leave their charts or boxes."""
    seen = audit(name, width=width)

    assert seen["complaints"] == [] and seen["requests"] == [pages[name].as_uri()]
    assert seen["wide"] <= seen["window"] == width
    assert seen["texts"] > 100
    assert (seen["overlaps"], seen["outside"], seen["faint"], seen["twice"]) == ([], [], [], [])


@pytest.mark.parametrize("name", NAMES)
def test_a_dark_page_has_contrast(audit, name):
    """Text at least 4.5 to 1, whatever else carries a meaning 3 to 1, and dark it is."""
    for dark in (False, True):
        seen = audit(name, width=WIDE, dark=True) if dark else audit(name, width=WIDE)
        assert seen["faint"] == []
        assert min(seen["inks"].values()) >= 3, seen["inks"]
        assert (sum(map(int, re.findall(r"\d+", seen["page"]))) < 3 * 64) == dark


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_one_in_the_file(audit, documents, name):
    """All that is marked, in tables, sentences and charts, to the last digit shown."""
    seen, document = audit(name, width=WIDE), documents[name]

    assert len(seen["values"]) > 30
    wrong = [(path, text) for path, text in seen["values"] if not shows(text, at(document, path))]
    assert wrong == []
    if name == "comparison":
        assert len(seen["ratios"]) > 12
        for paths, text in seen["ratios"]:
            own, base = (at(document, path) for path in paths.split())
            assert shows(text, own / base - (text[0] in "+\N{MINUS SIGN}")), (paths, text)
    elif name == "survey":
        paths = {path for path, _ in seen["values"]}
        for number, row in enumerate(document["rows"]):
            assert {f"rows.{number}.{key}" for key in ("cycles", "bytes_read", "energy_uj") if row[key]} <= paths
    else:
        named = {item["name"]: item["value"] for item in document["figures"]}
        shown = dict(seen["figures"])
        assert set(shown) == set(named)
        assert all(shows(text, named[figure]) for figure, text in shown.items())
        paths = {path for path, _ in seen["values"]}
        for number in range(len(document.get("stages", ()))):
            assert {f"stages.{number}.{key}" for key in ("cycles", "lanes", "lut", "ff", "carry")} <= paths
        for number in range(len(document.get("layers", ()))):
            assert {f"layers.{number}.{key}" for key in ("cycles", "bytes_read", "bytes_written")} <= paths
        pace = "timeline.latency" if "timeline" in document else "blocks.trees.lut"
        assert {pace, "roofline.lanes_gops", "device_shares.lut.share"} <= paths
    if name == "full":
        assert {"power.total.mw", "power.sensitivity.4.total_high_mw", "critical_path.2.routing_ns"} <= paths


@pytest.mark.parametrize("name", NAMES[:3])
def test_charts_are_described_and_axes_have_units(audit, name):
    charts = audit(name, width=WIDE)["charts"]

    assert [chart["role"] for chart in charts] == ["img"] * (2 if name == "estimated" else 3)
    assert all(len(chart["label"]) == 2 and all(chart["label"]) for chart in charts)
    timeline, roofline = (chart["texts"] for chart in charts[:2])
    assert any(re.fullmatch(r"cycles after the first input beat, 1,000 cycles = [\d.]+ µs", t) for t in timeline)
    assert {"lane operations per bit received", "G lane operations/s"} <= set(roofline)
    if name != "estimated":
        assert "total power, mW" in charts[2]["texts"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_prints(audit, browser, pages, tmp_path, name):
    """On white, whatever the screen; no table is cut, since paper cannot scroll."""
    seen = audit(name, width=PAPER, dark=True, media="print")

    assert seen["page"] == "rgb(255, 255, 255)"
    assert seen["wide"] <= PAPER
    assert (seen["overlaps"], seen["outside"], seen["faint"]) == ([], [], [])
    browser.open(pages[name], dark=True)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


BROKEN = """<!doctype html><style>body { margin: 0; background: #fff; color: #000 } p { position: absolute; margin: 0 }
</style><p style="left:10px; top:10px">first</p><p style="left:12px; top:14px">second</p>
<p style="left:10px; top:60px; color:#999">faint</p><p style="left:2000px; top:100px">far</p>
<svg role="img" style="position:absolute; top:200px" width="40" height="40">
<text x="5" y="20">too long for it</text></svg>
<img src="http://127.0.0.1:1/gone.png"><script>console.error("oh")</script>"""


def test_the_tests_above_can_fail(browser, tmp_path):
    """A page with each fault, and numbers beside the truth."""
    file = tmp_path / "broken.html"
    file.write_text(BROKEN)
    browser.open(file)
    seen = browser.evaluate(AUDIT)

    assert len(browser.requests()) == 2 and browser.complaints()
    assert seen["overlaps"] == [["first", "second"]]
    assert seen["wide"] > seen["window"] and set(seen["outside"]) == {"far", "too long for it"}
    assert [text for text, _ in seen["faint"]] == ["faint"]
    assert shows("7,594", 7594) and shows("17.3 %", 0.17319) and shows("5.33", 5.3304)
    assert not shows("7,594", 7595) and not shows("17.3 %", 0.1724) and not shows("5.33", 5.336)


def test_names_never_become_markup(documents):
    """Names of networks, kernels and sources come from files that others wrote."""
    hostile = "<script>alert(1)</script>"
    own = json.loads(json.dumps(documents["comparison"]))
    own["rows"][0]["kernel"] = own["published"][0]["source"] = own["claims"][0]["ours"] = hostile
    full = json.loads(json.dumps(documents["full"]))
    full["program"]["network"] = full["stages"][0]["name"] = full["timeline"]["stages"][0]["name"] = hostile
    placed_ones = json.loads(json.dumps(documents["survey"]))
    placed_ones["rows"][0]["name"] = placed_ones["rows"][0]["kernel"] = placed_ones["engine"]["name"] = hostile

    for page in (page_of(own), report_page(full), survey_page(placed_ones)):
        assert "<script" not in page and page.count("&lt;script&gt;") >= 3


def test_a_comparison_without_its_baseline_has_no_per_cent(documents):
    """There is nothing to set it against."""
    own = documents["comparison"]
    alone = {**own, "rows": [{**row, "scopes": None, "saving": None} for row in own["rows"] if row["kernel"] != "mult"]}

    page = page_of({**alone, "claims": []})

    assert "per cent are of" not in page and "data-ratio" not in page and "How much of it" not in page
    assert "data-ratio" in page_of(own)


def test_charts_are_the_same_from_another_process(documents, monkeypatch):
    """And from this one when there is no other: a page without charts would say nothing of what went wrong."""
    pace = {name: documents["estimated"][name] for name in ("timeline", "roofline")}
    here = draw(pace)

    assert begin_drawing(pace).result() == here
    monkeypatch.setattr(drawing.sys, "executable", "/bin/false")
    assert begin_drawing(pace).result() == here
    assert set(here) == {"timeline", "roofline"} and draw({"power": None}) == {}
