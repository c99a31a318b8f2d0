"""A family that the package does not know: registered at run time, it goes the way of ours."""

import json

import numpy as np
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.dataflow.family import DATAFLOW
from addax.hdl.family import PlanRequest
from addax.hdl.folder import families
from addax.hdl.folder.build import open_build
from addax.hdl.folder.families import family_of, plan_from_json, register
from addax.hdl.folder.generate import generate
from addax.quant.files.archive import save_program
from addax.reports.estimate.counting import Structure
from addax.reports.estimate.structure import structure
from addax.reports.page.report import make_report
from addax.reports.synth.owners import Owners
from addax.reports.synth.synth import INTERCONNECT
from addax.sim.activity import Toggles, activity_of
from addax.sim.cosim import simulate
from addax.sim.stopwatch import watch
from passthrough import INNER, INSTANCE, NAME, PassThrough, Wires, identity

SAIF = f"""(SAIFILE
(DURATION 100)
(INSTANCE {INNER}
(NET
(clk (T0 1) (T1 1) (TC 200))
)
(INSTANCE {INSTANCE}
(NET
(o__payload (T0 1) (T1 1) (TC 30))
)
)
)
)
"""


@structure.register
def wires_structure(wires: Wires) -> Structure:
    found = Structure()
    found.of("window")["x.ff"] += 8 * wires.channels + 1
    return found


@pytest.fixture(autouse=True)
def passthrough(monkeypatch):
    """Registered for one test."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))
    family = PassThrough()
    register(family)
    return family


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 2, 3, 4), dtype=np.uint8)


@pytest.fixture
def build(tmp_path, images):
    plan = family_of("passthrough").plan(identity(), PlanRequest(device="ecp5-45k"))
    return generate(identity(), plan, tmp_path / "build", vectors=images[:2])


def test_it_simulates_with_the_golden_models_answers(build, images):
    """Every byte, in the cycles that the Design predicts, with stalls as well; its stage is traced by the way."""
    outcome = simulate(build, images, stall=0.3, trace_stages=True)

    assert outcome.bit_exact and (outcome.images, outcome.mismatches) == (20, 0)
    assert (outcome.cycles_first_image, outcome.cycles_per_image) == (build.schedule.latency, 12)
    assert [(trace.name, trace.values, trace.mismatches) for trace in outcome.stages] == [(NAME, 20 * 24, 0)]


@pytest.mark.slow
@pytest.mark.guard
def test_a_stopwatch_sees_its_work(build, images):
    tracks = watch(build, images[:3]).tracks

    assert [work.busy for work in tracks[NAME]] == [12] * 3


def test_its_report_is_that_of_any_design(build, tmp_path):
    """Estimated by the counts that were registered for its part."""
    made = make_report(build, tmp_path / "report")

    assert (made.keys["source"], made.keys["cycles_per_image"], made.keys["ff"]) == ("estimated", 12, 18)
    document = json.loads(made.json.read_text())
    assert [(row["name"], row["ff"]) for row in document["stages"]] == [(NAME, 18)]
    assert "<svg" in made.html.read_text()


def test_its_report_counts_cells_and_toggles_by_its_own_blocks(build, tmp_path):
    """Eight bits of two channels are held in a queue, whose nets alone a recorded activity saw; the path is its own."""
    (tmp_path / "a.saif").write_text(SAIF)

    made = make_report(build, tmp_path / "report", synth=True, saif=tmp_path / "a.saif")

    document = json.loads(made.json.read_text())
    assert {name: cells["ff"] for name, cells in document["blocks"].items() if cells["ff"]} == {
        "queues": 16, "control": 1, "between stages": document["between_stages"]["between stages"]["ff"],
    }  # fmt: skip
    recorded = activity_of(build, tmp_path / "a.saif").parts
    assert recorded[INSTANCE] == {"queues": Toggles(toggles=30, nets=1)}
    assert NAME in [stage["name"] for stage in document["power"]["stages"]]
    assert document["power"]["energy_per_operation_pj"] is None  # wires compute nothing
    owners = Owners.of(build.design)
    assert owners.cell(f"{INNER}.{INSTANCE}.o__payload_TRELLIS_FF_Q_3") == (NAME, "queues")
    assert owners.cell(f"{INNER}.beat_LUT4_Z") == (INTERCONNECT, "")


def test_the_command_line_offers_it(tmp_path, capsys):
    """By its name in --arch, and by that in a plan.json."""
    program, out = tmp_path / "net.addax", tmp_path / "build"
    save_program(program, identity())

    assert main(["generate", str(program), "--arch", "passthrough", "--json", "-o", str(out)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["plan"]["family"], value["predicted_cycles_per_image"]) == ("passthrough", 12)
    assert open_build(out).plan.family == "passthrough"
    again = ["generate", str(program), "--plan", str(out / "plan.json"), "-o", str(tmp_path / "again")]
    assert main(again) == 0
    assert (tmp_path / "again" / "addax.v").read_bytes() == (out / "addax.v").read_bytes()


def test_a_plan_of_an_unknown_family_is_refused_as_ever():
    with pytest.raises(UserError, match="unknown architecture 'systolic'; known: dataflow, passthrough"):
        family_of("systolic")
    value = {"family": "systolic", "device": "x", "clock_mhz": 50.0, "fixed_weights": False, "stages": []}
    with pytest.raises(UserError, match="not a plan: architecture must be one of dataflow, not 'systolic'"):
        plan_from_json(value)


def test_a_name_belongs_to_one_family(passthrough):
    register(passthrough)
    register(DATAFLOW)
    with pytest.raises(ValueError, match="there is a family 'passthrough' already"):
        register(PassThrough())
