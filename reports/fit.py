"""Fits the estimator's coefficients: ``python -m addax.reports.fit --results FILE [--samples N] [FAMILY ...]``.

Random stages (`samples`) are synthesised with the pinned yosys, as far as their cells do not stand in FILE already, and
the coefficients of every count are chosen by least squares of the relative error. Counts are many and samples few, so
coefficients are held near what the circuit suggests, and none is negative. The error that is kept beside them is that
of cross-validation: every stage is estimated with coefficients from which it was left out.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..common.errors import UserError
from ..common.files import write_json
from .devices import device
from .estimate import COEFFICIENTS, TARGETS, Model
from .features import Features, features
from .resources import LUTS_PER_CARRY, Resources
from .samples import cells_of, sample
from .structure import structure
from .tools import yosys_version

__all__ = ["DEVICES", "Measured", "fitted", "known"]

DEVICES = {"ecp5": "ecp5-85k", "xc7": "xc7z020", "xcup": "xczu7ev", "ice40": "ice40-up5k"}
"""On which device the samples of a family are synthesised."""
SAMPLES = 100
FOLDS = 10
HOLD = {"ff": 3e-4, "logic": 5e-5, "carry": 3e-3}
"""How strongly coefficients are held: the square of a coefficient's relative change weighs, for every sample, so much
of the square of a relative error."""
LEAST = 20.0
"""Cells below which an error counts as if there were so many."""
ROUNDS, FAR = 8, 0.05
"""Errors above ``FAR`` weigh as themselves, not as their squares, so that a few odd stages do not bend the rest; found
by so many rounds."""
AFTER = {"xcup": "xc7"}
"""A family whose coefficients are held near those of another, instead of those in `_LUTS` and `_CARRIES`."""
Floats = NDArray[np.float64]

_LUTS = {
    "window": 10, "paddings": 5, "requantisers": 0, "lane_soft": 1.2,
    "requantise_soft": 1.2, "residual_soft": 0.6, "dsp wide": 0, "dsp wide chains": 0, "dsp add1": 0.5, "clamped": 0.5,
    "held": 0.7, "rom0": 0, "rom1": 0, "rom2": 0.3, "rom3": 0.8, "after": 1, "requantise_split": 0.5,
    "residual_split": 0.5,
}  # fmt: skip
"""Lookup tables of a count; 1 where nothing stands."""
_BESIDE = dict.fromkeys(("add", "add1", "wide", "wide constant", "joined", "subtract", "less", "reached", "clamp"), 0.1)
"""The same where carry cells hold the tables of a sum, and are counted apart."""
_CARRIES = {
    **dict.fromkeys(
        (
            "counter", "base", "offset", "pixel", "add", "add1", "after", "subtract", "less", "wide", "joined",
            "reached", "fifo", "segment", "beyond", "pool_max", "pool_average", "turned", "address", "room", "level",
            "fifo_level", "side", "gather", "clamp",
        ), 0.5,
    ),
    "pointer": 1.0, "requantise_split": 0.25, "residual_split": 0.25,
}  # fmt: skip
"""Carry cells of a bit of a chain on ECP5, whose cells hold two; a quarter of one for every chain, and 0 elsewhere."""
_CARRY_SCALE = {"ecp5": 1.0, "xc7": 0.5, "xcup": 0.25, "ice40": 2.0}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A sample: what is known of it, and what synthesis made of it."""

    number: int
    known: Features
    cells: Resources

    def target(self, name: str, family: str) -> float:
        """What the counts have to explain."""
        if name == "ff":
            return self.cells.ff
        if name == "carry":
            return self.cells.carry - self.known.carries
        own = self.cells.lut - self.known.ram_luts - self.known.luts
        return own - LUTS_PER_CARRY * self.cells.carry if family == "ecp5" else own


def known(family: str, results: dict[str, Any]) -> list[Measured]:
    """The samples of ``family`` among ``results``, cells by device and number; those that synthesis failed are not
    there."""
    name = DEVICES[family]
    fabric = device(name).fabric
    found = []
    for key, entry in results.items():
        where, _, number = key.partition(":")
        if where == name and entry["cells"] is not None:
            build = sample(int(number), fabric).build
            cells = Resources.of_cells(entry["cells"], family)
            found.append(Measured(number=int(number), known=features(structure(build), family), cells=cells))
    return sorted(found, key=lambda m: m.number)


def fitted(family: str, samples: Sequence[Measured], near: Model | None = None) -> Model:
    """Coefficients from all ``samples``, with the error of cross-validation.

    Parameters
    ----------
    near : coefficients to stay near to, instead of the built-in ones
    """
    if len(samples) < 2 * FOLDS:
        raise UserError(f"{len(samples)} samples of {family} are too few to fit; at least {2 * FOLDS}")
    parts = np.arange(len(samples)) % FOLDS
    off: dict[str, list[float]] = {"lut": [], "ff": []}
    exact = {"bram": 0, "dsp": 0}
    for part in range(FOLDS):
        trained = _model(family, [m for m, p in zip(samples, parts, strict=True) if p != part], near)
        for m in (m for m, p in zip(samples, parts, strict=True) if p == part):
            guess = trained.resources(m.known)
            for key, errors in off.items():
                errors.append(abs(getattr(guess, key) / getattr(m.cells, key) - 1))
            for key in exact:
                exact[key] += getattr(guess, key) == getattr(m.cells, key)
    error = {key: round(float(np.mean(errors)), 4) for key, errors in off.items()}
    return _model(family, samples, near, error=error, exact=exact)


