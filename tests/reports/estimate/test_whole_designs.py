"""Estimates of whole designs that were in no fit: those of results/compare-lenet5.csv, which synthesis counted."""

import csv
from pathlib import Path

import numpy as np
import pytest
from addax.hdl.family import PlanRequest
from addax.hdl.folder.families import bind, family_of
from addax.quant.quantize import quantize
from addax.reports.compare.compare import structures_of
from addax.reports.devices.devices import device
from addax.reports.devices.multipliers import halves_above
from addax.reports.estimate.estimate import design, model
from addax.reports.estimate.features import features
from addax.reports.estimate.structure import structure
from addax.reports.fit.fit import DEVICES

pytestmark = [pytest.mark.slow, pytest.mark.guard]
NOTHING = {
    "activation count", "activation requantisers", "activation summed", "activation upper", "lanes passed",
    "lanes dsp add1", "weights rom3",
}  # fmt: skip
"""Counts that samples have and that the fit found to take no cells of their own."""
MEASURED = Path(__file__).parents[3] / "results" / "compare-lenet5.csv"


@pytest.fixture(scope="module")
def programs():
    kernels = ("adder", "mult", "xnor", "shift")
    return {k: quantize("lenet5", kernel=k, weights=None, bits=8, data_source="digits") for k in kernels}


@pytest.mark.parametrize("name, ff", [("ecp5-85k", (0.02, 0.03)), ("xc7z020", (0.11, 0.14))])
def test_lenet5_with_every_kernel(programs, name, ff):
    """Lookup tables within 3 % on average and 6 % each; registers of 7-series come out too many, for synthesis makes
    shift registers of those of the multiplying layers. Block RAMs and multiplier blocks are exact."""
    target, family, first = device(name), family_of("dataflow"), programs["adder"]
    structures = structures_of("lut", target)
    folds = family.plan(first, PlanRequest(
        device=name, clock_mhz=50.0, fabric=target.fabric, structures=structures,
        halves_above=halves_above(target.family),
    ))  # fmt: skip
    rows = csv.DictReader(MEASURED.read_text().splitlines())
    measured = {row["kernel"]: row for row in rows if row["device"] == name}
    assert sorted(measured) == sorted(programs)
    errors = {"lut": [], "ff": []}
    for kernel, program in programs.items():
        found = design(program, family.alike(program, folds, first, structures=structures), target).total
        row = measured[kernel]
        assert (found.bram, found.dsp) == (float(row["bram"]), float(row["dsp"])), kernel
        for key, own in errors.items():
            own.append(abs(getattr(found, key) / float(row[key]) - 1))
    assert np.mean(errors["lut"]) < 0.04 and max(errors["lut"]) < 0.065, errors
    assert np.mean(errors["ff"]) < ff[0] and max(errors["ff"]) < ff[1], errors


@pytest.mark.parametrize("name", sorted(DEVICES.values()))
def test_no_count_is_without_a_coefficient(programs, name):
    """A count that no sample had would take no cells, and nobody would know: that of a window of five rows did not."""
    target = device(name)
    known = model(target.family)
    for program in programs.values():
        plan = family_of("dataflow").plan(
            program, PlanRequest(device=name, clock_mhz=50.0, fabric=target.fabric, lanes=40)
        )  # fmt: skip
        made = bind(program, plan)
        for content in (*(part.content for part in (*made.parts, *made.ends)), *made.between):
            counts = features(structure(content), target.family).counts
            assert {count for count in counts if not known.knows(count)} <= NOTHING
