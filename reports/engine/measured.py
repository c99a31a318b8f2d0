"""What tools count of an engine, and the power of it while it runs a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...hdl.engine.compile.image import Compiled
from ...hdl.engine.cycles.model import EngineCycles
from ...hdl.folder.engine import EngineBuild
from ..devices.devices import Device
from ..page.measure import Measured
from ..power.model import PowerModel, power_model
from ..power.power import Power, estimate_power
from ..synth.place import place_parts, placer
from ..synth.synth import Synthesis, map_parts
from .estimate import estimate_engine
from .parts import EngineOwners, blocks_by_part, engine_parts

if TYPE_CHECKING:
    from ...sim.activity import Activity

__all__ = ["PowerRun", "measure_engine"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerRun:
    """Whose toggles are counted for a model of power.

    Attributes
    ----------
    image, cycles : an image for the engine, and what is predicted of it
    pixels : (N, C, H, W) images that it runs; None with a file
    saif : activity file of a simulation by other means, instead of ``pixels``
    """

    image: Compiled
    cycles: EngineCycles
    pixels: NDArray[np.integer] | None = None
    saif: Path | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.saif is None):
            raise ValueError("either images or an activity file")

    def activity(self, build: EngineBuild) -> "Activity":
        """The toggles; raises `UserError` for a broken or foreign file, and when a run hangs."""
        # The simulator's modules take as long to import as all the rest of a report.
        from ...sim.engine_activity import engine_activity_of, measure_engine_activity

        if self.saif is not None:
            return engine_activity_of(self.saif)
        assert self.pixels is not None
        return measure_engine_activity(build, self.image, self.pixels)


def measure_engine(
    build: EngineBuild, target: Device, *, synth: bool, placed: bool, seeds: int, power: PowerRun | None,
    step: Callable[[str], None],
) -> Measured:  # fmt: skip
    """Run the tools that are asked for on ``build``; parameters as in `report.make_engine_report`.

    Whatever can refuse comes first: a device without place and route or without a power model, a broken activity file.
    """
    if placed:
        placer(target)
    model = None if power is None else power_model(target)
    recorded = power.activity(build) if power is not None and power.saif is not None else None
    if not (synth or placed or power is not None):
        step("estimate")
        return _estimated(build, target)
    step("synthesis")
    synthesis = map_parts(
        engine_parts(build), build.path, target, progress=lambda done, of: step(f"synthesis, {done} of {of} parts")
    )
    placement = None
    if placed:
        step("place and route" if seeds == 1 else f"place and route, 0 of {seeds} seeds")
        placement = place_parts(
            synthesis, target, top=build.prefix, owners=EngineOwners.of(build), clock_mhz=build.plan.clock_mhz,
            seeds=seeds, progress=lambda done: step(f"place and route, {done} of {seeds} seeds"),
        )  # fmt: skip
    modelled = None
    if power is not None and model is not None:
        if recorded is None:
            step("switching activity")
            recorded = power.activity(build)
        modelled = _modelled(build, target, power, synthesis, recorded, model)
    return Measured(synthesis=synthesis, placement=placement, power=modelled)


def _estimated(build: EngineBuild, target: Device) -> Measured:
    """What ``build`` takes without synthesis, or why that is not known."""
    try:
        found = estimate_engine(build, target)
    except UserError as error:
        return Measured(note=str(error))
    return Measured(estimate=found, note=found.model.note)


def _modelled(
    build: EngineBuild, target: Device, run: PowerRun, synthesis: Synthesis, activity: "Activity", model: PowerModel
) -> Power:
    """Power while image follows image without a pause; that of the memory outside is not in it."""
    parts = blocks_by_part(synthesis, build)
    return estimate_power(
        activity, parts, model, instances={part: part for part in parts}, family=target.family,
        clock_mhz=build.plan.clock_mhz, interval=run.cycles.total, operations=run.image.network.program.macs(),
    )  # fmt: skip
