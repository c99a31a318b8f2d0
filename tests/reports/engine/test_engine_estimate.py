"""The estimate of engines: what is counted in RTL, and how coefficients are found and told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.folder.engine import generate_engine
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.engine.estimate import COEFFICIENTS, engine_model, estimate_engine, resources_of
from addax.reports.engine.fit import FittedEngine, fitted
from addax.reports.engine.report import make_engine_report
from addax.reports.engine.rtl import RtlCounts, counts_of_cells
from engine_networks import small_plan


def cell(kind, connections=(), attributes=(), **parameters):
    """A cell of yosys' JSON, whose numbers are written in binary."""
    return {
        "type": kind, "parameters": {name: f"{value:b}" for name, value in parameters.items()},
        "connections": dict(connections), "attributes": dict.fromkeys(attributes, "1"),
    }  # fmt: skip


def test_cells_are_counted_in_bits():
    """By hand. A choice between a word and a constant costs less than one between words, and one between constants
    nothing; a memory becomes what synthesis makes of it, here two block RAMs of 36 bits; a product takes a block."""
    found = counts_of_cells(
        [
            cell("$add", A_WIDTH=7, B_WIDTH=8, Y_WIDTH=9), cell("$lt", A_WIDTH=5, B_WIDTH=6, Y_WIDTH=1),
            cell("$mux", {"A": [1, 2, "0", "0"], "B": [3, "0", 4, "1"]}, WIDTH=4), cell("$sdffe", WIDTH=11),
            cell("$pmux", WIDTH=3, S_WIDTH=4), cell("$logic_and", A_WIDTH=2, B_WIDTH=1, Y_WIDTH=1), cell("$not"),
            cell("$mul", A_WIDTH=9, B_WIDTH=8, A_SIGNED=1, B_SIGNED=1, Y_WIDTH=17),
            cell("$mem_v2", (), ("no_rw_check",), WIDTH=64, SIZE=128, RD_CLK_ENABLE=1, WR_PORTS=1),
            cell("$mem_v2", (), ("no_rw_check",), WIDTH=7, SIZE=8, RD_CLK_ENABLE=0, WR_PORTS=1),
        ],
        "ecp5",
    )  # fmt: skip
    assert found.bits == {
        "add": 9, "less": 6, "select": 2, "gate": 0, "register": 11, "choose": 12, "all": 3, "product": 17
    }  # fmt: skip
    assert (found.bram, found.dsp, found.lutram, found.ram_luts) == (2, 1, 2, 12)
    assert found.instances == Resources()


def test_cells_that_stand_in_the_rtl_are_what_they_are():
    """Of an engine in device form: no coefficient is asked what a carry cell, a table or a block RAM costs."""
    found = counts_of_cells([*[cell("LUT4")] * 3, *[cell("CCU2C")] * 2, cell("DP16KD"), cell("$dff", WIDTH=5)], "ecp5")

    assert found.instances == Resources(lut=7, carry=2, bram=1) and found.bits == {"register": 5}
    model = replace(engine_model("ecp5"), coefficients={
        f"{group} {target}": {} for group in ("lanes", "rest") for target in ("lut", "ff", "carry")
    })  # fmt: skip
    assert model.cells(found, "rest") == Resources(lut=7, carry=2, bram=1)


def test_coefficients_explain_what_does_not_stand_in_the_rtl():
    """The same engines with cells of their own beside: the coefficients stay as they were."""
    own = Resources(lut=90, carry=30, bram=4)
    more = [
        replace(
            engine, counts={name: replace(found, instances=own) for name, found in engine.counts.items()},
            cells={name: found + own for name, found in engine.cells.items()},
        )
        for engine in engines()
    ]  # fmt: skip

    assert fitted("ecp5", more).coefficients == fitted("ecp5", engines()).coefficients


def engines(count=4):
    """Engines whose cells follow their counts: two tables and a half carry for a bit of a sum, one for a choice."""
    rng = np.random.default_rng(0)
    made = []
    for lanes in range(16, 16 * (count + 1), 16):
        counts, cells = {}, {}
        for block in ("lanes", "reader", "writer"):
            add, select, register = (int(value) for value in rng.integers(200, 900, 3))
            counts[block] = RtlCounts(bits={"add": add, "select": select, "register": register}, bram=2, ram_luts=6)
            cells[block] = Resources(lut=2 * add + select + 6, ff=register, carry=add // 2, bram=2)
        made.append(FittedEngine(lanes=lanes, counts=counts, cells=cells))
    return made


def test_coefficients_are_found_and_the_error_is_that_of_engines_left_out():
    """Cells that follow the counts are found again; an engine that is twice as large as it should be is missed by half
    of it where it is left out, however well the others fit."""
    model = fitted("ecp5", engines())
    assert model.coefficients["lanes lut"] == pytest.approx({"add": 2, "select": 1}, abs=0.01)
    assert model.coefficients["rest ff"] == {"register": 1}
    assert model.error["lut"] < 0.01 and model.exact == {"bram": 4, "dsp": 4} and model.lanes == (16, 64)
    assert "held out: LUT 0 % of an engine" in model.note and "of 4 engines of 16 to 64 lanes" in model.note

    odd = engines()
    odd[1] = replace(odd[1], cells={name: replace(own, lut=2 * own.lut) for name, own in odd[1].cells.items()})
    assert fitted("ecp5", odd).error["lut"] > 0.1


def test_shipped_coefficients_are_whole():
    """What a family has no coefficients for is refused in one line; the error is told with every estimate."""
    model = engine_model("ecp5")
    assert {"lut", "ff", "block"} == set(model.error) and 0 < model.error["lut"] < 0.3
    assert model.samples >= 3 and list(json.loads(COEFFICIENTS.read_text())) == ["ecp5"]
    counts = RtlCounts(bits={"add": 100, "register": 70}, bram=2, dsp=1, lutram=1, ram_luts=6)
    own = resources_of(model, {"lanes": counts, "reader": counts})
    assert list(own) == ["lanes and trees", "reader"]
    assert own["reader"].ff == pytest.approx(70, abs=5) and (own["reader"].bram, own["reader"].dsp) == (2, 1)
    with pytest.raises(UserError, match="engines for xc7 have no estimate, only for ecp5; --synth counts cells"):
        engine_model("xc7")


@pytest.mark.slow
@pytest.mark.guard
def test_an_engine_is_estimated_from_its_rtl(tmp_path):
    """Against what synthesis gave for this Plan; the report says how good it is."""
    plan = small_plan(kernels=("adder",), control="none")
    build = generate_engine(plan, tmp_path / "engine")
    found = estimate_engine(build, device("ecp5-85k"))
    total = found.total
    assert total.ff == pytest.approx(6421, rel=0.05) and total.lut == pytest.approx(8512, rel=0.25)
    assert (total.bram, total.dsp) == (12, 20)
    assert {"lanes and trees", "features", "requantise", "reader", "writer", "sequencer"} <= set(found.parts)
    made = make_engine_report(build, tmp_path / "report")
    assert made.keys["source"] == "estimated" and made.keys["lut"] == total.lut and made.keys["estimate_error"]
    page = made.html.read_text()
    assert "Estimated without synthesis; counted in the RTL; held out: LUT" in page and "lanes and trees" in page
