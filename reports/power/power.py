"""Power of a synthesised design: events seen in simulation times what an event costs. Modelled, not measured.

Synthesis says how many nets, registers, block RAMs and multipliers each block of each stage has (`synth`), simulation
of real images how often nets of that block toggle (`sim.activity`), and `power_model` what a toggle, an access or a
product costs. The result is linear in every coefficient but the voltage, so it is kept as a sum of contributions, each
of which knows its coefficient: bands and sensitivities are other weights in the same sum.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...hdl.blocks import BLOCKS
from ...sim.activity import Activity, Toggles
from ..devices.resources import Resources
from ..synth.synth import INTERCONNECT
from .model import CLOCK_TREE, ENDS, STATIC, VOLTAGE, PowerModel

__all__ = ["CATEGORIES", "NOTE", "Contribution", "Power", "Saving", "estimate_power", "saving"]

NOTE = (
    "modelled: cells of each block by synthesis, toggles by simulation without delays, energies per event assumed; "
    "the low and high ends have all energies at the ends of their bands"
)
CLOCK, STATIC_CATEGORY = "registers and clock", "static"
CATEGORIES = (*BLOCKS, INTERCONNECT, CLOCK, STATIC_CATEGORY)
RANDOM = 0.5
"""Toggles of a random bit in a cycle: what the energy of a multiplier block is given for."""
CARRIES = {"ecp5": 2, "xc7": 4, "xcup": 8, "ice40": 1}
"""Carries that a carry cell of a family makes."""


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """Average power of one kind of event in one stage.

    Attributes
    ----------
    stage : a part of the design or `INTERCONNECT`, as `synth.Synthesis` has them; "" for what belongs to the whole
        device
    block : of `hdl.blocks.BLOCKS`, or of an engine; "" where there are none
    category : the block, but for what all registers take; one of `CATEGORIES`, or a block of an engine
    coefficient : to which it is proportional
    """

    stage: str
    block: str
    category: str
    coefficient: str
    mw: float


@dataclass(frozen=True, kw_only=True)
class Power:
    """Average power at a clock while images follow each other without a pause.

    Attributes
    ----------
    contributions : which sum up to it
    clock_mhz, interval : the clock, and cycles per image
    operations : products or distances per image; 0 in a network that only moves and compares features
    images, cycles : whose simulation gave the activity, and how long it took; images are None where an activity file
        did not say
    """

    contributions: tuple[Contribution, ...]
    model: PowerModel
    clock_mhz: float
    interval: int
    operations: int
    images: int | None
    cycles: int

    def total(self, factor: Callable[[str], float] = lambda coefficient: 1.0) -> float:
        """mW, with every coefficient changed by the factor that ``factor`` gives for its name."""
        return sum(c.mw * factor(c.coefficient) for c in self.contributions)

    @property
    def total_mw(self) -> float:
        """Static and dynamic."""
        return self.total()

    @property
    def static_mw(self) -> float:
        """What the device takes at rest."""
        return sum(c.mw for c in self.contributions if c.coefficient == STATIC)

    @property
    def dynamic_mw(self) -> float:
        """All that comes with the clock."""
        return self.total_mw - self.static_mw

    @property
    def energy_per_image_uj(self) -> float:
        """Energy of the whole device per image, uJ, while images follow each other without a pause."""
        return self._energy(self.total_mw)

    def of(self, chosen: Callable[[Contribution], bool]) -> tuple[float, float, float]:
        """Nominal, low and high sum of the contributions that ``chosen`` chooses, mW."""
        own = [(c.mw, self.model.span(c.coefficient)) for c in self.contributions if chosen(c)]
        return sum(mw for mw, _ in own), sum(mw * span[0] for mw, span in own), sum(mw * span[1] for mw, span in own)

    def coefficients(self) -> tuple[str, ...]:
        """Names of those that something depends on; the voltage last, on which all capacitances do."""
        return (*self.by_coefficient(), VOLTAGE)

    def by_coefficient(self) -> dict[str, float]:
        """Nominal mW of everything that is proportional to a coefficient, by its name."""
        found: dict[str, float] = {}
        for c in self.contributions:
            found[c.coefficient] = found.get(c.coefficient, 0.0) + c.mw
        return found

    def categories(self) -> tuple[str, ...]:
        """Those that something is in: `BLOCKS`, then what only this design has, then the rest of `CATEGORIES`."""
        found = dict.fromkeys(c.category for c in self.contributions)
        own = [name for name in found if name not in CATEGORIES]
        return tuple(name for name in (*BLOCKS, *own, *CATEGORIES[len(BLOCKS) :]) if name in found)

    def to_json(self) -> dict[str, Any]:
        """For ``report.json``: totals with bands, by category, by stage, and at the ends of each coefficient's band."""
        mw, low, high = self.of(lambda c: True)
        dynamic = self.of(lambda c: c.coefficient != STATIC)
        return {
            "clock_mhz": self.clock_mhz,
            "images": self.images,
            "cycles": self.cycles,
            "operations_per_image": self.operations,
            "note": NOTE,
            "total": {"mw": mw, "low_mw": low, "high_mw": high},
            "dynamic": dict(zip(("mw", "low_mw", "high_mw"), dynamic, strict=True)),
            "categories": [
                {"name": name, **dict(zip(("mw", "low_mw", "high_mw"), own, strict=True))}
                for name in self.categories()
                if (own := self.of(lambda c, name=name: c.category == name))[0]  # type: ignore[misc]
            ],
            "stages": [self._stage(name) for name in dict.fromkeys(c.stage for c in self.contributions) if name],
            "energy_per_image_uj": self._band(self._energy),
            "energy_per_operation_pj": self._band(lambda mw: self._energy(mw) * 1e6 / self.operations)
            if self.operations
            else None,
            "sensitivity": [self._sensitivity(name) for name in self.coefficients()],
            "voltage": self.model.value(VOLTAGE),
        }

    def _energy(self, mw: float) -> float:
        return mw * self.interval / (self.clock_mhz * 1e6) * 1000

    def _band(self, of: Callable[[float], float]) -> dict[str, float]:
        return dict(zip(("value", "low", "high"), map(of, self.of(lambda c: True)), strict=True))

    def _stage(self, stage: str) -> dict[str, Any]:
        own = [c for c in self.contributions if c.stage == stage]
        categories = {
            name: sum(c.mw for c in own if c.category == name) for name in dict.fromkeys(c.category for c in own)
        }
        return {"name": stage, "mw": sum(c.mw for c in own), "categories": categories}

    def _sensitivity(self, name: str) -> dict[str, Any]:
        own = self.model.coefficients[name]
        low, high = (self.total(lambda c, ends={name: end}: self.model.factor(c, ends)) for end in ENDS)  # type: ignore[misc]
        return {
            "coefficient": name, "unit": own.unit, "value": own.value, "low": own.low, "high": own.high,
            "source": own.source, "total_low_mw": low, "total_high_mw": high,
        }  # fmt: skip


