"""The estimator: synthesis' rules for memories and multipliers, counts that grow with what they count, and stages whose
cells synthesis once counted (`stages.json`, by the pinned yosys)."""

import json
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.joints import Entrance
from addax.hdl.dataflow.planning.choices import options_of
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.families import bind as bound
from addax.hdl.folder.generate import generate
from addax.hdl.lanes.counts import array_counts
from addax.hdl.lanes.shape import ArrayShape
from addax.quant.formats import unsigned
from addax.quant.program import Requantise, Threshold
from addax.reports.devices.devices import device, device_names
from addax.reports.devices.memories import MemoryShape, mapped
from addax.reports.devices.multipliers import blocks
from addax.reports.devices.resources import Resources
from addax.reports.estimate.dataflow.entry import entry_structure
from addax.reports.estimate.estimate import (
    cost_and_capacity,
    design,
    families,
    model,
    needs_of,
    stage_cost,
    stage_resources,
)
from addax.reports.estimate.features import features
from addax.reports.estimate.structure import structure
from addax.reports.fit.fit import DEVICES, known
from addax.reports.fit.samples import cells_of, sample
from addax.reports.page.report import make_report
from addax.reports.planning import LEVEL_NS
from networks import random_built, random_images, random_moving, random_plan, random_program
from perceptrons import perceptron

STORED = json.loads(Path(__file__).with_name("stages.json").read_text())
ALL = sorted(DEVICES)


def stored(family):
    cells = {key: {"cells": value} for key, value in STORED["cells"].items()}
    return known(family, cells)


@pytest.mark.parametrize("family", ALL)
def test_memories_and_multipliers_are_those_of_synthesis(family):
    """Exact, stage by stage: they do not come from a fit."""
    found = stored(family)

    assert len(found) >= 10
    for m in found:
        assert (m.known.bram, m.known.dsp) == (m.cells.bram, m.cells.dsp), m.number


@pytest.mark.parametrize("family", ALL)
def test_estimates_of_stages_are_near(family):
    """The error that is printed with an estimate is about the error of one; flip-flops are counted, not guessed."""
    own = model(family)
    found = stored(family)
    errors = {
        key: np.mean([abs(getattr(own.resources(m.known), key) / getattr(m.cells, key) - 1) for m in found])
        for key in ("lut", "ff")
    }

    assert errors["ff"] < 0.04
    assert errors["lut"] < 2 * own.error["lut"] + 0.02
    assert own.tool == STORED["tool"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL)
def test_stored_cells_are_those_of_a_new_run(family, tmp_path):
    """Nothing in the generated stages has changed since, or the stored cells and coefficients are of another RTL."""
    target = device(DEVICES[family])
    for number in [m.number for m in stored(family)][:2]:
        cells = cells_of(sample(number, target.fabric), target, tmp_path)
        fresh = {name: count for name, count in cells.items() if not name.startswith("$")}
        assert fresh == STORED["cells"][f"{target.name}:{number}"], number


@pytest.mark.parametrize("shape, family, cell, count", [
    # Weights of 64 x 512 bits: two of 36 x 512 on ECP5, one whole block on Xilinx.
    (MemoryShape(width=64, depth=512, clocked=True, written=False), "ecp5", "PDPW16KD", 2),
    (MemoryShape(width=64, depth=512, clocked=True, written=False), "xc7", "RAMB36 SDP", 1),
    (MemoryShape(width=16, depth=256, clocked=True, written=False), "ice40", "SB_RAM40_4K", 1),
    # A queue is read without a clock: distributed memory, or flip-flops where there is none.
    (MemoryShape(width=8, depth=12, clocked=False, written=True), "ecp5", "DPR16X4", 2),
    (MemoryShape(width=8, depth=12, clocked=False, written=True), "ice40", None, 0),
    # Few words are tables, unless the Plan asks for block RAM.
    (MemoryShape(width=24, depth=16, clocked=True, written=False), "ecp5", None, 0),
    (MemoryShape(width=24, depth=16, clocked=True, written=False, block=True), "ecp5", "PDPW16KD", 1),
])  # fmt: skip
def test_where_memories_go(shape, family, cell, count):
    found = mapped(shape, family)

    assert (found.cell.name if found.cell else None, found.cells) == (cell, count)


