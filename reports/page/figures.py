"""The figures of a report: numbers with unit, and with the tool and version that they come from."""

from collections.abc import Mapping
from importlib.metadata import version as package_version
from typing import Any

from ...hdl.folder.build import Build
from ..devices.devices import Device
from ..estimate.estimate import Estimate
from ..power.power import NOTE, Power
from ..synth.synth import Synthesis
from .measure import Measured

__all__ = ["Figures", "add_measured", "figures_of"]


class Figures:
    """Numbers with unit, tool and version."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, tool: str, version: str) -> None:
        """One more figure, behind the others."""
        self.items.append({"name": name, "value": value, "unit": unit, "tool": tool, "version": version})

    def tools(self) -> dict[str, str]:
        """The version of every tool that gave a figure."""
        return {item["tool"]: item["version"] for item in self.items}


def figures_of(
    build: Build, target: Device, measured: Measured, extra: Mapping[str, tuple[float, str, str, str]]
) -> Figures:
    """The figures of ``build``: pace and size, then those of ``extra``, then what was ``measured``."""
    timing, addax = build.schedule, f"addax {package_version('addax')}"
    figures = Figures()
    by_cycles = ("cycle model", addax)
    figures.add("cycles_per_image", timing.interval, "cycles", *by_cycles)
    figures.add("cycles_first_image", timing.latency, "cycles", *by_cycles)
    figures.add("images_per_second", build.plan.clock_mhz * 1e6 / timing.interval, "1/s", *by_cycles)
    figures.add("lanes", timing.lanes, "lanes", *by_cycles)
    figures.add("macs", build.program.macs(), "products per image", *by_cycles)
    figures.add("parameters", build.program.parameters(), "weights", *by_cycles)
    for name, (value, unit, tool, version) in extra.items():
        figures.add(name, value, unit, tool, version)
    add_measured(figures, target, measured, addax=addax)
    return figures


def add_measured(figures: Figures, target: Device, measured: Measured, *, addax: str) -> None:
    """The figures of what tools ``measured`` or an estimate counted; ``addax`` is its own version."""
    if measured.synthesis is not None:
        _add_synthesis(figures, measured.synthesis, target)
    if measured.estimate is not None:
        _add_estimate(figures, measured.estimate, target, note=measured.note, addax=addax)
    if (placement := measured.placement) is not None:
        figures.add("fmax_mhz", placement.fmax_mhz, "MHz", placement.tool, placement.version)
    if measured.power is not None:
        _add_power(figures, measured.power, addax=addax)


def _add_synthesis(figures: Figures, synthesis: Synthesis, target: Device) -> None:
    by = (synthesis.tool, synthesis.version)
    for key in vars(synthesis.total):
        figures.add(key, getattr(synthesis.total, key), getattr(target.units, key), *by)
    if synthesis.paired is not None:
        unit = f"{target.units.lut}, small functions paired"
        figures.add("lut_paired", sum(synthesis.paired.values()), unit, *by)


def _add_estimate(figures: Figures, estimate: Estimate, target: Device, *, note: str | None, addax: str) -> None:
    by = (f"estimate ({note})", f"{addax}, fitted to {estimate.model.tool}")
    for key in vars(estimate.total):
        figures.add(key, getattr(estimate.total, key), getattr(target.units, key), *by)


def _add_power(figures: Figures, power: Power, *, addax: str) -> None:
    by = (f"power model ({NOTE})", f"{addax}, {_simulator()}")
    figures.add("power_static_mw", power.static_mw, "mW", *by)
    figures.add("power_dynamic_mw", power.dynamic_mw, "mW", *by)
    figures.add("power_total_mw", power.total_mw, "mW", *by)
    figures.add("energy_per_image_uj", power.energy_per_image_uj, "uJ", *by)


def _simulator() -> str:
    # The simulator's modules take as long to import as all the rest of an estimate.
    from ...sim.cosim import simulator_name

    return simulator_name()
