"""What a report works out for its charts, by hand; and charts as parts of a page."""

import re
import subprocess

import pytest
from addax.hdl.dataflow.design import DataflowDesign
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.timing import Schedule, StageTiming
from addax.reports.devices.devices import device
from addax.reports.page.charts import roofline_chart, timeline_chart
from addax.reports.page.sections import device_shares, roofline, timeline
from addax.reports.tools.provenance import commit, provenance
from networks import random_plan, random_program


def timing(begin, end, **changed):
    times = {"interval": 90, "busy": 80, "lanes": 4, "first_beat": begin + 1, "last_beat": end + 1}
    return StageTiming(name="conv", begin=begin, end=end, **{**times, **changed})


@pytest.fixture(scope="module")
def net():
    program = random_program(300)
    plan = random_plan(program, 300)
    return program, plan, DataflowDesign.bound(program, plan)


def test_images_follow_at_the_interval_and_never_overlap():
    """The first stage is free in between; the second still has the first image when the next could begin."""
    found = timeline(Schedule(interval=100, latency=500, stages=(timing(10, 90), timing(40, 180))), 50.0)

    spans = [stage["spans"] for stage in found["stages"]]
    assert spans == [[[10, 90], [110, 190], [210, 290]], [[40, 180], [180, 280], [280, 380]]]
    assert found["answers"] == [500, 600, 700]


def test_operations_per_second_stay_below_every_roof(net):
    """A dot above what its stage could do, or its lanes, would be a bug of the model."""
    program, plan, design = net
    builds, layers = design.builds, design.layers
    times = schedule(builds, program, pixels=plan.pixels)

    found = roofline(layers, program, times, clock_mhz=50.0, pixels=plan.pixels)

    with_lanes = [build for build in builds if build.lanes]
    assert [stage["name"] for stage in found["stages"]] == [build.stage.name for build in with_lanes]
    for stage, build in zip(found["stages"], with_lanes, strict=True):
        channels, height, width = build.stage.source
        assert stage["intensity"] == pytest.approx(build.stage.macs / (channels * height * width * build.stage.x.bits))
        assert stage["gops"] == pytest.approx(build.stage.macs * 50e6 / times.interval / 1e9)
        assert stage["gops"] <= stage["roof_gops"] * (1 + 1e-9) <= stage["lanes_gops"] * (1 + 2e-9)
        if build.interval == build.window.read_cycles:
            assert stage["roof_gops"] == pytest.approx(build.stage.macs / build.window.read_cycles * 0.05)
    assert found["accelerator"]["gops"] == pytest.approx(sum(stage["gops"] for stage in found["stages"]))
    assert found["accelerator"]["gops"] <= found["lanes_gops"] == pytest.approx(times.lanes * 0.05)
    for stage in found["stages"]:
        assert stage["roof_gops"] <= stage["intensity"] * found["feed_gbit_s"] * (1 + 1e-9), "a dot above the line"
    assert found["accelerator"]["gops"] <= found["accelerator"]["intensity"] * found["feed_gbit_s"]
    assert found["input_gbit_s"] == pytest.approx(8 * program.input.shape[0] * plan.pixels * 0.05)


def test_shares_of_a_device():
    target = device("ecp5-45k")

    shares = device_shares({"lut": 4385, "ff": 0, "bram": 108, "dsp": 144}, target)

    assert shares["lut"] == {"used": 4385, "available": 43848, "share": 4385 / 43848, "unit": "LUT4"}
    assert (shares["ff"]["share"], shares["bram"]["share"], shares["dsp"]["share"]) == (0, 1, 2)


def test_a_chart_keeps_to_itself(net):
    """Style sheets and ids of one drawing would change others in the same page; colours are the page's own."""
    program, plan, design = net
    builds, layers = design.builds, design.layers
    times = schedule(builds, program, pixels=plan.pixels)
    charts = [
        timeline_chart(timeline(times, 50.0)),
        roofline_chart(roofline(layers, program, times, clock_mhz=50.0, pixels=plan.pixels)),
    ]

    for chart, name in zip(charts, ("timeline", "roofline"), strict=True):
        assert not re.search(r"<style|<metadata|font-family|#[0-9a-f]{6}", chart)
        assert "var(--one)" in chart and "var(--line)" in chart
        ids = re.findall(r' id="([^"]+)"', chart)
        assert len(set(ids)) == len(ids) and all(ident.startswith(f"{name}-") for ident in ids)
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', chart)) <= set(ids)
    assert charts[0] == timeline_chart(timeline(times, 50.0))


def test_the_commit_is_that_of_the_checkout(tmp_path):
    """Twelve digits, and a word when files differ from it; none for an installed wheel."""
    assert commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)

    clean = commit(tmp_path)
    (tmp_path / "file").write_text("two")

    assert re.fullmatch(r"[0-9a-f]{12}", clean) and commit(tmp_path) == f"{clean}-dirty"


def test_provenance_says_nothing_of_the_machine():
    """Two people with the same checkout and command get the same words, but for the date."""
    found = provenance("addax report build --place", seeds=(1, 2, 3))

    assert set(found) == {"addax", "commit", "python", "command", "seeds", "date"}
    assert (found["command"], found["seeds"]) == ("addax report build --place", [1, 2, 3])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
