"""What an array of lanes costs: synthesis, and on ECP5 place and route, of every kernel on the same terms."""

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...common.cache import cached, digest
from ...common.errors import UserError
from ...common.executor import processors
from ...common.processes import stop_all
from ...hdl.lanes.array import KernelArray
from ...hdl.lanes.shape import ArrayShape
from ...hdl.lanes.structures import STRUCTURES, default_structure
from ...quant.formats import Format, signed, unsigned
from ..devices.cell_library import CellLibrary
from ..devices.devices import Device
from ..devices.resources import Resources
from ..synth.pairing import VERSION, paired_luts
from ..synth.place import place_netlist, placer
from ..synth.synth import counts_in
from ..tools.run import run_tool, yosys_command, yosys_version
from .published import abstract

__all__ = ["KERNELS", "PUBLISHED", "Cost", "Request", "comparison", "jobs", "price", "requests", "savings"]

KERNELS = tuple(STRUCTURES)
PUBLISHED = {
    "adder_lut": 7065,
    "mult_lut": 20493,
    "lanes": 256,
    "bits": 8,
}
"""The AdderNet authors' RTL: LUTs of 256 lanes of 8 bit with either kernel."""
SHIFT_BITS = 4
TOP = "kernel"
TERMS = 4096
"""Accumulators are wide enough for groups of so many terms, unless asked otherwise."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One array to be priced.

    Attributes
    ----------
    shape : the array
    terms : the longest group its accumulators hold
    dsp : whether synthesis may use DSP blocks
    """

    shape: ArrayShape
    terms: int = TERMS
    dsp: bool = False

    @property
    def structure(self) -> str:
        """Name of the row: the structure, and ``dsp`` where it may use DSP blocks."""
        return "dsp" if self.dsp else self.shape.structure

    @property
    def form(self) -> str:
        """``generic``, or ``device`` where carry cells are instantiated."""
        return "generic" if self.shape.fabric == "generic" else "device"

    def rtlil(self, *, serial: bool = False) -> str:
        """The array between its streams, as a module called ``kernel`` in yosys' own language.

        ``serial`` hides the streams behind a few pins, for placers that need a pin for every port.
        """
        steps = math.ceil(self.terms / self.shape.pin)
        array = KernelArray(self.shape, total=self.shape.total(steps))
        return str(rtlil.convert(_Serial(array) if serial else array, name=TOP, emit_src=False))


