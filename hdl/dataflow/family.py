"""The dataflow family: one stage per layer, all at work at once, joined by streams."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ...quant.program import Program
from ..family import PlanRequest
from .build import bind
from .design import DataflowDesign
from .handshake import without_handshake
from .plan import FAMILY, Plan
from .planning.alike import alike
from .planning.choices import structural_cost
from .planning.complete import complete_plan
from .planning.fold import fold
from .planning.narrow import narrowed

__all__ = ["DATAFLOW", "Dataflow"]


@dataclass(frozen=True)
class Dataflow:
    """A `family.Family`."""

    name: str = FAMILY

    def plan(self, program: Program, request: PlanRequest) -> Plan:
        """The folds of all stages, see `fold.fold`; a `UserError` where they wait and shall have no handshake."""
        plan = fold(
            program, device=request.device, clock_mhz=request.clock_mhz, lanes=request.lanes, fps=request.fps,
            fixed_weights=request.fixed_weights, fabric=request.fabric, memory=request.memory, scale=request.scale,
            structures=request.structures, cost=structural_cost if request.cost is None else request.cost,
            capacity=request.capacity, halves_above=request.halves_above,
            level_ns=request.level_ns, compress=request.compress,
        )  # fmt: skip
        plan = narrowed(program, replace(plan, control=request.control, counters=request.counters))
        if request.stream == "none":
            plan = without_handshake(plan)
            bind(program, plan)
        return plan

    def plan_from_json(self, value: Any) -> Plan:
        """The Plan that `Plan.to_json` wrote, see `plan.Plan.from_json`."""
        return Plan.from_json(value)

    def completed(self, value: Any, program: Program, request: PlanRequest) -> Plan:
        """The Plan that a person wrote in part, with the rest chosen, see `complete.complete_plan`."""
        return complete_plan(
            value, program, device=request.device, clock_mhz=request.clock_mhz, fixed_weights=request.fixed_weights
        )

    def alike(
        self, program: Program, plan: Any, like: Program, *, structures: Mapping[str, str] = MappingProxyType({})
    ) -> Plan:
        """See `alike.alike`."""
        return alike(program, plan, like, structures=structures)

    def bind(self, program: Program, plan: Any, *, prefix: str = "addax") -> DataflowDesign:
        """A pipeline of stages."""
        return DataflowDesign.bound(program, plan, prefix=prefix)


DATAFLOW = Dataflow()
