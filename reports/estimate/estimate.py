"""What a design costs, without synthesis: counts of its blocks times what they cost on a family of devices.

Block RAMs and multiplier blocks follow synthesis' own rules and are exact; flip-flops are counted; lookup tables and
carry cells are fitted to what synthesis made of many stages, see `fit`. How far estimates were off on stages that took
no part in the fit is kept with the coefficients.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...hdl.capacity import Capacity
from ...hdl.family import Envelope
from ...hdl.folder.families import bind
from ...quant.program import Program
from ..devices.devices import Device
from ..devices.resources import LUTS_PER_CARRY, Resources
from ..synth.synth import INTERCONNECT
from .dataflow import entry, joints, stages
from .features import Features, features
from .structure import structure

__all__ = [
    "TARGETS",
    "Estimate",
    "Model",
    "capacity_of",
    "cost_and_capacity",
    "design",
    "families",
    "model",
    "needs_of",
    "stage_cost",
    "stage_resources",
]

_COUNTED = (entry, joints, stages)
"""Modules that register what the families of this package are made of."""
COEFFICIENTS = Path(__file__).with_name("coefficients.json")
TARGETS = ("ff", "logic", "carry")
"""What is fitted: flip-flops; lookup tables beside those of memories, carry cells and instances; carry cells."""
_UNSEEN = {
    "packet.ff": (1.0, 0.0, 0.0), "register.ff": (1.0, 0.0, 0.0), "queue queue_words": (0.0, 1.4, 0.0),
    "queue queue_ways": (0.0, 0.9, 0.0), "lanes pool_max narrow": (0.0, 0.7, 0.0),
    "lanes pool_max narrows": (0.0, 0.5, 0.0),
}  # fmt: skip
"""Coefficients, for each of `TARGETS`, of counts that no sample had, of any family or of one: a register is one, and
the others are as fits of other families have them."""
BRAM_LUTS, DSP_LUTS = 60.0, 40.0
"""Lookup tables that a block RAM and a multiplier block are worth to `stage_cost`: about what a device has of the one
for each of the other."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Coefficients of a family of devices.

    Attributes
    ----------
    coefficients : of every count, for each of `TARGETS`
    error : mean absolute error on stages that took no part in the fit, as shares: ``lut`` and ``ff``
    exact : of how many of them block RAMs and DSP blocks were exact, ``bram`` and ``dsp``
    samples : how many stages
    tool : version of synthesis
    """

    family: str
    coefficients: Mapping[str, Mapping[str, float]]
    error: Mapping[str, float]
    exact: Mapping[str, int]
    samples: int
    tool: str

    @property
    def note(self) -> str:
        """How good it is, in words."""
        return (
            f"held out: LUT {100 * self.error['lut']:.1f} %, FF {100 * self.error['ff']:.1f} % mean absolute error, "
            f"BRAM exact for {self.exact['bram']}, DSP for {self.exact['dsp']} of {self.samples} stages"
        )

    @cached_property
    def _of_count(self) -> dict[str, tuple[float, ...]]:
        """The coefficients of every count, in the order of `TARGETS`: most counts have one."""
        every = {name for own in self.coefficients.values() for name in own}
        fitted = {name: tuple(self.coefficients[target].get(name, 0.0) for target in TARGETS) for name in every}
        return {**_UNSEEN, **fitted}

    def knows(self, count: str) -> bool:
        """Whether a count of that name takes cells; one that the fit found to take none does not, nor one that it never
        saw."""
        return count in self._of_count

    def resources(self, known: Features) -> Resources:
        """Cells of what has the counts ``known``."""
        ff = logic = carry = 0.0
        for name, count in known.counts.items():
            if name in self._of_count:
                per_ff, per_logic, per_carry = self._of_count[name]
                ff += per_ff * count
                logic += per_logic * count
                carry += per_carry * count
        carries = round(max(0.0, carry)) + known.carries
        lut = round(max(0.0, logic)) + known.known_luts
        if self.family == "ecp5":
            lut += LUTS_PER_CARRY * carries
        bram = int(known.bram) if known.bram == int(known.bram) else known.bram
        return Resources(lut=lut, ff=round(max(0.0, ff)), bram=bram, dsp=known.dsp, carry=carries, lutram=known.lutram)


@cache
def _models() -> dict[str, Model]:
    raw: dict[str, dict[str, Any]] = json.loads(COEFFICIENTS.read_text())
    return {family: Model(family=family, **values) for family, values in raw.items()}


def families() -> tuple[str, ...]:
    """Families that have coefficients."""
    return tuple(_models())


def model(family: str) -> Model:
    """The coefficients of ``family``.

    Raises
    ------
    UserError
        for a family that has none.
    """
    if family not in _models():
        raise UserError(f"no coefficients to estimate {family} with, only {', '.join(families())}; use --synth")
    return _models()[family]


def stage_resources(content: Any, family: str) -> Resources:
    """Cells that the content of a part takes on a device of ``family``, estimated."""
    return model(family).resources(features(structure(content), family))


def stage_cost(family: str) -> Callable[[Any], float]:
    """What `hdl.family.PlanRequest` minimises: lookup tables, and block RAMs and multipliers for as many as they are
    worth."""
    model(family)

    def cost(content: Any) -> float:
        cells = model(family).resources(features(structure(content), family, declared=False))
        return cells.lut + BRAM_LUTS * cells.bram + DSP_LUTS * cells.dsp

    return cost


def cost_and_capacity(target: Device) -> tuple[Callable[[Any], float] | None, Capacity | None]:
    """What `hdl.family.PlanRequest` minimises for ``target`` and has to keep to; both None, for structural counts and
    no limit, where there are no coefficients for its family."""
    if target.family not in families():
        return None, None
    return stage_cost(target.family), capacity_of(target)


def needs_of(family: str) -> Callable[[Sequence[Any]], dict[str, float]]:
    """What `hdl.capacity` asks: how much of each kind of cell the contents of parts take together."""
    model(family)

    def needs(contents: Sequence[Any]) -> dict[str, float]:
        total = sum((stage_resources(content, family) for content in contents), Resources())
        return {"LUT": total.lut, "FF": total.ff, "BRAM": total.bram, "DSP": total.dsp}

    return needs


def capacity_of(target: Device) -> Capacity:
    """What `hdl.family.PlanRequest` has to keep to on ``target``.

    Raises
    ------
    UserError
        when there are no coefficients for its family.
    """
    limits = {"LUT": target.lut, "FF": target.ff, "BRAM": target.bram, "DSP": target.dsp}
    return Capacity(device=target.name, limits=limits, needs=needs_of(target.family))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a design takes, part by part as `synth` counts them, and how good the estimate is."""

    parts: dict[str, Resources]
    model: Model

    @property
    def total(self) -> Resources:
        """Sum of the parts."""
        return sum(self.parts.values(), Resources())


def design(program: Program, plan: Envelope, target: Device) -> Estimate:
    """Estimate every part of ``program`` under ``plan``, and what joins them; control is left out.

    Raises
    ------
    UserError
        when there are no coefficients for the family of ``target``, or nothing is known of a part's structure.
    """
    own, made = model(target.family), bind(program, plan)
    parts = {part.name: stage_resources(part.content, target.family) for part in (*made.parts, *made.ends)}
    parts[INTERCONNECT] = sum((stage_resources(joint, target.family) for joint in made.between), Resources())
    return Estimate(parts=parts, model=own)