class _Serial(wiring.Component):
    """An array whose steps are shifted in and whose sums are shifted out: every way begins and ends at a register."""

    def __init__(self, array: KernelArray):
        self.array = array
        super().__init__({"bit": In(1), "valid": In(1), "ready": In(1), "taken": Out(1), "sums": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = self.array
        step, sums = array.i.payload.as_value(), array.o.payload.as_value()
        shifted, result = Signal.like(step), Signal.like(sums)
        valid, ready = Signal(), Signal()
        m.d.sync += [
            shifted.eq(Cat(self.bit, shifted)),
            result.eq(Mux(array.o.valid, sums, result >> 1)),
            valid.eq(self.valid),
            ready.eq(self.ready),
            self.taken.eq(array.i.ready),
        ]
        m.d.comb += [
            step.eq(shifted),
            array.i.valid.eq(valid),
            array.o.ready.eq(ready),
            self.sums.eq(result[0]),
        ]
        return m


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a `Request` costs.

    Attributes
    ----------
    paired : LUTs once small ones share a dual-output LUT6, by the same pass for every row; None where there are none
    seeds_mhz : clock after place and route, for every seed
    """

    request: Request
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


def _square(lanes: int) -> tuple[int, int]:
    """The two factors of ``lanes`` nearest to each other, the larger one first."""
    pout = next(k for k in range(math.isqrt(lanes), 0, -1) if lanes % k == 0)
    return lanes // pout, pout


def requests(
    target: Device | CellLibrary, *, lanes: int | None = None, pin: int | None = None, pout: int | None = None,
    bits: int = 8, signed_features: bool = False, kernels: Sequence[str] = KERNELS, structures: Sequence[str] = (),
    all_structures: bool = False, registers: str = "equal", terms: int = TERMS,
) -> list[Request]:  # fmt: skip
    """The arrays to be priced: one per kernel, its default structure without DSP blocks, or all there are.

    Parameters
    ----------
    lanes : split into two factors as equal as possible; or ``pin`` and ``pout``
    structures : only these
    registers : ``best``, a rank behind every level; ``equal``, as many as the adder's default structure has at its
        best; or a number

    Raises
    ------
    UserError
        for anything that cannot be built.
    """
    if (pin is None) != (pout is None) or (lanes is not None and pin is not None):
        raise UserError("give --lanes, or both --pin and --pout")
    for name, value in (("lanes", lanes), ("pin", pin), ("pout", pout), ("terms", terms)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be a positive integer, not {value}")
    for kernel in kernels:
        if kernel not in KERNELS:
            raise UserError(f"unknown kernel {kernel!r}; known: {', '.join(KERNELS)}")
    known = [*dict.fromkeys(s for kernel in KERNELS for s in STRUCTURES[kernel]), "dsp"]
    for structure in structures:
        if structure not in known:
            raise UserError(f"unknown structure {structure!r}; known: {', '.join(known)}")
    rows, columns = (pin, pout) if pin and pout else _square(lanes or 256)
    chosen = []
    try:
        for kernel in dict.fromkeys(kernels):
            x, w = _operands(kernel, bits, signed_features)
            default = ArrayShape(
                kernel=kernel, structure=default_structure(kernel, target.family), fabric=target.fabric, pin=rows,
                pout=columns, x=x, w=w,
            )  # fmt: skip
            chosen += _variants(Request(shape=default, terms=terms), structures, all_structures)
        return [replace(r, shape=_with_ranks(r.shape, registers, target)) for r in chosen]
    except ValueError as error:
        raise UserError(str(error)) from error


def _operands(kernel: str, bits: int, signed_features: bool) -> tuple[Format, Format]:
    """Formats as a lowered network has them: features behind a ReLU are unsigned, and with them the adder's weights."""
    if kernel == "xnor":
        return unsigned(1), unsigned(1)
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be an integer in 2..16, not {bits}")
    x = Format(bits=bits, signed=signed_features)
    return x, {"adder": x, "mult": signed(bits), "shift": unsigned(SHIFT_BITS)}[kernel]


def _variants(default: Request, structures: Sequence[str], everything: bool) -> list[Request]:
    shape = default.shape
    if not everything and not structures:
        return [default]
    found = []
    for structure in STRUCTURES[shape.kernel]:
        for fabric in dict.fromkeys((shape.fabric, "generic")):
            if structure == "star" and fabric != "generic":
                continue
            found.append(replace(default, shape=replace(shape, structure=structure, fabric=fabric)))
    if shape.kernel == "mult":
        found.append(replace(default, shape=replace(shape, structure="star", fabric="generic"), dsp=True))
    return [request for request in found if not structures or request.structure in structures]


def _with_ranks(shape: ArrayShape, registers: str, target: Device | CellLibrary) -> ArrayShape:
    if registers == "best":
        return replace(shape, ranks=shape.levels)
    if registers == "equal":
        x = unsigned(8)
        adder = ArrayShape(
            kernel="adder", structure=default_structure("adder", target.family), fabric=target.fabric, pin=shape.pin,
            pout=1, x=x, w=x,
        )  # fmt: skip
        return replace(shape, ranks=min(adder.levels, shape.levels))
    if not registers.isdecimal():
        raise UserError(f"registers must be equal, best or a number, not {registers!r}")
    return replace(shape, ranks=int(registers))


def price(
    wanted: Sequence[Request], target: Device, *, synth: bool, place: bool, seeds: int = 3, clock_mhz: float = 200.0,
    executor: Executor | None = None, progress: Callable[[int], None] = lambda done: None,
) -> list[Cost]:  # fmt: skip
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
        return [Cost(request=request) for request in wanted]
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
            cost = Cost(
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


def jobs(wanted: Sequence[Request], *, synth: bool, place: bool, seeds: int) -> int:
    """How many runs `price` will make."""
    return len(wanted) * ((synth or place) + (seeds if place else 0))


def _place(request: Request, folder: Path, target: Device, *, clock_mhz: float, seed: int) -> float:
    if target.serial_ports:
        folder = _synthesise(request, target, serial=True)
    return place_netlist(folder / "netlist.json", target, top=TOP, clock_mhz=clock_mhz, seed=seed).fmax_mhz


def _synthesise(request: Request, target: Device, *, serial: bool = False) -> Path:
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


def _cheapest(costs: Sequence[Cost], kernel: str) -> Cost | None:
    """The row of ``kernel`` with the fewest LUTs and without DSP blocks."""
    rows = [c for c in costs if c.request.shape.kernel == kernel and not c.request.dsp and c.resources is not None]
    return min(rows, key=lambda cost: cost.resources.lut if cost.resources else 0, default=None)


def savings(costs: Sequence[Cost]) -> dict[str, float]:
    """The cheapest adder against the cheapest multiplier, in percent: LUTs saved, and clock gained."""
    adder, mult = _cheapest(costs, "adder"), _cheapest(costs, "mult")
    if adder is None or mult is None:
        return {}
    assert adder.resources is not None and mult.resources is not None
    result = {"lut": 100 * (1 - adder.resources.lut / mult.resources.lut)}
    if adder.paired is not None and mult.paired is not None:
        result["lut_paired"] = 100 * (1 - adder.paired / mult.paired)
    if adder.fmax_mhz and mult.fmax_mhz:
        result["fmax"] = 100 * (adder.fmax_mhz / mult.fmax_mhz - 1)
    return result


def comparison(costs: Sequence[Cost]) -> list[str]:
    """Adder against multiplier in words, next to what has been published."""
    ours = savings(costs)
    if not ours:
        return []
    most, least = (-change for change in abstract("logic"))
    lines = [
        f"adder against mult: {ours['lut']:.1f} % of the LUTs saved"
        + (f" ({ours['lut_paired']:.1f} % once small LUTs are paired)" if "lut_paired" in ours else "")
        + f"; published {least} to {most} %, in theory {-abstract('kernel')[0]:.0f} %"
    ]
    adder, mult = _cheapest(costs, "adder"), _cheapest(costs, "mult")
    assert adder is not None and mult is not None
    if "fmax" in ours:
        stages = adder.request.shape.register_stages, mult.request.shape.register_stages
        lines.append(
            f"clock: {ours['fmax']:+.1f} % with {stages[0]} register stages against {stages[1]}; "
            f"published {abstract('speed')[0]:+.0f} %"
        )
    if adder.paired is not None and adder.request.shape.x.bits == PUBLISHED["bits"]:
        per_lane = adder.to_json()["lut_per_lane"]
        published = PUBLISHED["mult_lut"] / PUBLISHED["lanes"]
        lines.append(
            f"adder against the published multiplier of {published:.1f} LUT per lane: "
            f"{100 * (1 - per_lane / published):.1f} % saved"
        )
    lines.append(
        f"published, {PUBLISHED['lanes']} lanes of 8 bit on a Zynq UltraScale+: adder {PUBLISHED['adder_lut']:,} LUT, "
        f"mult {PUBLISHED['mult_lut']:,} LUT"
    )
    return lines
