"""The report of an engine: what its blocks take, and with an image how each layer of its network runs."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.files import atomic_directory, write_json, write_text
from ...hdl.engine.compile.image import Compiled
from ...hdl.engine.cycles.model import EngineCycles
from ...hdl.engine.plan import EnginePlan
from ...hdl.family import Layer
from ...hdl.folder.engine import EngineBuild
from ..devices.devices import Device, device
from ..page.engine import engine_page
from ..page.figures import Figures, add_measured
from ..page.measure import Measured
from ..page.report import REPORT_KIND, Report, measured_keys, placed_keys
from ..page.sections import device_shares
from ..power.asic45 import lanes_energy, memory_energy
from ..power.power import NOTE, Power
from ..tools.provenance import provenance
from .layers import LayerRun, layer_runs
from .measured import PowerRun, measure_engine
from .parts import blocks_of
from .rates import rates, roofline

__all__ = ["make_engine_report"]


def make_engine_report(
    build: EngineBuild, out: str | Path, *, run: tuple[Compiled, EngineCycles] | None = None, synth: bool = False,
    placed: bool = False, seeds: int = 1, power_images: NDArray[np.integer] | None = None, saif: Path | None = None,
    command: str = "", step: Callable[[str], None] = lambda text: None,
) -> Report:  # fmt: skip
    """Write ``report.json`` and ``report.html`` of ``build`` into the folder ``out``.

    Parameters
    ----------
    run : an image for this engine and its predicted cycles, whose layers are told
    synth, placed : run synthesis; place and route as well
    seeds : of place and route; the median is reported
    power_images : (N, C, H, W) images whose runs give the switching activity; no power figures when None
    saif : activity file of a simulation by other means, instead of ``power_images``
    step : told what begins

    Raises
    ------
    UserError
        for an image of another engine, a device without place and route or a model of power, power without an image,
        and when a tool fails.
    """
    if run is not None and run[0].plan != build.plan:
        raise UserError(f"the image is for another engine than {build.path}; compile it with --engine {build.path}")
    out, target = Path(out), device(build.plan.device)
    power = _power_run(run, power_images, saif)
    measured = measure_engine(build, target, synth=synth, placed=placed, seeds=seeds, power=power, step=step)
    figures = _figures(build.plan, target, measured, run)
    document = {
        **_keys(build.plan, target, measured, run), "tools": figures.tools(), "report": str(out / "report.html")
    }  # fmt: skip
    keys = dict(document)
    synthesis, total, placement = measured.synthesis, measured.total, measured.placement
    document |= {
        "figures": figures.items,
        "blocks": _blocks(build, measured),
        **placed_keys(placement),
        "power_note": NOTE if measured.power else None, "power": None,
        "layers": [], "roofline": None, "program": {},
    }  # fmt: skip
    if run is not None:
        told = _network(build.plan, run, measured.power)
        document |= told
        keys["layers"] = told["layers"]
        if measured.power is not None:
            keys["power_by_block"], keys["memory_uj"] = told["power"]["categories"], told["power"]["memory_uj"]
    document |= {
        "plan": build.plan.to_json(), "device_shares": device_shares(vars(total), target) if total else None,
        "lut_rule": target.units.rule if total else None,
        "provenance": provenance(command, seeds=range(1, len(placement.seeds_mhz) + 1) if placement else ()),
    }  # fmt: skip
    step("report")
    with atomic_directory(out, REPORT_KIND) as folder:
        write_json(folder / "report.json", document)
        write_text(folder / "report.html", engine_page(document))
    keys["blocks"] = document["blocks"]
    return Report(
        keys=keys, html=out / "report.html", json=out / "report.json", synthesis=synthesis, placement=placement,
        power=measured.power,
    )  # fmt: skip


def _power_run(
    run: tuple[Compiled, EngineCycles] | None, pixels: NDArray[np.integer] | None, saif: Path | None
) -> PowerRun | None:  # fmt: skip
    """Whose toggles are counted; None where nobody asked for power."""
    if pixels is None and saif is None:
        return None
    if run is None:
        raise UserError("an engine's power depends on the network that it runs: say --image NET.image")
    return PowerRun(image=run[0], cycles=run[1], pixels=pixels if saif is None else None, saif=saif)


def _network(plan: EnginePlan, run: tuple[Compiled, EngineCycles], power: Power | None) -> dict[str, Any]:
    """What the document says of the network that is run."""
    image, cycles = run
    runs = layer_runs(image, cycles)
    return {
        "layers": [layer.to_json() for layer in runs], "roofline": roofline(plan, runs, cycles),
        "program": dict(image.network.program.metadata),
        "power": None if power is None else _power(power, runs, plan, rates(plan, runs, cycles)),
    }  # fmt: skip


def _blocks(build: EngineBuild, measured: Measured) -> dict[str, dict[str, Any]] | None:
    """Cells by block, synthesised or estimated."""
    found = blocks_of(measured.synthesis, build) if measured.synthesis else None
    if measured.estimate is not None:
        found = measured.estimate.parts
    return {name: vars(cells) for name, cells in found.items()} if found else None


def _power(power: Power, runs: Sequence[LayerRun], plan: EnginePlan, pace: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of power: that of the device; and apart from it, by published energies, that of the lanes
    and that of the memory outside, if it is a DRAM."""
    layers = [
        Layer(name=run.name, kind=run.unit, result=(0, 0, 0), lanes=plan.lanes, macs=run.macs, operand_bits=plan.bits)
        for run in runs if run.macs
    ]  # fmt: skip
    moved = memory_energy(pace["bytes_read"] + pace["bytes_written"])
    return {**power.to_json(), "asic45_uj": lanes_energy(layers), "memory_uj": moved}


def _keys(
    plan: EnginePlan, target: Device, measured: Measured, run: tuple[Compiled, EngineCycles] | None
) -> dict[str, Any]:
    """The flat values that scripts read, in the keys of the dataflow family; null where a number was not asked for."""
    pace: dict[str, Any] = dict.fromkeys(("cycles_per_image", "cycles_first_image", "images_per_second"))
    if run is not None:
        pace |= rates(plan, layer_runs(*run), run[1])
    return {**measured_keys(target, measured), **pace, "clock_mhz": plan.clock_mhz, "lanes": plan.lanes}


def _figures(
    plan: EnginePlan, target: Device, measured: Measured, run: tuple[Compiled, EngineCycles] | None
) -> Figures:  # fmt: skip
    addax = f"addax {package_version('addax')}"
    figures = Figures()
    if run is not None:
        told = rates(plan, layer_runs(*run), run[1])
        for name, unit in (
            ("cycles_per_image", "cycles"), ("images_per_second", "1/s"), ("lane_utilization", "share of lanes"),
            ("macs", "products per image"), ("bytes_read", "bytes per image"), ("bytes_written", "bytes per image"),
        ):  # fmt: skip
            figures.add(name, told[name], unit, "cycle model", addax)
    figures.add("lanes", plan.lanes, "lanes", "plan", addax)
    add_measured(figures, target, measured, addax=addax)
    return figures
