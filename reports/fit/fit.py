"""Fits the estimator's coefficients: ``python -m addax.reports.fit.fit --results FILE [--samples N] [FAMILY ...]``.

Random stages (`samples`) are synthesised with the pinned yosys, as far as their cells do not stand in FILE already, and
the coefficients of every count are chosen by least squares of the relative error. Counts are many and samples few, so
coefficients are held near what the circuit suggests, and none is negative. The error that is kept beside them is that
of cross-validation: every stage is estimated with coefficients from which it was left out.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ...common.errors import UserError
from ...common.files import write_json
from ...common.temporary import scratch_folder
from ..devices.devices import device
from ..devices.resources import LUTS_PER_CARRY, Resources
from ..estimate.counting import PIECES
from ..estimate.estimate import COEFFICIENTS, TARGETS, Model
from ..estimate.features import Features, features
from ..estimate.structure import structure
from ..tools.run import yosys_version
from .blocks import Tables
from .samples import sample, tables_by_block

__all__ = ["DEVICES", "MeasuredSample", "fitted", "known"]

DEVICES = {"ecp5": "ecp5-85k", "xc7": "xc7z020", "xcup": "xczu7ev", "ice40": "ice40-up5k"}
"""On which device the samples of a family are synthesised."""
SAMPLES = 100
FOLDS = 10
HOLD = {"ff": 3e-4, "logic": 5e-5, "carry": 3e-3}
"""How strongly coefficients are held: the square of a coefficient's relative change weighs, for every sample, so much
of the square of a relative error."""
LEAST = 20.0
"""Cells below which an error counts as if there were so many."""
ROUNDS, FAR = 5, 0.05
"""Errors above ``FAR`` weigh as themselves, not as their squares, so that a few odd stages do not bend the rest; found
by so many rounds."""
AFTER = {"xcup": "xc7"}
"""A family whose coefficients are held near those of another, instead of those in `_LUTS` and `_CARRIES`."""
Floats = NDArray[np.float64]

_LUTS = {
    "window": 10, "paddings": 5, "requantisers": 0, "held": 1, "after": 1,
    "lane_soft": 1.2, "requantise_soft": 3, "requantise_soft_edge": 0.3, "requantise_constant_soft": 1,
    "requantise_constant_soft_edge": 0.3, "residual_constant_soft": 1, "residual_constant_soft_edge": 0.3,
    "requantise_split": 0.5, "residual_split": 0.5, "dsp wide": 0, "dsp wide chains": 0, "dsp add1": 0.5,
    "below_spare": 0.5, "between_spare": 0.7, "summed": 0.1, "upper": 0.01, "lower": 0.01,
    "rom0": 0, "rom1": 0, "rom2": 0.3, "rom3": 0.8,
}  # fmt: skip
"""Lookup tables of a count; 1 where nothing stands."""
_BESIDE = dict.fromkeys(
    ("add", "add1", "wide", "wide constant", "joined", "subtract", "less", "reached", "upper", "lower"), 0.05
)
"""Lookup tables of a count where carry cells hold the tables of a sum, and are counted apart."""
_CARRIES = {
    **dict.fromkeys(
        (
            "counter", "base", "offset", "pixel", "add", "add1", "after", "subtract", "less", "wide", "wide constant",
            "joined", "reached", "fifo", "segment", "beyond", "pool_max", "pool_average", "turned", "address", "room",
            "level", "fifo_level", "side", "gather", "upper", "lower",
        ), 0.5,
    ),
    "pointer": 1.0, "requantise_split": 0.25, "residual_split": 0.25,
}  # fmt: skip
"""Carry cells of a bit of a chain on ECP5, whose cells hold two; a quarter of one for every chain, and 0 elsewhere."""
_CARRY_SCALE = {"ecp5": 1.0, "xc7": 0.5, "xcup": 0.25, "ice40": 2.0}


@dataclass(frozen=True, kw_only=True)
class MeasuredSample:
    """A sample: what is known of it, and what synthesis made of it: cells, and tables of its blocks where they were
    counted."""

    number: int
    known: Features
    cells: Resources
    blocks: Mapping[str, Tables] = field(default_factory=dict)

    def target(self, name: str, family: str) -> float:
        """What the counts have to explain."""
        if name == "ff":
            return self.cells.ff
        if name == "carry":
            return self.cells.carry - self.known.carries
        own = self.cells.lut - self.known.known_luts
        return own - LUTS_PER_CARRY * self.cells.carry if family == "ecp5" else own


def known(family: str, results: dict[str, Any]) -> list[MeasuredSample]:
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
            blocks = {name: Tables(*pair) for name, pair in entry.get("blocks", {}).items()}
            own = features(structure(build), family)
            found.append(MeasuredSample(number=int(number), known=own, cells=cells, blocks=blocks))
    return sorted(found, key=lambda m: m.number)


def fitted(family: str, samples: Sequence[MeasuredSample], near: Model | None = None) -> Model:
    """Coefficients from all ``samples``, with the error of cross-validation.

    Parameters
    ----------
    near : coefficients to stay near to, instead of the built-in ones
    """
    if len(samples) < 2 * FOLDS:
        raise UserError(f"{len(samples)} samples of {family} are too few to fit; at least {2 * FOLDS}")
    parts = np.arange(len(samples)) % FOLDS
    names = _names(samples)
    off: dict[str, list[float]] = {"lut": [], "ff": []}
    exact = {"bram": 0, "dsp": 0}
    for part in range(FOLDS):
        trained = _model(family, [m for m, p in zip(samples, parts, strict=True) if p != part], names, near)
        for m in (m for m, p in zip(samples, parts, strict=True) if p == part):
            guess = trained.resources(m.known)
            for key, errors in off.items():
                errors.append(abs(getattr(guess, key) / getattr(m.cells, key) - 1))
            for key in exact:
                exact[key] += getattr(guess, key) == getattr(m.cells, key)
    error = {key: round(float(np.mean(errors)), 4) for key, errors in off.items()}
    return _model(family, samples, names, near, error=error, exact=exact)


def _model(
    family: str, samples: Sequence[MeasuredSample], names: Sequence[str], near: Model | None,
    error: dict[str, float] | None = None, exact: dict[str, int] | None = None,
) -> Model:  # fmt: skip
    coefficients = {target: _solve(family, target, samples, names, near) for target in TARGETS}
    return Model(
        family=family, coefficients=coefficients, error=error or {}, exact=exact or {}, samples=len(samples),
        tool=yosys_version(),
    )  # fmt: skip


def _names(samples: Sequence[MeasuredSample]) -> list[str]:
    """Every count of ``samples``: one that only stages have that are left out keeps what is expected of it."""
    return sorted({name for m in samples for name in m.known.counts})


def _solve(
    family: str, target: str, samples: Sequence[MeasuredSample], every: Sequence[str], near: Model | None
) -> dict[str, float]:
    """Least squares of relative errors, with coefficients that are not negative and stay near the expected ones."""
    names = [name for name in every if _concerns(name, target)]
    counts, wanted, whole = _equations(family, target, samples, names)
    weight = base = 1 / whole
    expected = np.array([_expected(family, target, name, near) for name in names])
    hold = np.sqrt(HOLD[target] * len(samples)) / np.maximum(expected, 0.3)
    for _ in range(ROUNDS):
        rows = np.vstack([counts * weight[:, None], np.diag(hold)])
        found, _ = nnls(rows, np.concatenate([wanted * weight, hold * expected]))
        share = np.abs(counts @ found - wanted) / whole
        weight = base / np.sqrt(np.maximum(share / FAR, 1))
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True) if value > 1e-4}


def _equations(
    family: str, target: str, samples: Sequence[MeasuredSample], names: Sequence[str]
) -> tuple[Floats, Floats, Floats]:
    """Counts, what they have to explain, and how much counts as a whole: of every sample, and of each of its blocks."""
    blocks = PIECES if target != "ff" else ()
    masks = {block: np.array([name.startswith(f"{block} ") for name in names]) for block in blocks}
    counts: list[Floats] = []
    wanted: list[float] = []
    whole: list[float] = []
    for m in samples:
        row: Floats = np.array([m.known.counts.get(name, 0.0) for name in names])
        size = max(m.cells.ff if target == "ff" else m.cells.lut if target == "logic" else m.cells.carry, LEAST)
        counts.append(row)
        wanted.append(m.target(target, family))
        whole.append(size)
        for block in blocks if m.blocks else ():
            own = m.blocks.get(block, Tables(0, 0))
            luts, carries = (
                (m.known.luts, m.known.carries) if block == "lanes" else (m.known.constants.get(block, 0), 0)
            )
            counts.append(row * masks[block])
            wanted.append(own.logic - luts if target == "logic" else own.carry - carries)
            whole.append(size)
    return np.array(counts), np.array(wanted), np.array(whole)


def _concerns(name: str, target: str) -> bool:
    return name.endswith(".ff") == (target == "ff") or (target == "ff" and name == "window window")


def _expected(family: str, target: str, name: str, near: Model | None) -> float:
    if near is not None and name in near.coefficients[target]:
        scale = _CARRY_SCALE[family] / _CARRY_SCALE[near.family] if target == "carry" else 1.0
        return scale * near.coefficients[target][name]
    name = name.partition(" ")[2] if name.partition(" ")[0] in PIECES else name
    if target == "carry":
        chain = name.removesuffix(" chains")
        return _CARRIES.get(chain, 0.0) * _CARRY_SCALE[family] * (1.0 if chain == name else 0.5)
    if target == "ff":
        return 2.0 if name == "window window" else 0.5 if name.startswith("dsp") else 1.0
    if family == "ecp5" and name in _BESIDE:
        return _BESIDE[name]
    return 0.5 if name.endswith((" chains", " narrows")) and name not in _LUTS else _LUTS.get(name, 1.0)


def measure(family: str, numbers: Sequence[int], results: Path) -> dict[str, Any]:
    """Synthesise the samples that are not in the file ``results`` yet; one by one, each is written as it comes."""
    found: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    target = device(DEVICES[family])
    for number in numbers:
        key = f"{target.name}:{number}"
        if key in found:
            continue
        with scratch_folder("fit") as folder:
            try:
                cells, blocks = tables_by_block(sample(number, target.fabric), target, folder)
                found[key] = {"cells": cells, "blocks": blocks}
            except UserError as error:
                print(f"{key}: {error}", file=sys.stderr)  # some stages end the mapper without a word
                found[key] = {"cells": None}
        write_json(results, found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the families that are named, or all, and write the coefficients into the package."""
    parser = argparse.ArgumentParser(prog="python -m addax.reports.fit.fit", description=__doc__)
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
