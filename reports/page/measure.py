"""What a report measures of a BUILD, or estimates where nothing is to be measured."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...hdl.folder.build import Build
from ..devices.devices import Device
from ..devices.resources import Resources
from ..estimate.estimate import Estimate, design
from ..power.model import power_model
from ..power.power import Power, estimate_power
from ..synth.place import Placement, place, placer
from ..synth.synth import Synthesis, synthesise

if TYPE_CHECKING:
    from ...sim.activity import Activity

__all__ = ["Measured", "measure"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of the tools, each None where it was not asked for.

    Attributes
    ----------
    estimate : instead of a synthesis; None as well where this design has none
    note : how good the estimate is, or why there is none; None beside a synthesis
    """

    synthesis: Synthesis | None = None
    placement: Placement | None = None
    power: Power | None = None
    estimate: Estimate | None = None
    note: str | None = None

    @property
    def counted(self) -> Synthesis | Estimate | None:
        """The synthesis or, without one, the estimate from which the numbers of cells come; None where there is
        neither."""
        return self.synthesis or self.estimate

    @property
    def total(self) -> Resources | None:
        """Cells of the whole design; None where neither a synthesis nor an estimate counts them."""
        return self.counted.total if self.counted else None


def measure(
    build: Build,
    target: Device,
    *,
    synth: bool,
    placed: bool,
    power_images: NDArray[np.integer] | None,
    saif: Path | None,
    seeds: int,
    step: Callable[[str], None],
) -> Measured:
    """Run the tools that are asked for on ``build``; parameters as in `report.make_report`.

    Whatever can refuse comes first: a device without place and route or without a power model, a broken activity file.
    """
    if placed:
        placer(target)
    wants_power = power_images is not None or saif is not None
    model = power_model(target) if wants_power else None
    activity = _recorded(build, saif) if saif is not None else None
    if not (synth or placed or wants_power):
        estimate, note = _estimate(build, target)
        return Measured(estimate=estimate, note=note)
    step("synthesis")
    synthesis = synthesise(build, target, progress=lambda done, of: step(f"synthesis, {done} of {of} parts"))
    placement: Placement | None = None
    if placed:
        step("place and route" if seeds == 1 else f"place and route, 0 of {seeds} seeds")
        placement = place(
            build, synthesis, target, clock_mhz=build.plan.clock_mhz, seeds=seeds,
            progress=lambda done: step(f"place and route, {done} of {seeds} seeds"),
        )  # fmt: skip
    power: Power | None = None
    if model is not None:
        if activity is None and power_images is not None:
            step("switching activity")
            activity = _simulated(build, power_images)
        assert activity is not None
        power = estimate_power(
            activity, synthesis.blocks, model,
            instances={part.name: part.instance for part in (*build.design.parts, *build.design.ends)},
            family=target.family, clock_mhz=build.plan.clock_mhz, interval=build.schedule.interval,
            operations=build.program.macs(),
        )  # fmt: skip
    return Measured(synthesis=synthesis, placement=placement, power=power)


def _estimate(build: Build, target: Device) -> tuple[Estimate | None, str | None]:
    """What ``build`` takes without synthesis, and how good that is, or why there is none."""
    try:
        found = design(build.program, build.plan, target)
    except UserError as error:
        return None, str(error)
    without = "" if build.plan.control == "none" else "; without the registers of control"
    return found, found.model.note + without


# The simulator's modules take as long to import as all the rest of an estimate, so they come when they are needed.


def _recorded(build: Build, saif: Path) -> "Activity":
    from ...sim.activity import activity_of

    return activity_of(build, saif)


def _simulated(build: Build, images: NDArray[np.integer]) -> "Activity":
    from ...sim.activity import measure_activity

    return measure_activity(build, images)