@pytest.mark.parametrize("family, a, b, count", [
    ("ecp5", 18, 16, 1), ("ecp5", 20, 16, 2), ("xc7", 25, 16, 1), ("xc7", 26, 16, 2), ("xcup", 27, 16, 1),
    ("xc7", 4, 4, 0), ("ecp5", 4, 4, 1), ("ice40", 16, 16, 0),
])  # fmt: skip
def test_how_products_are_split(family, a, b, count):
    assert blocks(family, a, b, signed=(True, True)) == count


def test_rows_of_an_array_are_alike():
    """Registers of features are shared by all rows; everything else comes once for each."""
    shape = ArrayShape(kernel="adder", structure="carry", pin=9, pout=1, x=unsigned(8), w=unsigned(8))

    one, five = (array_counts(replace(shape, pout=rows), 20) for rows in (1, 5))

    assert one["ff_x"] == five["ff_x"] == 72
    for name, count in one.items():
        assert five[name] == (count if name == "ff_x" else 5 * count), name


def test_more_lanes_cost_more():
    """The solver compares folds by these figures: a fold of twice the lanes must not look cheaper in what lanes are."""
    program = random_program(300)
    build = bind(program, random_plan(program, 300))[0]
    filters, inputs = build.stage.result[0], build.stage.source[0]
    for family in ALL:
        seen = []
        for lanes in [n for n in range(1, filters + 1) if filters % n == 0]:
            plan = replace(build.plan, pe=lanes, simd=inputs, taps=1, lines=1, requantisers=1, queue=64)
            seen.append(stage_resources(replace(build, plan=plan), family))
        assert len(seen) > 1
        assert all(a.ff < b.ff for a, b in pairwise(seen)), family
        assert all(a.lut + 40 * a.dsp < b.lut + 40 * b.dsp for a, b in pairwise(seen)), family


@pytest.mark.parametrize("family", ALL)
def test_registers_of_a_packet_count(family):
    """No stage has them, so no fit knows them: they would be missing without a word."""
    program = random_program(300)
    whole = bound(program, random_plan(program, 300))
    end = next(part for part in whole.ends if part.name == "packet")
    counted = structure(end.content).of("lanes")["packet.ff"]

    assert counted > 10
    assert stage_resources(end.content, family).ff >= counted


def test_a_design_is_the_sum_of_its_parts():
    program = random_program(300)
    plan = random_plan(program, 300)
    builds = bind(program, plan)
    found = design(program, plan, device("xc7z020"))

    assert sum(found.parts.values(), Resources()) == found.total
    assert list(found.parts) == [*(b.stage.name for b in builds), "packet", "between stages"]
    for build in builds:
        cells = stage_resources(build, "xc7")
        assert found.parts[build.stage.name] == cells
        assert stage_cost("xc7")(build) == cells.lut + 60 * cells.bram + 40 * cells.dsp
    needs = needs_of("xc7")(builds)
    assert needs["FF"] == sum(found.parts[b.stage.name].ff for b in builds)


def test_a_report_without_synthesis_estimates(tmp_path):
    """The figures, where they come from, and how far such figures are off."""
    program = random_program(300)
    build = generate(program, random_plan(program, 300), tmp_path / "b", vectors=random_images(program, 1, 300))
    made = make_report(build, tmp_path / "r")

    total = design(program, build.plan, device("ecp5-45k")).total
    assert made.keys["source"] == "estimated"
    assert [made.keys[key] for key in ("lut", "ff", "bram", "dsp", "carry")] == [
        total.lut, total.ff, total.bram, total.dsp, total.carry,
    ]  # fmt: skip
    assert made.keys["estimate_error"] == model("ecp5").error
    assert "held out" in made.keys["estimate_note"] and made.keys["fmax_mhz"] is None


