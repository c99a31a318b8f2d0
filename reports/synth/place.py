"""Place and route with nextpnr: the clock that several seeds reach, and what the slowest path runs through."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ...common.cache import cached, digest, reading
from ...common.errors import UserError
from ...common.executor import all_results
from ...hdl.folder.build import Build
from ..devices.devices import Device
from ..tools.run import find_tool, run_tool, tool_version
from .gowin_pins import constraints
from .owners import CellOwners, Owners
from .synth import Synthesis, joined

__all__ = ["PathStep", "Placement", "Routed", "place", "place_netlist", "place_parts", "placer", "steps_of"]

_PINS = "pins.cst"
AT_ONCE = 2
"""Runs of nextpnr side by side: a large design takes gigabytes."""


@dataclass(frozen=True, kw_only=True)
class PathStep:
    """A piece of a path that stays in one block.

    Attributes
    ----------
    stage, block : where it is, see `Owners.cell`
    cells : of the device, in which it spends time
    logic_ns, routing_ns : spent in cells, set-up time included, and between them
    """

    stage: str
    block: str
    cells: int
    logic_ns: float
    routing_ns: float

    @property
    def name(self) -> str:
        """Stage and block in words."""
        return f"{self.stage} {self.block}".strip()

    @property
    def delay_ns(self) -> float:
        """Time that the path spends in this step, in cells and on the wires to them."""
        return self.logic_ns + self.routing_ns

    def to_json(self) -> dict[str, Any]:
        """The step as ``report.json`` has it."""
        return {**vars(self), "block": self.name, "delay_ns": self.delay_ns}


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What one run gave: the clock it reached, and its slowest path."""

    fmax_mhz: float
    path: tuple[PathStep, ...]
    used: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What place and route gave.

    Attributes
    ----------
    fmax_mhz : the median over the seeds
    seeds_mhz : what each seed reached, in the order of the seeds, from 1
    critical_path : of the seed that is nearest to the median
    used : cells of the device that it takes, by nextpnr's names
    """

    fmax_mhz: float
    seeds_mhz: tuple[float, ...]
    critical_path: tuple[PathStep, ...]
    used: dict[str, int]
    tool: str
    version: str


def place(
    build: Build, synthesis: Synthesis, target: Device, *, clock_mhz: float, seeds: int = 1,
    executor: Executor | None = None, progress: Callable[[int], None] = lambda done: None,
) -> Placement:  # fmt: skip
    """Place and route ``build``; see `place_parts`."""
    return place_parts(
        synthesis, target, top=build.prefix, owners=Owners.of(build.design), clock_mhz=clock_mhz, seeds=seeds,
        executor=executor, progress=progress,
    )  # fmt: skip


def place_parts(
    synthesis: Synthesis, target: Device, *, top: str, owners: CellOwners, clock_mhz: float, seeds: int = 1,
    executor: Executor | None = None, progress: Callable[[int], None] = lambda done: None,
) -> Placement:  # fmt: skip
    """Place and route with nextpnr; on ECP5 out of context (ports stay inside the fabric).

    Every seed is a run of its own, kept in the cache: a repeated call goes on where an interrupted one stopped.

    Parameters
    ----------
    top : the module that instantiates the parts
    owners : say which stage and block the cells of the slowest path belong to
    executor : runs the seeds; by default two at once
    progress : told how many seeds are done

    Raises
    ------
    UserError
        when nextpnr is missing, is killed, or the design does not fit the device: its last lines.
    """
    version = tool_version(find_tool(placer(target)), "nextpnr")
    netlist = joined(synthesis.netlists, top)
    routed = all_results(
        [
            partial(place_netlist, netlist, target, top=top, clock_mhz=clock_mhz, seed=seed, owners=owners)
            for seed in range(1, seeds + 1)
        ],
        threads=AT_ONCE, executor=executor, progress=progress,
    )  # fmt: skip
    middle = median(run.fmax_mhz for run in routed)
    shown = min(routed, key=lambda run: abs(run.fmax_mhz - middle))
    return Placement(
        fmax_mhz=middle, seeds_mhz=tuple(run.fmax_mhz for run in routed), critical_path=shown.path, used=shown.used,
        tool=placer(target), version=version,
    )  # fmt: skip


def placer(target: Device) -> str:
    """Name of the program that places and routes for ``target``; raises `UserError` where there is none."""
    if target.nextpnr is None:
        raise UserError(f"there is no open place and route for {target.name}; leave out --place")
    return target.nextpnr


def place_netlist(
    netlist: Path, target: Device, *, top: str, clock_mhz: float, seed: int, owners: CellOwners | None = None
) -> Routed:
    """Place and route a netlist. Cached.

    Parameters
    ----------
    owners : say which stage and block the cells of the slowest path belong to; None tells no path
    """
    command = find_tool(placer(target))
    options = [*target.place.split(), "--freq", f"{clock_mhz:g}", "--seed", str(seed), "--top", top]
    pins = constraints(netlist, top, target.pins_of) if target.pins_of else ""
    if pins:
        options += ["--vopt", f"cst={_PINS}"]
    key = digest(tool_version(command, "nextpnr"), *options, pins, netlist.read_bytes())

    def make(folder: Path) -> None:
        shutil.copy(netlist, folder / "netlist.json")
        (folder / _PINS).write_text(pins)
        run_tool(
            [command, *options, "--json", "netlist.json", "--report", "report.json", "--timing-allow-fail", "-q"],
            folder, "nextpnr",
        )  # fmt: skip
        (folder / "netlist.json").unlink()

    folder, _ = cached("place", key, make)
    with reading(folder, "report of nextpnr"):
        report = json.loads((folder / "report.json").read_text())
        if not report["fmax"]:
            raise UserError("nextpnr found no clock, so there is no Fmax")
        slowest = min(report["fmax"], key=lambda clock: float(report["fmax"][clock]["achieved"]))
        return Routed(
            fmax_mhz=float(report["fmax"][slowest]["achieved"]),
            path=steps_of(_slowest(report["critical_paths"], slowest), owners) if owners else (),
            used={name: int(cell["used"]) for name, cell in report["utilization"].items() if cell["used"]},
        )


def _slowest(paths: Iterable[dict[str, Any]], clock: str) -> Sequence[dict[str, Any]]:
    """The path from a register to a register of ``clock``; none where its slowest begins or ends at a pin."""
    for found in paths:
        if {found["from"].split()[-1], found["to"].split()[-1]} == {clock}:
            path: list[dict[str, Any]] = found["path"]
            return path
    return []


def steps_of(path: Sequence[dict[str, Any]], owners: CellOwners) -> tuple[PathStep, ...]:
    """A path of nextpnr's report in the names of stages and blocks, neighbours in the same block joined."""
    steps: list[PathStep] = []
    for piece in path:
        stage, block = owners.cell(piece["to"]["cell"])
        routing = piece["type"] == "routing"
        delay = float(piece["delay"])
        one = PathStep(
            stage=stage, block=block, cells=0 if routing else 1, logic_ns=0.0 if routing else delay,
            routing_ns=delay if routing else 0.0,
        )  # fmt: skip
        if steps and (steps[-1].stage, steps[-1].block) == (stage, block):
            before = steps.pop()
            one = PathStep(
                stage=stage, block=block, cells=before.cells + one.cells, logic_ns=before.logic_ns + one.logic_ns,
                routing_ns=before.routing_ns + one.routing_ns,
            )  # fmt: skip
        steps.append(one)
    return tuple(steps)
