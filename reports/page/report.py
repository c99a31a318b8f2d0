"""The report of a BUILD: one JSON file in which every number carries unit, tool and version, one HTML file to read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.files import atomic_directory, write_json, write_text
from ...hdl.family import Layer
from ...hdl.folder.build import Build
from ...hdl.timing import Schedule
from ..devices.devices import Device, device
from ..devices.resources import Resources
from ..estimate.estimate import Estimate, design
from ..power.asic45 import lanes_energy
from ..power.model import power_model
from ..power.power import NOTE, Power, estimate_power
from ..synth.place import Placement, place, placer
from ..synth.synth import INTERCONNECT, Synthesis, synthesise
from ..tools.provenance import provenance
from .drawing import begin_drawing
from .pages import report_page
from .sections import device_shares, roofline, timeline

if TYPE_CHECKING:
    from ...sim.activity import Activity

__all__ = ["KIND", "POWER_IMAGES", "Report", "make_report"]

KIND = "report"
POWER_IMAGES = 8
"""Whose simulation gives the switching activity, where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished report.

    Attributes
    ----------
    keys : the flat values that scripts read
    html, json : the files
    synthesis, placement, power : what was measured or modelled, None where it was not asked for
    """

    keys: dict[str, Any]
    html: Path
    json: Path
    synthesis: Synthesis | None = None
    placement: Placement | None = None
    power: Power | None = None

    @property
    def power_band_mw(self) -> tuple[float, float] | None:
        """Low and high end of the total power; None where there is none."""
        return None if self.power is None else self.power.of(lambda c: True)[1:]


def make_report(
    build: Build,
    out: str | Path,
    *,
    synth: bool = False,
    placed: bool = False,
    power_images: NDArray[np.uint8] | None = None,
    saif: Path | None = None,
    seeds: int = 1,
    extra: dict[str, Any] | None = None,
    command: str = "",
    step: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure ``build``, or estimate it, and write ``report.json`` and ``report.html`` into the folder ``out``.

    Parameters
    ----------
    synth, placed : run synthesis; place and route as well
    power_images : (N, C, H, W) images whose simulation gives the switching activity; no power figures when None
    saif : activity file of a simulation of this BUILD by other means, instead of ``power_images``
    extra : further figures to show, such as accuracies: name to (value, unit, tool, version)
    step : told what begins
    """
    out, target = Path(out), device(build.plan.device)
    timing, layers = build.schedule, build.design.layers
    ends = [part.name for part in build.design.ends]
    pace = {
        "timeline": timeline(timing, build.plan.clock_mhz),
        "roofline": roofline(
            layers, build.program, timing, clock_mhz=build.plan.clock_mhz,
            pixels=build.design.interface.pixels,
        ),
    }  # fmt: skip
    charts = begin_drawing(pace)
    synthesis: Synthesis | None = None
    placement: Placement | None = None
    power: Power | None = None
    if placed:
        placer(target)
    wants_power = power_images is not None or saif is not None
    model = power_model(target) if wants_power else None
    activity = _recorded(build, saif) if saif is not None else None
    if synth or placed or wants_power:
        step("synthesis")
        synthesis = synthesise(
            build, target, progress=lambda done, of: step(f"synthesis, {done} of {of} parts")
        )  # fmt: skip
    if placed and synthesis is not None:
        step("place and route" if seeds == 1 else f"place and route, 0 of {seeds} seeds")
        placement = place(
            build, synthesis, target, clock_mhz=build.plan.clock_mhz, seeds=seeds,
            progress=lambda done: step(f"place and route, {done} of {seeds} seeds"),
        )  # fmt: skip
    if model is not None and synthesis is not None:
        if activity is None and power_images is not None:
            step("switching activity")
            activity = _simulated(build, power_images)
        assert activity is not None
        power = estimate_power(
            activity, synthesis.blocks, model, family=target.family, clock_mhz=build.plan.clock_mhz,
            interval=timing.interval, operations=build.program.macs(),
        )  # fmt: skip

    estimate, note = (None, None) if synthesis is not None else _estimate(build, target)
    counted = synthesis or estimate

    addax = f"addax {package_version('addax')}"
    figures = _Figures()
    by_cycles = ("cycle model", addax)
    figures.add("cycles_per_image", timing.interval, "cycles", *by_cycles)
    figures.add("cycles_first_image", timing.latency, "cycles", *by_cycles)
    figures.add("images_per_second", build.plan.clock_mhz * 1e6 / timing.interval, "1/s", *by_cycles)
    figures.add("lanes", timing.lanes, "lanes", *by_cycles)
    figures.add("macs", build.program.macs(), "products per image", *by_cycles)
    figures.add("parameters", build.program.parameters(), "weights", *by_cycles)
    for name, (value, unit, tool, version) in (extra or {}).items():
        figures.add(name, value, unit, tool, version)
    if synthesis is not None:
        by = (synthesis.tool, synthesis.version)
        for key in vars(synthesis.total):
            figures.add(key, getattr(synthesis.total, key), getattr(target.units, key), *by)
        if synthesis.paired is not None:
            unit = f"{target.units.lut}, small functions paired"
            figures.add("lut_paired", sum(synthesis.paired.values()), unit, *by)
    if estimate is not None:
        for key in vars(estimate.total):
            by = (f"estimate ({note})", f"{addax}, fitted to {estimate.model.tool}")
            figures.add(key, getattr(estimate.total, key), getattr(target.units, key), *by)
    if placement is not None:
        figures.add("fmax_mhz", placement.fmax_mhz, "MHz", placement.tool, placement.version)
    if power is not None:
        by = (f"power model ({NOTE})", f"{addax}, {_simulator()}")
        figures.add("power_static_mw", power.static_mw, "mW", *by)
        figures.add("power_dynamic_mw", power.dynamic_mw, "mW", *by)
        figures.add("power_total_mw", power.total_mw, "mW", *by)
        figures.add("energy_per_image_uj", power.energy_per_image_uj, "uJ", *by)

    total = counted.total if counted else None
    told = {**power.to_json(), "asic45_uj": lanes_energy(layers)} if power else None
    keys: dict[str, Any] = {
        "device": target.name,
        "source": "placed" if placement else "synthesized" if synthesis else "estimated",
        **{key: getattr(total, key) if total else None for key in ("lut", "ff", "bram", "dsp", "carry")},
        "lut_paired": sum(synthesis.paired.values()) if synthesis and synthesis.paired else None,
        "bram_unit": target.units.bram,
        "estimate_note": note,
        "estimate_error": dict(estimate.model.error) if estimate else None,
        "fmax_mhz": placement.fmax_mhz if placement else None,
        "power_mw": {"static": power.static_mw, "dynamic": power.dynamic_mw, "total": power.total_mw}
        if power
        else {"static": None, "dynamic": None, "total": None},
        "energy_per_image_uj": power.energy_per_image_uj if power else None,
        "cycles_per_image": timing.interval,
        "cycles_first_image": timing.latency,
        "images_per_second": build.plan.clock_mhz * 1e6 / timing.interval,
        "clock_mhz": build.plan.clock_mhz,
        "lanes": timing.lanes,
        "tools": figures.tools(),
        "report": str(out / "report.html"),
    }
    document = {
        **keys,
        "figures": figures.items,
        "stages": _stages(layers, timing, counted, told),
        "between_stages": {name: _cells(counted, name) for name in (*ends, INTERCONNECT)} if counted else None,
        "seeds_mhz": list(placement.seeds_mhz) if placement else None,
        "critical_path": [piece.to_json() for piece in placement.critical_path] if placement else None,
        "utilisation": placement.used if placement else None,
        "power_note": NOTE if power else None,
        "power": told,
        "blocks": _blocks(synthesis) if synthesis else None,
        "program": dict(build.program.metadata),
        "plan": build.plan.to_json(),
        **pace,
        "device_shares": device_shares(vars(total), target) if total else None,
        "lut_rule": target.units.rule if total else None,
        "provenance": provenance(command, seeds=range(1, len(placement.seeds_mhz) + 1) if placement else ()),
    }
    step("report")
    with atomic_directory(out, KIND) as folder:
        write_json(folder / "report.json", document)
        write_text(folder / "report.html", report_page(document, charts=charts.result()))
    return Report(
        keys=keys, html=out / "report.html", json=out / "report.json", synthesis=synthesis, placement=placement,
        power=power,
    )  # fmt: skip


