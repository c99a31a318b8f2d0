"""The report of an engine: keys that scripts read, a page of what is in the file, cells by block."""

import json
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.blocks import BLOCK_OF_INSTANCE, JOINS
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.folder.engine import EngineBuild, generate_engine
from addax.reports.devices.devices import device
from addax.reports.devices.parts import instances_below
from addax.reports.devices.resources import Resources
from addax.reports.engine import measured
from addax.reports.engine.parts import EngineOwners, blocks_of, engine_parts
from addax.reports.engine.report import make_engine_report
from addax.reports.power.model import power_model
from addax.reports.synth.synth import Synthesis
from addax.sim.activity import Activity, Toggles
from engine_networks import engine_program, small_plan


@pytest.fixture
def build(tmp_path):
    """An engine whose Verilog nobody reads: there is no estimate for its device."""
    return EngineBuild(path=tmp_path, plan=small_plan(device="xczu7ev"), prefix="addax")


def test_report_with_an_image_has_the_keys_of_the_dataflow_family(build, tmp_path):
    """Scripts read both families alike; the page shows the layers, with every number from the file."""
    image = compiled(engine_program(7), build.plan)
    cycles = predicted(image)
    made = make_engine_report(build, tmp_path / "report", run=(image, cycles), command="addax report <engine>")

    assert {"device", "source", "lut", "ff", "bram", "dsp", "carry", "lut_paired", "bram_unit", "estimate_note",
            "fmax_mhz", "power_mw", "cycles_per_image", "images_per_second", "clock_mhz", "lanes", "tools", "report",
            "lane_utilization", "layers", "blocks"} <= set(made.keys)  # fmt: skip
    layers = sum(layer["cycles"] for layer in made.keys["layers"])
    assert made.keys["cycles_per_image"] == cycles.total == layers + cycles.spent[-1].sum()
    document, page = json.loads(made.json.read_text()), made.html.read_text()
    assert document["layers"] == made.keys["layers"] and document["plan"] == build.plan.to_json()
    for path in ("lane_utilization", "layers.0.cycles", "layers.1.bytes_read", "roofline.lanes_gops"):
        assert f'data-path="{path}"' in page, path
    assert "addax report &lt;engine&gt;" in page and "--synth counts cells" in page


def test_report_without_an_image_says_that_nothing_is_known_of_cycles(build, tmp_path):
    """Whoever has no network yet asks what the engine takes."""
    made = make_engine_report(build, tmp_path / "report")
    assert made.keys["cycles_per_image"] is None and made.keys["lanes"] == 16
    assert "layers" not in made.keys and "Why lanes idle" not in made.html.read_text()


def test_image_of_another_engine_is_refused(build, tmp_path):
    image = compiled(engine_program(7), small_plan(device="xczu7ev", weight_bytes=2048))
    with pytest.raises(UserError, match="the image is for another engine than"):
        make_engine_report(build, tmp_path / "report", run=(image, predicted(image)))


def test_device_without_place_and_route_is_refused(build, tmp_path):
    with pytest.raises(UserError, match="there is no open place and route for xczu7ev"):
        make_engine_report(build, tmp_path / "report", placed=True)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    plan = small_plan(
        feature_bytes=2048, depthwise=3, product=True, tables=8, levels=3, choices=True, matmul=True, norms=2,
        softmax=True, divide=True,
    )  # fmt: skip
    return generate_engine(plan, tmp_path_factory.mktemp("engine") / "build")


@pytest.mark.slow
def test_every_instance_has_one_block(generated):
    """A module that somebody adds or renames shows up among what joins the others: then the table is to be mended."""
    ways = instances_below(generated.sources[0].read_text(), "addax")
    core = {way[3] for way in ways if len(way) == 4 and way[2] == "core"}
    known = {name for holder, name in BLOCK_OF_INSTANCE if holder == "core"} | {"ring"}  # known by its cells' names
    assert {re.sub(r"[$_]\d+$", "", name) for name in core} == known
    names = [part.name for part in engine_parts(generated)]
    assert len(set(names)) == len(names) and names[-1] == JOINS


