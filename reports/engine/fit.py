"""Fits the estimate of engines: ``python -m addax.reports.engine.fit``.

A few small engines are synthesised, as far as they do not stand in the cache, and the coefficients of `estimate` are
chosen by least squares over their blocks. What is kept as the error is that of engines that were left out: each is
estimated with coefficients that the others gave.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ...common.files import write_json
from ...common.temporary import scratch_folder
from ...hdl.engine.plan import EnginePlan
from ...hdl.folder.engine import generate_engine
from ..devices.devices import device
from ..devices.resources import Resources
from ..synth.synth import map_parts
from ..tools.run import yosys_version
from .estimate import COEFFICIENTS, FITTED, OF_LANES, OF_REST, EngineModel, resources_of
from .parts import blocks_by_part, engine_parts
from .rtl import RtlCounts, rtl_counts

__all__ = ["ENGINES", "FittedEngine", "fitted", "measured_engine"]

_NARROW = {"pin": 4, "pout": 4, "bits": 16, "memory_bits": 64}
_WIDE = {"pin": 8, "pout": 8, "bits": 8, "memory_bits": 64}
ENGINES: tuple[dict[str, Any], ...] = (
    {**_NARROW, "kernels": ("adder",), "feature_bytes": 2048, "weight_bytes": 1024, "pixels": 32, "control": "none"},
    {**_NARROW, "kernels": ("adder", "mult", "shift"), "feature_bytes": 8192, "weight_bytes": 4096, "pixels": 64,
     "burst": 8},
    {**_WIDE, "kernels": ("adder", "mult")},
)  # fmt: skip
"""Plans of the engines that are synthesised; small ones, for a large one takes long."""
DEVICES = {"ecp5": "ecp5-85k"}
"""On which device the engines of a family are synthesised."""
_KINDS = {
    "lut": ("add", "less", "equal", "all", "bits", "select", "gate", "choose", "shift", "bypass"),
    "ff": ("register", "bypass"), "carry": ("add", "less", "equal"),
}  # fmt: skip
"""What may cost cells of a target."""
_LEAST = 50.0
"""Cells below which an error counts as if there were so many."""


@dataclass(frozen=True, kw_only=True)
class FittedEngine:
    """An engine that was synthesised: its lanes, counts of its RTL, and cells, both by block; trees are lanes."""

    lanes: int
    counts: Mapping[str, RtlCounts]
    cells: Mapping[str, Resources]

    @property
    def total(self) -> Resources:
        """Cells of the whole."""
        return sum(self.cells.values(), Resources())


def measured_engine(choices: Mapping[str, Any], name: str) -> FittedEngine:
    """Generate, synthesise and count an engine of these choices on the device called ``name``."""
    target = device(name)
    plan = EnginePlan(device=name, **choices)
    with scratch_folder("fit") as folder:
        build = generate_engine(plan, folder / "build")
        synthesis = map_parts(engine_parts(build), build.path, target)
        parts = blocks_by_part(synthesis, build)
        cells = {block: own for blocks in parts.values() for block, own in blocks.items() if block != "trees"}
        cells[OF_LANES] = sum(parts[OF_LANES].values(), Resources())
        return FittedEngine(lanes=plan.lanes, counts=rtl_counts(build, target.family), cells=cells)


def fitted(family: str, engines: Sequence[FittedEngine]) -> EngineModel:
    """Coefficients from all ``engines``, with the error of those that were left out in turn."""
    off: dict[str, list[float]] = {"lut": [], "ff": [], "block": []}
    exact = {"bram": 0, "dsp": 0}
    for out in engines:
        model = _model(family, [engine for engine in engines if engine is not out])
        guess = {("lanes" if name == "lanes and trees" else name): own
                 for name, own in resources_of(model, out.counts).items()}  # fmt: skip
        total = sum(guess.values(), Resources())
        for key in ("lut", "ff"):
            off[key].append(abs(getattr(total, key) / getattr(out.total, key) - 1))
        missed = sum(abs(guess.get(block, Resources()).lut - own.lut) for block, own in out.cells.items())
        off["block"].append(missed / out.total.lut)
        for key in exact:
            exact[key] += getattr(total, key) == getattr(out.total, key)
    error = {key: round(float(np.mean(shares)), 4) for key, shares in off.items()}
    return _model(family, engines, error=error, exact=exact)


def _model(
    family: str, engines: Sequence[FittedEngine], error: dict[str, float] | None = None,
    exact: dict[str, int] | None = None,
) -> EngineModel:  # fmt: skip
    coefficients = {
        f"{group} {target}": _solved(engines, group, target) for group in (OF_LANES, OF_REST) for target in FITTED
    }
    sizes = [engine.lanes for engine in engines]
    return EngineModel(
        family=family, coefficients=coefficients, error=error or {}, exact=exact or {}, samples=len(engines),
        lanes=(min(sizes), max(sizes)), tool=yosys_version(),
    )  # fmt: skip


def _solved(engines: Sequence[FittedEngine], group: str, target: str) -> dict[str, float]:
    """Least squares over the blocks of a group; no coefficient is negative."""
    kinds = [kind for kind in _KINDS[target] if group == OF_REST or kind != "bypass"]
    pairs = [
        (engine.counts.get(block, RtlCounts(bits={})), cells)
        for engine in engines for block, cells in engine.cells.items() if (block == OF_LANES) == (group == OF_LANES)
    ]  # fmt: skip
    counts = np.array([[own.bits.get(kind, 0) for kind in kinds] for own, _ in pairs])
    wanted = np.array([
        getattr(cells, target) - getattr(own.instances, target) - (own.ram_luts if target == "lut" else 0)
        for own, cells in pairs
    ], float)  # fmt: skip
    weight = 1 / np.sqrt(np.maximum(wanted, _LEAST))
    found, _ = nnls(counts * weight[:, None], wanted * weight)
    return {kind: round(float(value), 4) for kind, value in zip(kinds, found, strict=True) if value > 1e-4}


def main() -> None:
    """Fit every family and write the coefficients into the package."""
    written = {}
    for family, name in DEVICES.items():
        model = fitted(family, [measured_engine(choices, name) for choices in ENGINES])
        print(f"{family}: {model.note}", file=sys.stderr)
        written[family] = {
            key: getattr(model, key) for key in ("coefficients", "error", "exact", "samples", "lanes", "tool")
        }  # fmt: skip
    write_json(COEFFICIENTS, written)


if __name__ == "__main__":
    main()
