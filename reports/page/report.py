"""The report of a BUILD: one JSON file in which every number carries unit, tool and version, one HTML file to read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.files import atomic_directory, write_json, write_text
from ...hdl.family import Layer
from ...hdl.folder.build import Build
from ...hdl.timing import Schedule
from ..devices.devices import Device, device
from ..devices.resources import Resources
from ..estimate.estimate import Estimate
from ..power.asic45 import lanes_energy
from ..power.power import NOTE, Power
from ..synth.place import Placement
from ..synth.synth import INTERCONNECT, Synthesis
from ..tools.provenance import provenance
from .drawing import begin_drawing
from .figures import figures_of
from .measure import Measured, measure
from .pages import report_page
from .sections import device_shares, roofline, timeline

__all__ = ["POWER_IMAGES", "REPORT_KIND", "Report", "make_report", "measured_keys", "placed_keys"]

REPORT_KIND = "report"
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
    power_images: NDArray[np.integer] | None = None,
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
    pace = {
        "timeline": timeline(timing, build.plan.clock_mhz),
        "roofline": roofline(
            layers, build.program, timing, clock_mhz=build.plan.clock_mhz,
            pixels=build.design.interface.pixels,
        ),
    }  # fmt: skip
    charts = begin_drawing(pace)
    measured = measure(
        build, target, synth=synth, placed=placed, power_images=power_images, saif=saif, seeds=seeds, step=step
    )
    figures = figures_of(build, target, measured, extra or {})
    keys = _keys(build, target, measured, tools=figures.tools(), page=out / "report.html")
    document = _document(build, target, measured, keys=keys, figures=figures.items, pace=pace, command=command)
    step("report")
    with atomic_directory(out, REPORT_KIND) as folder:
        write_json(folder / "report.json", document)
        write_text(folder / "report.html", report_page(document, charts=charts.result()))
    return Report(
        keys=keys, html=out / "report.html", json=out / "report.json", synthesis=measured.synthesis,
        placement=measured.placement, power=measured.power,
    )  # fmt: skip


def _keys(build: Build, target: Device, measured: Measured, *, tools: dict[str, str], page: Path) -> dict[str, Any]:
    """The flat values that scripts read; null where a number was not asked for."""
    timing = build.schedule
    return {
        **measured_keys(target, measured),
        "cycles_per_image": timing.interval,
        "cycles_first_image": timing.latency,
        "images_per_second": build.plan.clock_mhz * 1e6 / timing.interval,
        "clock_mhz": build.plan.clock_mhz,
        "lanes": timing.lanes,
        "tools": tools,
        "report": str(page),
    }


def measured_keys(target: Device, measured: Measured) -> dict[str, Any]:
    """Those of the flat values that tools or an estimate gave."""
    synthesis, placement, power = measured.synthesis, measured.placement, measured.power
    estimate, total = measured.estimate, measured.total
    return {
        "device": target.name,
        "source": "placed" if placement else "synthesized" if synthesis else "estimated",
        **{key: getattr(total, key) if total else None for key in ("lut", "ff", "bram", "dsp", "carry")},
        "lut_paired": sum(synthesis.paired.values()) if synthesis and synthesis.paired else None,
        "bram_unit": target.units.bram,
        "estimate_note": measured.note,
        "estimate_error": dict(estimate.model.error) if estimate else None,
        "fmax_mhz": placement.fmax_mhz if placement else None,
        "power_mw": {"static": power.static_mw, "dynamic": power.dynamic_mw, "total": power.total_mw}
        if power
        else {"static": None, "dynamic": None, "total": None},
        "energy_per_image_uj": power.energy_per_image_uj if power else None,
    }


def _document(
    build: Build, target: Device, measured: Measured, *, keys: dict[str, Any], figures: list[dict[str, Any]],
    pace: dict[str, Any], command: str,
) -> dict[str, Any]:  # fmt: skip
    """All that ``report.json`` says and the page shows: ``keys``, then what they are made of."""
    counted, placement, power, total = measured.counted, measured.placement, measured.power, measured.total
    layers, ends = build.design.layers, [part.name for part in build.design.ends]
    told = {**power.to_json(), "asic45_uj": lanes_energy(layers)} if power else None
    return {
        **keys,
        "figures": figures,
        "stages": _stages(layers, build.schedule, counted, told),
        "between_stages": {name: _cells(counted, name) for name in (*ends, INTERCONNECT)} if counted else None,
        **placed_keys(placement),
        "power_note": NOTE if power else None,
        "power": told,
        "blocks": _blocks(measured.synthesis) if measured.synthesis else None,
        "program": dict(build.program.metadata),
        "plan": build.plan.to_json(),
        **pace,
        "device_shares": device_shares(vars(total), target) if total else None,
        "lut_rule": target.units.rule if total else None,
        "provenance": provenance(command, seeds=range(1, len(placement.seeds_mhz) + 1) if placement else ()),
    }


def placed_keys(placement: Placement | None) -> dict[str, Any]:
    """What a document says of place and route."""
    return {
        "seeds_mhz": list(placement.seeds_mhz) if placement else None,
        "critical_path": [piece.to_json() for piece in placement.critical_path] if placement else None,
        "utilisation": placement.used if placement else None,
    }


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