def estimate_power(
    activity: Activity, blocks: Mapping[str, Mapping[str, Resources]], model: PowerModel, *,
    instances: Mapping[str, str], family: str, clock_mhz: float, interval: int, operations: int,
) -> Power:  # fmt: skip
    """Power of a design whose cells ``blocks`` gives, part by part and block by block, see `synth.Synthesis`.

    A net takes ``C V^2 / 2`` per toggle, a flip-flop's clock pin ``C V^2`` per cycle, a block RAM its energy per access
    in every cycle, for none of ours rests, and a multiplier block its energy per product as far as its operands are as
    lively as random ones. The tree of the clock takes its energy in every cycle, whatever hangs on it. Toggles are
    those of an image, whatever pauses the simulation had between images.

    Parameters
    ----------
    instances : under which name ``activity`` has each part but `INTERCONNECT`, which is all the others together
    family : of devices
    interval : cycles per image in the steady state
    operations : products or distances per image
    """
    cycles = activity.cycles if activity.images is None else activity.images * interval
    found: list[Contribution] = []
    for part, own in blocks.items():
        for block, cells in own.items():
            rate = _rate(activity, instances, part, block).rate(cycles)
            category = block or INTERCONNECT
            for coefficient, mw in _events(cells, rate, model, family, clock_mhz).items():
                where = CLOCK if coefficient in ("register_pf", "clock_pf_per_ff") else category
                found.append(Contribution(stage=part, block=block, category=where, coefficient=coefficient, mw=mw))
    whole = {"stage": "", "block": ""}
    tree = Contribution(**whole, category=CLOCK, coefficient=CLOCK_TREE, mw=model.clock_tree_pj * clock_mhz / 1000)
    rest = Contribution(**whole, category=STATIC_CATEGORY, coefficient=STATIC, mw=model.value(STATIC))
    return Power(
        contributions=(*(c for c in found if c.mw), tree, rest), model=model, clock_mhz=clock_mhz, interval=interval,
        operations=operations, images=activity.images,
        cycles=activity.cycles,
    )  # fmt: skip


