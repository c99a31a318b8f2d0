"""How much of a comparison is lanes: the same designs, counted with less and with more around the lanes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..devices.resources import Resources
from .model import STATIC
from .power import Contribution, Power

__all__ = ["SCOPES", "CountedDesign", "Scope", "differing_layers", "scopes"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A part of a design.

    Attributes
    ----------
    name : what reports call it
    blocks : of `hdl.blocks.BLOCKS`; None for everything, what joins the stages included
    differing : only of the layers whose kernel differs
    """

    name: str
    blocks: tuple[str, ...] | None
    differing: bool = False

    def holds(self, stage: str, block: str, differing: frozenset[str]) -> bool:
        """Whether a block of a stage is part of it."""
        if self.differing and stage not in differing:
            return False
        return self.blocks is None or block in self.blocks


_ARRAY = ("lanes", "trees")
_ARITHMETIC = (*_ARRAY, "requantise")
_BUFFERS = (*_ARITHMETIC, "window", "queues", "control")
SCOPES = (
    Scope(name="lanes of the layers that differ", blocks=("lanes",), differing=True),
    Scope(name="lanes and trees of the layers that differ", blocks=_ARRAY, differing=True),
    Scope(name="the layers that differ, whole", blocks=None, differing=True),
    Scope(name="lanes and trees of all layers", blocks=_ARRAY),
    Scope(name="and requantise", blocks=_ARITHMETIC),
    Scope(name="and windows, queues, control", blocks=_BUFFERS),
    Scope(name="whole accelerator, with weights", blocks=None),
)
"""Scopes from the narrowest, which is what papers count, to the whole accelerator."""


@dataclass(frozen=True, kw_only=True)
class CountedDesign:
    """What is counted of one design.

    Attributes
    ----------
    kinds : kernel of every layer
    blocks : cells per stage and block, see `synth.Synthesis`
    power : None where none was modelled
    """

    kinds: Mapping[str, str]
    blocks: Mapping[str, Mapping[str, Resources]]
    power: Power | None = None


def differing_layers(designs: Sequence[CountedDesign]) -> frozenset[str]:
    """Layers that have not the same kernel in all ``designs``."""
    return frozenset(name for name in designs[0].kinds if len({design.kinds.get(name) for design in designs}) > 1)


def scopes(
    design: CountedDesign, base: CountedDesign, differing: frozenset[str], among: Sequence[Scope] = SCOPES
) -> list[dict[str, Any]]:
    """``design`` beside ``base``, scope by scope: lookup tables, multiplier blocks and dynamic power, and by what share
    they differ (-0.7 is 70 % less). There are no shares of nothing: they are None.

    Parameters
    ----------
    differing : see `differing_layers`
    """
    rows = []
    for scope in among:
        one, other = (_measure(own, scope, differing) for own in (design, base))
        row: dict[str, Any] = {"scope": scope.name}
        for key, value in one.items():
            row[key] = value
            row[f"{key}_change"] = value / other[key] - 1 if value is not None and other[key] else None
        rows.append(row)
    return rows


def _measure(design: CountedDesign, scope: Scope, differing: frozenset[str]) -> dict[str, Any]:
    cells = sum(
        (own for stage, blocks in design.blocks.items() for block, own in blocks.items()
         if scope.holds(stage, block, differing)),
        Resources(),
    )  # fmt: skip

    def inside(contribution: Contribution) -> bool:
        """All that comes with the clock; its tree is of the whole accelerator and of nothing less."""
        own = scope.holds(contribution.stage, contribution.block, differing)
        return contribution.coefficient != STATIC and own

    power = design.power.of(inside)[0] if design.power else None
    return {"lut": cells.lut, "ff": cells.ff, "dsp": cells.dsp, "power_mw": power}