def test_every_family_has_coefficients_and_says_so_where_not():
    assert set(families()) == {device(name).family for name in device_names()} - {"gowin"} == set(DEVICES)
    assert cost_and_capacity(device("gw2a-18")) == (None, None)
    assert cost_and_capacity(device("ecp5-25k"))[1].limits["LUT"] == device("ecp5-25k").lut
    with pytest.raises(UserError, match=r"no coefficients to estimate abacus with, only .*ecp5.*; use --synth"):
        model("abacus")


@pytest.mark.slow
@pytest.mark.guard
def test_counts_have_coefficients():
    """A count that nobody fitted would be free."""
    for family in ALL:
        names = Counter()
        for number in range(40):
            found = features(structure(sample(number, device(DEVICES[family]).fabric).build), family)
            names.update(name for name, count in found.counts.items() if count)
        fitted = set().union(*model(family).coefficients.values())
        common = {name for name, seen in names.items() if seen >= 8 and not name.endswith(" rom0")}
        assert len(common - fitted) <= 0.3 * len(common), sorted(common - fitted)


def test_estimates_are_fast_enough_to_search_with():
    """Not timed to fail on a busy machine: a thousand estimates of known stages in a minute is a hundredth of what it
    does."""
    builds = [sample(number, "generic").build for number in range(10)]
    cost = stage_cost("ecp5")
    for build in builds:
        cost(build)
    start = time.process_time()
    for _ in range(100):
        for build in builds:
            cost(build)
    assert time.process_time() - start < 60


@pytest.mark.parametrize("make", [random_moving, random_built])
@pytest.mark.parametrize("seed", range(6))
def test_any_fold_of_any_stage_has_a_price(seed, make):
    """Moves and joins among them, before it is known what stands beside them: the solver asks for all."""
    program = make(seed)
    kinds = set()
    for stage in stages_of(program):
        kinds.add(stage.kind)
        assert all(option.cost > 0 for option in options_of(stage, stage_cost("ecp5")))
    assert len(kinds) > 1
    assert design(program, random_plan(program, seed), device("ecp5-85k")).total.lut > 0


def test_the_input_operation_has_a_price():
    """Pixels times constants: synthesis gave three blocks on `xczu7ev` to three channels, and none to levels."""
    channels = 3
    scaled = Requantise(
        name="entry", source="pixels", multiplier=np.full(channels, 129), offset=np.full(channels, 64), shift=7,
        format=unsigned(8), lo=0, hi=255,
    )  # fmt: skip
    levels = Threshold(
        name="entry", source="pixels", thresholds=np.full((channels, 1), 128), falling=np.zeros(channels, np.int64),
        format=unsigned(1),
    )  # fmt: skip
    own = model("xcup")

    dear, cheap = (
        own.resources(features(entry_structure(Entrance(op=op, channels=channels)), "xcup")) for op in (scaled, levels)
    )

    assert (dear.dsp, cheap.dsp) == (channels, 0)
    assert dear.ff > channels * 8 and dear.lut > cheap.lut > 0


@pytest.mark.parametrize("bits, lut, ff", [(8, 2846, 3753), (4, 2249, 2163)])
def test_estimates_of_circuits_of_constants_are_near(bits, lut, ff):
    """Perceptrons of 16-16-5 with adder kernels, an image per clock on xc7z020 at 200 MHz, as the pinned yosys once
    counted them (`python -m tests.bench.unrolled adder`): no coefficient of theirs was fitted."""
    program, target = perceptron("adder", (16, 16, 5), pixel=unsigned(bits)), device("xc7z020")
    plan = fold(
        program, device=target.name, clock_mhz=200.0, fps=200e6, fixed_weights=True, scale="lut",
        level_ns=LEVEL_NS[target.family], compress=True,
    )  # fmt: skip

    found = design(program, plan, target).total

    assert abs(found.lut / lut - 1) < 0.08
    assert abs(found.ff / ff - 1) < 0.1