def _rate(activity: Activity, instances: Mapping[str, str], part: str, block: str) -> Toggles:
    """Toggles of a block; where simulation has no net of it, those of all its part."""
    if part == INTERCONNECT:
        wanted: Sequence[str] = [name for name in activity.parts if name not in instances.values()]
    else:
        wanted = [instances[part]]
    there = [toggles for name in wanted for toggles in (activity.parts.get(name) or {}).items()]
    of_block = [toggles for name, toggles in there if name == block]
    among = of_block or [toggles for _, toggles in there]
    return Toggles(toggles=sum(t.toggles for t in among), nets=sum(t.nets for t in among))


def _events(cells: Resources, rate: float, model: PowerModel, family: str, mhz: float) -> dict[str, float]:
    """mW by coefficient: pF x V^2 x MHz is uW, and so is pJ x MHz."""
    square = model.value(VOLTAGE) ** 2
    per_cycle = {
        "logic_pf": cells.lut * rate * square / 2,
        "register_pf": cells.ff * rate * square / 2,
        "carry_pf": CARRIES[family] * cells.carry * rate * square / 2,
        "clock_pf_per_ff": cells.ff * square,
        "bram_pj": cells.bram,
        "dsp_pj": cells.dsp * rate / RANDOM,
    }
    return {name: events * model.value(name) * mhz / 1000 for name, events in per_cycle.items()}


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What one design saves against another, as a share of the other's power.

    Attributes
    ----------
    total, dynamic : with every coefficient at its nominal value
    worst, best : of the dynamic power, with every coefficient at the end of its own band that is worst or best for the
        saving, all at once
    keeps_sign : whether worst and best are savings both, or losses both
    flips : coefficients that alone, somewhere in their band, turn a saving into a loss or the other way round
    """

    total: float
    dynamic: float
    worst: float
    best: float
    flips: tuple[str, ...]

    @property
    def keeps_sign(self) -> bool:
        """Whether no combination of coefficients in their bands turns it round."""
        return self.worst * self.best > 0


def saving(power: Power, against: Power) -> Saving:
    """What ``power`` saves of ``against``. Both change with the same coefficient at the same time: the devices are the
    same. A ratio of two sums is largest and smallest at ends of the coefficients' bands, which are few enough to try.

    Raises
    ------
    ValueError
        where the two are of different devices.
    """
    if power.model != against.model:
        raise ValueError("savings are those of two designs on one device")
    model, nothing = power.model, dict[str, str]()
    one, other = power.by_coefficient(), against.by_coefficient()
    dynamic = [name for name in {**one, **other} if name != STATIC]

    def share(ends: Mapping[str, str], names: Sequence[str]) -> float:
        mine, theirs = (sum(own.get(name, 0.0) * model.factor(name, ends) for name in names) for own in (one, other))
        return 1 - mine / theirs

    varied = [*dynamic, VOLTAGE]
    corners = [dict(zip(varied, ends, strict=True)) for ends in itertools.product(ENDS, repeat=len(varied))]
    shares = [share(ends, dynamic) for ends in corners]
    nominal = share(nothing, dynamic)
    flips = tuple(name for name in varied if any(share({name: end}, dynamic) * nominal < 0 for end in ENDS))
    return Saving(
        total=share(nothing, [*dynamic, STATIC]), dynamic=nominal, worst=min(shares), best=max(shares), flips=flips
    )
