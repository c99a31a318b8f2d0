"""What an engine takes, without synthesis: counts of its RTL times what they cost on a family of devices.

Registers, block RAMs and multiplier blocks are counted; lookup tables and carry cells are a few coefficients times bits
of sums, comparisons and selections, fitted by `fit` to engines that were synthesised. So a block may be off by a third;
how far whole engines were off that took no part in the fit is kept with the coefficients, and told with every estimate.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...hdl.folder.engine import EngineBuild
from ..devices.devices import Device
from ..devices.resources import Resources
from ..estimate.estimate import Estimate, Model
from .rtl import RtlCounts, rtl_counts

__all__ = [
    "COEFFICIENTS",
    "FITTED",
    "OF_LANES",
    "OF_REST",
    "EngineModel",
    "engine_model",
    "estimate_engine",
    "resources_of",
]

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
OF_LANES, OF_REST = "lanes", "rest"
"""Lanes with their trees have coefficients of their own: every bit there is registered."""
FITTED = ("lut", "ff", "carry")
"""What has coefficients; those of ``lut`` are without the tables of memories."""
_TOGETHER = "lanes and trees"


@dataclass(frozen=True, kw_only=True)
class EngineModel(Model):
    """Coefficients of a family of devices, under ``lanes lut``, ``rest lut`` and so on.

    Attributes
    ----------
    error : mean absolute error of whole engines that took no part in the fit, as shares; ``block``: of the lookup
        tables of their blocks, each weighed by its size
    exact : of how many engines block RAMs and multiplier blocks were exact
    samples : engines
    lanes : of the smallest and of the largest of them
    """

    lanes: tuple[int, int]

    @property
    def note(self) -> str:
        """How good it is, in words."""
        least, most = self.lanes
        return (
            f"counted in the RTL; held out: LUT {100 * self.error['lut']:.0f} % of an engine and "
            f"{100 * self.error['block']:.0f} % of a block, FF {100 * self.error['ff']:.1f} % mean absolute error, "
            f"BRAM exact for {self.exact['bram']}, DSP for {self.exact['dsp']} of {self.samples} engines of "
            f"{least} to {most} lanes"
        )

    def cells(self, counts: RtlCounts, group: str) -> Resources:
        """Cells of a block of ``group`` that has ``counts``."""
        lut, ff, carry = (self._sum(counts, f"{group} {target}") for target in FITTED)
        bram = int(counts.bram) if counts.bram == int(counts.bram) else counts.bram
        return Resources(
            lut=lut + counts.ram_luts, ff=ff, bram=bram, dsp=counts.dsp, carry=carry, lutram=counts.lutram
        ) + counts.instances  # fmt: skip

    def _sum(self, counts: RtlCounts, key: str) -> int:
        return round(max(0.0, sum(each * counts.bits.get(kind, 0) for kind, each in self.coefficients[key].items())))


@cache
def _models() -> dict[str, EngineModel]:
    raw: dict[str, dict[str, Any]] = json.loads(COEFFICIENTS.read_text())
    return {
        family: EngineModel(family=family, **{**values, "lanes": tuple(values["lanes"])})
        for family, values in raw.items()
    }


def engine_model(family: str) -> EngineModel:
    """The coefficients of ``family``; raises `UserError` for one that has none."""
    if family not in _models():
        raise UserError(f"engines for {family} have no estimate, only for {', '.join(_models())}; --synth counts cells")
    return _models()[family]


def resources_of(model: EngineModel, counts: Mapping[str, RtlCounts]) -> dict[str, Resources]:
    """Cells by block of an engine with ``counts``."""
    return {
        _TOGETHER if block == OF_LANES else block: model.cells(own, OF_LANES if block == OF_LANES else OF_REST)
        for block, own in counts.items()
    }  # fmt: skip


def estimate_engine(build: EngineBuild, target: Device) -> Estimate:
    """Estimate every block of ``build``.

    Raises
    ------
    UserError
        when there are no coefficients for the family of ``target``, and when yosys is missing.
    """
    model = engine_model(target.family)
    return Estimate(parts=resources_of(model, rtl_counts(build, target.family)), model=model)
