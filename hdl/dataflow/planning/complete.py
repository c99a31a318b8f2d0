"""Plans that a person wrote: what they leave out is chosen as folding would, what they say stays."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ....common.errors import UserError
from ....common.reading import read_json
from ....quant.program import Program
from ..build import bind, default_stage_plan
from ..handshake import without_handshake
from ..kinds.constant import reach_at
from ..plan import Plan, StagePlan, check_keys
from ..stages import Stage, stages_of
from .queues import with_queues

__all__ = ["complete_plan", "read_plan"]

_FOLD = ("pe", "simd", "taps", "lines", "blocks")


def read_plan(
    path: str | Path, program: Program, *, device: str, clock_mhz: float, fixed_weights: bool = False
) -> Plan:
    """The Plan in a JSON file, completed for ``program``; raises `UserError` as `complete_plan`, and when the file is
    missing or broken."""
    value = read_json(Path(path), "plan")
    return complete_plan(value, program, device=device, clock_mhz=clock_mhz, fixed_weights=fixed_weights)


def complete_plan(
    value: Any, program: Program, *, device: str, clock_mhz: float, fixed_weights: bool = False
) -> Plan:  # fmt: skip
    """The Plan of ``program`` that ``value`` describes, with what it leaves out.

    Stages that are left out compute one product at a time. A stage that is there may leave out everything but its name:
    its fold is then 1, its requantisers and rows are the fewest that cost no cycle, its queues as deep as the rhythms
    of the stages ask for.

    Parameters
    ----------
    value : JSON of a Plan, whole or in part
    device, clock_mhz, fixed_weights : where ``value`` does not say them

    Raises
    ------
    UserError
        for unknown keys, impossible values, stages that ``program`` does not have, folds that do not fit it.
    """
    rest = {"family": "dataflow", "device": device, "clock_mhz": clock_mhz, "fixed_weights": fixed_weights}
    check_keys(value, Plan, "the plan")
    whole = {**rest, "stages": [], **value}
    entries = _by_name(whole["stages"])
    try:
        outline = Plan(**{**whole, "stages": ()})
    except (TypeError, ValueError) as error:
        raise UserError(f"not a plan: {error}") from error
    stages = stages_of(program, fixed_weights=outline.fixed_weights)
    names = [stage.name for stage in stages]
    if unknown := [name for name in entries if name not in names]:
        raise UserError(f"the plan is for a stage {unknown[0]!r}, but the program has {', '.join(names)}")
    if all(_is_whole(stage, entries.get(stage.name)) for stage in stages):
        return Plan.from_json({**whole, "stages": [entries[name] for name in names]})
    reach = reach_at(outline.clock_mhz)
    drafts = tuple(_drafted(stage, entries.get(stage.name, {}), reach) for stage in stages)
    plan = replace(outline, stages=drafts, stream="axi")
    deep = with_queues(bind(program, plan), program, pixels=plan.pixels, outputs=plan.outputs)
    plan = replace(plan, stages=deep)
    if outline.stream == "none":
        plan = without_handshake(plan)
    return replace(plan, stages=tuple(_overlaid(made, entries.get(made.name, {})) for made in plan.stages))


def _by_name(stages: Any) -> dict[str, Mapping[str, Any]]:
    """What a plan says of each stage."""
    if not isinstance(stages, list | tuple):
        raise UserError(f"not a plan: stages must be a list, not {stages!r}")
    found: dict[str, Mapping[str, Any]] = {}
    for entry in stages:
        check_keys(entry, StagePlan, "a stage")
        name = entry.get("name")
        if not isinstance(name, str):
            raise UserError(f"not a plan: a stage lacks its name: {dict(entry)!r}")
        if name in found:
            raise UserError(f"not a plan: stage {name!r} is there twice")
        found[name] = entry
    return found


def _is_whole(stage: Stage, entry: Mapping[str, Any] | None) -> bool:
    """Whether nothing is left to choose."""
    needed = {"pe", "simd", "taps", "requantisers", "rows", "queue"}
    needed |= {"residual"} if stage.residual is not None else set()
    needed |= {"joins"} if stage.joined else set()
    return entry is not None and needed <= set(entry)


def _drafted(stage: Stage, entry: Mapping[str, Any], reach: int) -> StagePlan:
    """The plan of a stage, without the depths of its queues; of a circuit of constants with ``reach`` levels between
    two ranks."""
    least = default_stage_plan(stage, pe=1, simd=1, taps=1)
    given = _overlaid(least, entry)
    fold = {key: getattr(given, key) for key in _FOLD}
    try:
        chosen = default_stage_plan(stage, **fold)
    except (StopIteration, ZeroDivisionError, ValueError):
        return given  # a fold that is not possible, which `bind` says in words
    return _overlaid(replace(chosen, reach=reach) if chosen.reach else chosen, entry)


def _overlaid(made: StagePlan, entry: Mapping[str, Any]) -> StagePlan:
    try:
        return StagePlan(**{**asdict(made), **entry})
    except (TypeError, ValueError) as error:
        raise UserError(f"not a plan: {error}") from error
