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
from ...hdl.activation.entry import entry_of
from ...hdl.dataflow.build import StageBuild, bind, readers_of
from ...hdl.dataflow.capacity import Capacity
from ...hdl.dataflow.choices import structural_cost
from ...hdl.dataflow.plan import Plan
from ...hdl.dataflow.stages import PIXELS
from ...quant.program import Program
from ..devices.devices import Device
from ..devices.resources import LUTS_PER_CARRY, Resources
from ..synth.synth import INTERCONNECT, PACKET
from .counting import Structure
from .entry_counts import entry_structure
from .features import Features, features
from .structure import joint_structure, packet_structure, structure

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

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
TARGETS = ("ff", "logic", "carry")
"""What is fitted: flip-flops; lookup tables beside those of memories, carry cells and instances; carry cells."""
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
        return {name: tuple(self.coefficients[target].get(name, 0.0) for target in TARGETS) for name in every}

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


def stage_resources(build: StageBuild, family: str) -> Resources:
    """Cells that a stage takes on a device of ``family``, estimated."""
    return model(family).resources(features(structure(build), family))


def stage_cost(family: str) -> Callable[[StageBuild], float]:
    """What `hdl.fold` minimises: lookup tables, and block RAMs and multipliers for as many as they are worth."""
    model(family)

    def cost(build: StageBuild) -> float:
        cells = stage_resources(build, family)
        return cells.lut + BRAM_LUTS * cells.bram + DSP_LUTS * cells.dsp

    return cost


def cost_and_capacity(target: Device) -> tuple[Callable[[StageBuild], float], Capacity | None]:
    """What `hdl.fold` minimises for ``target`` and has to keep to; structural counts and no limit where there are no
    coefficients for its family."""
    if target.family not in families():
        return structural_cost, None
    return stage_cost(target.family), capacity_of(target)


def needs_of(family: str) -> Callable[[Sequence[StageBuild]], dict[str, float]]:
    """What `hdl.capacity` asks: how much of each kind of cell stages take together."""
    model(family)

    def needs(builds: Sequence[StageBuild]) -> dict[str, float]:
        total = sum((stage_resources(build, family) for build in builds), Resources())
        return {"LUT": total.lut, "FF": total.ff, "BRAM": total.bram, "DSP": total.dsp}

    return needs


def capacity_of(target: Device) -> Capacity:
    """What `hdl.fold` has to keep to on ``target``.

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


def design(program: Program, plan: Plan, target: Device) -> Estimate:
    """Estimate every stage of ``program`` under ``plan``, the packet, and the input operation and what else joins them;
    control is left out.

    Raises
    ------
    UserError
        when there are no coefficients for the family of ``target``.
    """
    own = model(target.family)
    builds = bind(program, plan)
    parts = {build.stage.name: own.resources(features(structure(build), target.family)) for build in builds}
    # A raw result passes as it is.
    packet = packet_structure(program.score_format, program.classes) if program.classifies else Structure()
    parts[PACKET] = own.resources(features(packet, target.family))
    between = _joints(program, plan, builds)
    if (op := entry_of(program)) is not None:
        between.append(entry_structure(op, program.input.shape[0] * plan.pixels))
    joints = [own.resources(features(joint, target.family)) for joint in between]
    parts[INTERCONNECT] = sum(joints, Resources())
    return Estimate(parts=parts, model=own)


def _joints(program: Program, plan: Plan, builds: Sequence[StageBuild]) -> list[Structure]:
    """What stands between stages: width converters and forks."""
    counts = {PIXELS: program.input.shape[0] * plan.pixels}
    counts |= {build.stage.name: build.gather * build.out_count for build in builds}
    found = []
    readers = readers_of(builds)
    for name, have in counts.items():
        behind = readers.get(name, [])
        if len(behind) > 1:
            found.append(joint_structure(bits=1, have=1, want=1, readers=len(behind)))
        for build, port in behind:
            if port == 0:
                found.append(joint_structure(bits=build.stage.x.bits, have=have, want=build.x_count))
    last = builds[-1]
    found.append(joint_structure(bits=last.stage.y.bits, have=counts[last.stage.name], want=plan.outputs))
    return found