# The simulator's modules take as long to import as all the rest of an estimate, so they come when they are needed.


def _recorded(build: Build, saif: Path) -> "Activity":
    from ...sim.activity import activity_of

    return activity_of(build, saif)


def _simulated(build: Build, images: NDArray[np.uint8]) -> "Activity":
    from ...sim.activity import measure_activity

    return measure_activity(build, images)


def _simulator() -> str:
    from ...sim.cosim import simulator_name

    return simulator_name()


class _Figures:
    """Numbers with unit, tool and version."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, tool: str, version: str) -> None:
        self.items.append({"name": name, "value": value, "unit": unit, "tool": tool, "version": version})

    def tools(self) -> dict[str, str]:
        return {item["tool"]: item["version"] for item in self.items}


def _estimate(build: Build, target: Device) -> tuple[Estimate | None, str | None]:
    """What ``build`` takes without synthesis, and how good that is, or why there is none."""
    try:
        found = design(build.program, build.plan, target)
    except UserError as error:
        return None, str(error)
    without = "" if build.plan.control == "none" else "; without the registers of control"
    return found, found.model.note + without


def _stages(
    layers: Sequence[Layer], schedule: Schedule, counted: Synthesis | Estimate | None, power: dict[str, Any] | None
) -> list[dict[str, Any]]:
    rows = []
    by_stage = {stage["name"]: stage["mw"] for stage in power["stages"]} if power else {}
    for layer, timing in zip(layers, schedule.stages, strict=True):
        rows.append({
            "name": layer.name,
            "kind": layer.kind,
            "result": list(layer.result),
            "window": list(layer.window),
            **{key: layer.fold.get(key, 1) for key in ("pe", "simd", "taps")},
            "lanes": layer.lanes,
            "requantisers": layer.requantisers,
            "cycles": timing.interval,
            "busy": timing.busy / schedule.interval,
            "macs": layer.macs,
            "weight_bits": layer.weight_bits,
            "ring_bits": layer.ring_bits,
            **(_cells(counted, layer.name) if counted else {}),
            "power_mw": by_stage.get(layer.name),
        })  # fmt: skip
    return rows


def _blocks(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    """Cells by block, over all stages; what joins the stages under its own name."""
    totals: dict[str, Resources] = {}
    for blocks in synthesis.blocks.values():
        for block, cells in blocks.items():
            name = block or INTERCONNECT
            totals[name] = totals.get(name, Resources()) + cells
    return {name: vars(cells) for name, cells in totals.items()}


def _cells(counted: Synthesis | Estimate, part: str) -> dict[str, Any]:
    paired = counted.paired if isinstance(counted, Synthesis) else None
    return {**vars(counted.parts[part]), **({} if paired is None else {"lut_paired": paired[part]})}