def _model(
    family: str, samples: Sequence[Measured], near: Model | None, error: dict[str, float] | None = None,
    exact: dict[str, int] | None = None,
) -> Model:  # fmt: skip
    coefficients = {target: _solve(family, target, samples, near) for target in TARGETS}
    return Model(
        family=family, coefficients=coefficients, error=error or {}, exact=exact or {}, samples=len(samples),
        tool=yosys_version(),
    )  # fmt: skip


def _solve(family: str, target: str, samples: Sequence[Measured], near: Model | None) -> dict[str, float]:
    """Least squares of relative errors, with coefficients that are not negative and stay near the expected ones."""
    names = sorted({name for m in samples for name in m.known.counts if _concerns(name, target)})
    counts: Floats = np.array([[m.known.counts.get(name, 0.0) for name in names] for m in samples])
    wanted: Floats = np.array([m.target(target, family) for m in samples])
    whole: Floats = np.array([m.cells.ff if target == "ff" else m.cells.lut for m in samples], np.float64)
    whole = np.maximum(whole if target != "carry" else wanted, LEAST)
    weight = base = 1 / whole
    expected = np.array([_expected(family, target, name, near) for name in names])
    hold = np.sqrt(HOLD[target] * len(samples)) / np.maximum(expected, 0.3)
    for _ in range(ROUNDS):
        rows = np.vstack([counts * weight[:, None], np.diag(hold)])
        found, _ = nnls(rows, np.concatenate([wanted * weight, hold * expected]))
        share = np.abs(counts @ found - wanted) / whole
        weight = base / np.sqrt(np.maximum(share / FAR, 1))
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True) if value > 1e-4}


def _concerns(name: str, target: str) -> bool:
    return name.endswith(".ff") == (target == "ff") or (target == "ff" and name == "window")


def _expected(family: str, target: str, name: str, near: Model | None) -> float:
    if near is not None and name in near.coefficients[target]:
        scale = _CARRY_SCALE[family] / _CARRY_SCALE[near.family] if target == "carry" else 1.0
        return scale * near.coefficients[target][name]
    if target == "carry":
        chain = name.removesuffix(" chains")
        return _CARRIES.get(chain, 0.0) * _CARRY_SCALE[family] * (1.0 if chain == name else 0.5)
    if target == "ff":
        return 2.0 if name == "window" else 0.5 if name.startswith("dsp") else 1.0
    if family == "ecp5" and name in _BESIDE:
        return _BESIDE[name]
    return 0.5 if name.endswith(" chains") and name not in _LUTS else _LUTS.get(name, 1.0)


def measure(family: str, numbers: Sequence[int], results: Path) -> dict[str, Any]:
    """Synthesise the samples that are not in the file ``results`` yet; one by one, each is written as it comes."""
    found: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    target = device(DEVICES[family])
    for number in numbers:
        key = f"{target.name}:{number}"
        if key in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                cells: dict[str, int] | None = cells_of(sample(number, target.fabric), target, Path(folder))
            except UserError as error:
                print(f"{key}: {error}", file=sys.stderr)  # some stages end the mapper without a word
                cells = None
        found[key] = {"cells": cells}
        write_json(results, found)
        print(f"{key}: {cells and sum(cells.values())} cells", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the families that are named, or all, and write the coefficients into the package."""
    parser = argparse.ArgumentParser(prog="python -m addax.reports.fit", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(DEVICES)}")
    parser.add_argument("--results", type=Path, required=True, help="JSON file of what was synthesised, kept")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="per family")
    parser.add_argument("--only-known", action="store_true", help="synthesise nothing")
    given = parser.parse_args(arguments)
    if unknown := [family for family in given.families if family not in DEVICES]:
        parser.error(f"unknown family {', '.join(unknown)}")
    written: dict[str, Any] = json.loads(COEFFICIENTS.read_text()) if COEFFICIENTS.is_file() else {}
    models: dict[str, Model] = {}
    for family in given.families or DEVICES:
        numbers = () if given.only_known else range(given.samples)
        samples = known(family, measure(family, numbers, given.results))
        models[family] = made = fitted(family, samples, models.get(AFTER.get(family, "")))
        print(f"{family}: {made.note}", file=sys.stderr)
        written[family] = {
            key: getattr(made, key) for key in ("coefficients", "error", "exact", "samples", "tool")
        }  # fmt: skip
    write_json(COEFFICIENTS, written)


if __name__ == "__main__":
    main()