@pytest.mark.slow
def test_cells_are_named_by_their_blocks(generated):
    """As nextpnr tells them; and as synthesis counts them, the instances of a block together."""
    owners = EngineOwners.of(generated)
    for cell, block in (
        ("engine.machine.core.lanes.adder.x0_TRELLIS_FF_Q", "lanes"),
        ("engine.machine.core.lanes.word0_TRELLIS_FF_Q", "trees"),
        ("engine.machine.core.issuer.place_LUT4_Z", "sequencer"), ("engine.machine.core.ring.0.0", "features"),
        ("engine.machine.weights.queue.a_LUT4_Z", "queue of weights"), ("m_axi_rready_LUT4_Z", JOINS),
    ):  # fmt: skip
        assert owners.cell(cell) == (block, "")
    counted = {part.name: {"": Resources(lut=1)} for part in engine_parts(generated)}
    counted["lanes: lanes"] = {"lanes": Resources(lut=5), "trees": Resources(lut=2)}
    counted[JOINS] = {"window": Resources(bram=3), "control": Resources(lut=7)}
    synthesis = Synthesis(parts={}, blocks=counted, tool="t", version="v")
    found = blocks_of(synthesis, generated)
    # The columns of a depthwise window are lanes, too.
    assert (found["lanes"].lut, found["trees"].lut, found["features"].bram, found[JOINS].lut) == (5 + 1, 2, 3, 7)
    assert (found["sequencer"].lut, found["reader"].lut, found["control"].lut) == (4, 2, 2)


def test_power_needs_a_network(build, tmp_path):
    """Before anything is synthesised: toggles are those of a network."""
    with pytest.raises(UserError, match="depends on the network that it runs"):
        make_engine_report(build, tmp_path / "report", power_images=np.zeros((1, 3, 4, 4), np.int64))


@pytest.mark.slow
def test_power_of_an_engine_is_that_of_its_blocks(generated, tmp_path, monkeypatch):
    """Cells and toggles are given here, so that the sum can be made by hand: a block's toggles drive its own cells, as
    in the dataflow family, and the bytes of memory are told without an energy."""
    parts = {part.name: {"": Resources(ff=10)} for part in engine_parts(generated)}
    (array,) = [name for name in parts if name.startswith("lanes: lanes")]
    parts[array] = {"lanes": Resources(lut=100), "trees": Resources(lut=50)}
    parts[JOINS] = {"window": Resources(bram=3), "control": Resources()}
    synthesis = Synthesis(parts={"all": Resources(lut=150)}, blocks=parts, tool="yosys", version="0")
    toggles = {"lanes": {"lanes": Toggles(toggles=3000, nets=10), "trees": Toggles(toggles=400, nets=4)}}
    monkeypatch.setattr(measured, "map_parts", lambda *_, **__: synthesis)
    image = compiled(engine_program(7), generated.plan)
    cycles = predicted(image)
    activity = Activity(parts=toggles, cycles=99_999, images=2)
    monkeypatch.setattr(measured.PowerRun, "activity", lambda self, build: activity)

    made = make_engine_report(
        generated, tmp_path / "report", run=(image, cycles), power_images=np.zeros((2, 3, 4, 4), np.int64)
    )

    model, mhz = power_model(device("ecp5-85k")), generated.plan.clock_mhz
    logic = model.value("logic_pf") * model.value("voltage") ** 2 / 2 * mhz / 1000 / (2 * cycles.total)
    found = {part["name"]: part["mw"] for part in made.keys["power_by_block"]}
    assert found["lanes"] == pytest.approx(100 * 3000 / 10 * logic)
    assert found["trees"] == pytest.approx(50 * 400 / 4 * logic)
    assert found["features"] == pytest.approx(3 * model.value("bram_pj") * mhz / 1000)
    assert list(found) == ["lanes", "trees", "features", "registers and clock", "static"]
    assert sum(found.values()) == pytest.approx(made.keys["power_mw"]["total"])
    assert made.keys["energy_per_image_uj"] == pytest.approx(made.keys["power_mw"]["total"] * cycles.total / mhz / 1e3)
    document = json.loads(made.json.read_text())
    assert document["power"]["images"] == 2 and document["bytes_read"] == made.keys["bytes_read"] > 0
    moved = document["bytes_read"] + document["bytes_written"]
    assert document["power"]["memory_uj"] == {
        "bytes": moved, "low": pytest.approx(moved / 8 * 1.3e-3), "high": pytest.approx(moved / 8 * 2.6e-3),
        "note": "64 bit of DRAM, 1.3 to 2.6 nJ, Horowitz (ISSCC 2014)",
    }  # fmt: skip
    assert 'data-path="power.memory_uj.high"' in made.html.read_text()
    assert 'data-path="power.categories.0.mw"' in made.html.read_text()
