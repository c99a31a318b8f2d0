"""The register of families: by the name that ``--arch`` and Plans give them."""

from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.reading import read_json
from ...quant.program import Program
from ..dataflow.family import DATAFLOW
from ..family import Design, Envelope, Family, PlanRequest

__all__ = ["bind", "families", "family_of", "plan_from_json", "read_plan", "register"]

_FAMILIES: dict[str, Family] = {DATAFLOW.name: DATAFLOW}


def register(family: Family) -> None:
    """Make a family known, also one outside of this package, in this process.

    Raises
    ------
    ValueError
        when another one has its name.
    """
    if _FAMILIES.setdefault(family.name, family) is not family:
        raise ValueError(f"there is a family {family.name!r} already")


def families() -> tuple[str, ...]:
    """Names of those that are known."""
    return tuple(_FAMILIES)


def family_of(name: str) -> Family:
    """The family called ``name``; raises `UserError` when there is none."""
    if name not in _FAMILIES:
        raise UserError(f"unknown architecture {name!r}; known: {', '.join(_FAMILIES)}")
    return _FAMILIES[name]


def bind(program: Program, plan: Envelope, *, prefix: str = "addax") -> Design:
    """The Design of ``program`` under ``plan``, of the family that ``plan`` names.

    Parameters
    ----------
    prefix : of its modules and memory files

    Raises
    ------
    UserError
        when the Plan does not fit the Program.
    """
    return family_of(plan.family).bind(program, plan, prefix=prefix)


def plan_from_json(value: Any) -> Envelope:
    """The Plan, of any family, that `Envelope.to_json` wrote; raises `UserError` for what is none."""
    return _claiming(value, DATAFLOW.name).plan_from_json(value)


def read_plan(path: str | Path, program: Program, request: PlanRequest, *, arch: str = DATAFLOW.name) -> Envelope:
    """The Plan in a JSON file, completed for ``program``; raises `UserError` when it is missing, broken or impossible.

    Parameters
    ----------
    arch : the family of a file that names none
    """
    value = read_json(Path(path), "plan")
    return _claiming(value, arch).completed(value, program, request)


def _claiming(value: Any, other: str) -> Family:
    """The family that the JSON of a Plan names; where that is none that is known, ``other``, which says what is
    wrong."""
    name = value.get("family") if isinstance(value, dict) else None
    return _FAMILIES.get(name if isinstance(name, str) else other) or family_of(other)
