"""What an array of lanes costs: synthesis, and on ECP5 place and route, of every kernel on the same terms."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ...common.cache import cached, digest
from ...common.errors import UserError
from ...common.executor import processors
from ...common.processes import stop_all
from ..devices.devices import Device
from ..devices.resources import Resources
from ..synth.pairing import VERSION, paired_luts
from ..synth.place import place_netlist, placer
from ..synth.synth import counts_in
from ..tools.run import run_tool, yosys_command, yosys_version
from .request import TOP, ArrayRequest

__all__ = ["ArrayCost", "jobs", "price"]


@dataclass(frozen=True, kw_only=True)
class ArrayCost:
    """What an `ArrayRequest` costs.

    Attributes
    ----------
    paired : LUTs once small ones share a dual-output LUT6, by the same pass for every row; None where there are none
    seeds_mhz : clock after place and route, for every seed
    """

    request: ArrayRequest
    resources: Resources | None = None
    paired: int | None = None
    seeds_mhz: tuple[float, ...] = ()

    @property
    def fmax_mhz(self) -> float | None:
        """Median over the seeds."""
        return median(self.seeds_mhz) if self.seeds_mhz else None

    def excess(self, target: Device) -> str:
        """What the array takes more of than ``target`` has, in words; empty when it fits."""
        cells = self.resources
        assert cells is not None
        over = [
            f"{getattr(cells, key):,} {key.upper()} of {getattr(target, key):,}"
            for key in ("lut", "ff", "dsp")
            if getattr(cells, key) > getattr(target, key)
        ]
        return ", ".join(over)

    def to_json(self) -> dict[str, Any]:
        """The row that ``addax kernels --json`` prints."""
        shape, cells = self.request.shape, self.resources
        lanes = shape.pin * shape.pout
        return {
            "kernel": shape.kernel,
            "structure": self.request.structure,
            "form": self.request.form,
            "bits": shape.x.bits,
            "x": str(shape.x),
            "w": str(shape.w),
            "pin": shape.pin,
            "pout": shape.pout,
            "lanes": lanes,
            **{key: getattr(cells, key) if cells else None for key in ("lut", "ff", "carry", "dsp")},
            "lut_per_lane": round(cells.lut / lanes, 3) if cells else None,
            "lut_paired": self.paired,
            "lut_paired_per_lane": round(self.paired / lanes, 3) if self.paired is not None else None,
            "fmax_mhz": self.fmax_mhz,
            "seeds_mhz": list(self.seeds_mhz),
            "register_stages": shape.register_stages,
        }


def price(
    wanted: Sequence[ArrayRequest], target: Device, *, synth: bool, place: bool, seeds: int = 3,
    clock_mhz: float = 200.0, executor: Executor | None = None, progress: Callable[[int], None] = lambda done: None,
) -> list[ArrayCost]:  # fmt: skip
    """Synthesise, and place and route, what is wanted, side by side. All runs are cached; an interrupted one resumes.
    What the device has no room for is not placed.

    Parameters
    ----------
    executor : runs the jobs; by default as many at once as there are processors
    progress : called with 1 whenever one of `jobs` is done

    Raises
    ------
    UserError
        when a tool is missing or dies: its last lines. Nothing is cached of that run.
    """
    if place:
        placer(target)
    if not synth and not place:
        return [ArrayCost(request=request) for request in wanted]
    # Tools run in processes of their own; threads only wait for them.
    pool = executor or ThreadPoolExecutor(max_workers=processors())
    try:
        synthesised = [pool.submit(_synthesise, request, target) for request in wanted]
        placed: list[list[Future[float]]] = []
        costs = []
        for request, future in zip(wanted, synthesised, strict=True):
            folder = future.result()
            progress(1)
            cells = counts_in(folder)
            cost = ArrayCost(
                request=request, resources=Resources.of_cells(cells["cells"], target.family), paired=cells["paired"]
            )  # fmt: skip
            costs.append(cost)
            fits = place and not cost.excess(target)
            placed.append([
                pool.submit(_place, request, folder, target, clock_mhz=clock_mhz, seed=seed)
                for seed in range(1, seeds + 1)
            ] if fits else [])  # fmt: skip
            if place and not fits:
                progress(seeds)
        for k, runs in enumerate(placed):
            reached = []
            for run in runs:
                reached.append(run.result())
                progress(1)
            costs[k] = replace(costs[k], seeds_mhz=tuple(reached))
        return costs
    except BaseException as error:
        begun: list[Future[Any]] = [*synthesised, *(run for runs in placed for run in runs)]
        for job in begun:
            job.cancel()
        if executor is None and not isinstance(error, Exception):
            stop_all(begun)
        raise
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def jobs(wanted: Sequence[ArrayRequest], *, synth: bool, place: bool, seeds: int) -> int:
    """How many runs `price` will make."""
    return len(wanted) * ((synth or place) + (seeds if place else 0))


def _place(request: ArrayRequest, folder: Path, target: Device, *, clock_mhz: float, seed: int) -> float:
    if target.serial_ports:
        folder = _synthesise(request, target, serial=True)
    return place_netlist(folder / "netlist.json", target, top=TOP, clock_mhz=clock_mhz, seed=seed).fmax_mhz


def _synthesise(request: ArrayRequest, target: Device, *, serial: bool = False) -> Path:
    """Folder with ``netlist.json`` and ``cells.json``. Cached by the circuit, the script and the version of yosys."""
    source = request.rtlil(serial=serial)
    options = [target.synth, target.array_options, f"-top {TOP}", target.with_dsp if request.dsp else target.no_dsp]
    script = "\n".join(
        [
            "read_rtlil kernel.il",
            " ".join(option for option in options if option),
            "tee -q -o stat.json stat -json",
            "write_json netlist.json",
            "",
        ]
    )

    def make(folder: Path) -> None:
        (folder / "kernel.il").write_text(source)
        (folder / "synth.ys").write_text(script)
        run_tool([*yosys_command(), "-q", "-s", "synth.ys"], folder, "yosys")
        if not (folder / "stat.json").is_file() or not (folder / "netlist.json").is_file():
            raise UserError("yosys ended without counting cells")
        counted = json.loads((folder / "stat.json").read_text())["design"].get("num_cells_by_type", {})
        netlist = json.loads((folder / "netlist.json").read_text())["modules"][TOP]["cells"]
        (folder / "cells.json").write_text(
            json.dumps({"cells": counted, "paired": paired_luts(netlist) if target.pairs_luts else None})
        )
        if target.nextpnr is None:
            (folder / "netlist.json").unlink()  # tens of megabytes that nobody reads again

    key = digest(yosys_version(), VERSION, script, source)
    folder, _ = cached("kernels", key, make)
    return folder
