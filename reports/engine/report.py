"""The report of an engine: what its blocks take, and with an image how each layer of its network runs."""

from collections.abc import Callable
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import atomic_directory, write_json, write_text
from ...hdl.engine.compile.image import Compiled
from ...hdl.engine.cycles.model import EngineCycles
from ...hdl.engine.plan import EnginePlan
from ...hdl.folder.engine import EngineBuild
from ..devices.devices import Device, device
from ..page.engine import engine_page
from ..page.figures import Figures, add_measured
from ..page.measure import Measured
from ..page.report import REPORT_KIND, Report, measured_keys, placed_keys
from ..page.sections import device_shares
from ..synth.place import place_parts, placer
from ..synth.synth import map_parts
from ..tools.provenance import provenance
from .layers import layer_runs
from .parts import EngineOwners, blocks_of, engine_parts
from .rates import rates, roofline

__all__ = ["make_engine_report"]

_NO_ESTIMATE = "an engine has no estimate; --synth counts its cells"


def make_engine_report(
    build: EngineBuild, out: str | Path, *, run: tuple[Compiled, EngineCycles] | None = None, synth: bool = False,
    placed: bool = False, seeds: int = 1, command: str = "", step: Callable[[str], None] = lambda text: None,
) -> Report:  # fmt: skip
    """Write ``report.json`` and ``report.html`` of ``build`` into the folder ``out``.

    Parameters
    ----------
    run : an image for this engine and its predicted cycles, whose layers are told
    synth, placed : run synthesis; place and route as well
    seeds : of place and route; the median is reported
    step : told what begins

    Raises
    ------
    UserError
        for an image of another engine, a device without place and route, and when a tool fails.
    """
    if run is not None and run[0].plan != build.plan:
        raise UserError(f"the image is for another engine than {build.path}; compile it with --engine {build.path}")
    out, target = Path(out), device(build.plan.device)
    measured = _measured(build, target, synth=synth, placed=placed, seeds=seeds, step=step)
    figures = _figures(build.plan, target, measured, run)
    document = {
        **_keys(build.plan, target, measured, run), "tools": figures.tools(), "report": str(out / "report.html")
    }  # fmt: skip
    keys = dict(document)
    synthesis, total, placement = measured.synthesis, measured.total, measured.placement
    document |= {
        "figures": figures.items,
        "blocks": {name: vars(cells) for name, cells in blocks_of(synthesis, build).items()} if synthesis else None,
        **placed_keys(placement),
        "layers": [], "roofline": None, "program": {},
    }  # fmt: skip
    if run is not None:
        image, cycles = run
        runs = layer_runs(image, cycles)
        document["layers"] = keys["layers"] = [layer.to_json() for layer in runs]
        document["roofline"] = roofline(build.plan, runs, cycles)
        document["program"] = dict(image.network.program.metadata)
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
        keys=keys, html=out / "report.html", json=out / "report.json", synthesis=synthesis, placement=placement
    )


def _measured(
    build: EngineBuild, target: Device, *, synth: bool, placed: bool, seeds: int, step: Callable[[str], None]
) -> Measured:  # fmt: skip
    """What tools count of ``build``, where they are asked for."""
    if placed:
        placer(target)
    if not (synth or placed):
        return Measured(note=_NO_ESTIMATE)
    step("synthesis")
    synthesis = map_parts(
        engine_parts(build), build.path, target, progress=lambda done, of: step(f"synthesis, {done} of {of} parts")
    )
    if not placed:
        return Measured(synthesis=synthesis)
    step("place and route" if seeds == 1 else f"place and route, 0 of {seeds} seeds")
    placement = place_parts(
        synthesis, target, top=build.prefix, owners=EngineOwners.of(build), clock_mhz=build.plan.clock_mhz, seeds=seeds,
        progress=lambda done: step(f"place and route, {done} of {seeds} seeds"),
    )  # fmt: skip
    return Measured(synthesis=synthesis, placement=placement)


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
