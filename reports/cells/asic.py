"""What arrays of lanes cost in standard cells: area and cells by yosys, the longest path and power by OpenSTA.

Power comes of the gate-level netlist, driven in simulation with the operands of a real layer, whose sums are compared
with the kernel's definition. Before layout: no wires, an ideal clock, no clock tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...common.errors import UserError
from ...hdl.lanes.shape import ArrayShape
from ..devices.cell_library import CellLibrary
from ..kernels.choose import PRICED_KERNELS, requests
from ..kernels.operands import NETWORK, Steps, bits_of, steps_for, terms_of
from ..kernels.published import abstract
from ..kernels.request import TOP, ArrayRequest
from .gates import GateActivity, Stimulus, simulate_gates
from .netlist import CellNetlist, VerilogSource, map_to_cells
from .opensta import CellPower, longest_path, power_of

__all__ = ["CLOCK_MHZ", "CellCost", "CellRequest", "cell_requests", "comparison", "price_cells"]

CLOCK_MHZ = 100.0
"""The clock at which power is given."""
CYCLES = 80
"""Cycles whose toggles are counted: half an image at 16 terms per step, eight sums in every row."""
SLICE = 4
"""Rows of the array on which the smallest structure of a kernel is chosen."""
_WARM = 2
"""Groups that pass before toggles are counted."""


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """An array, and how its products are made.

    Attributes
    ----------
    request : the array
    booth : whether yosys makes ``x * w`` of Booth digits
    """

    request: ArrayRequest
    booth: bool = False

    @property
    def shape(self) -> ArrayShape:
        """The shape of the array."""
        return self.request.shape

    @property
    def structure(self) -> str:
        """Name of the row."""
        return f"{self.shape.structure}+booth" if self.booth else self.shape.structure

    def circuit(self) -> VerilogSource:
        """What yosys reads."""
        return VerilogSource(
            files={"kernel.il": self.request.rtlil().encode()}, read=("read_rtlil kernel.il",), top=TOP,
            booth=self.booth,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CellCost:
    """What a `CellRequest` costs.

    Attributes
    ----------
    path_ns : the longest way between registers; None where it was not asked for
    settled : power at `CLOCK_MHZ` with every net settling at once; None where it was not asked for
    glitching : with the delays of the cells, so with glitches
    operands : what was worked on
    """

    request: CellRequest
    netlist: CellNetlist
    path_ns: float | None = None
    settled: CellPower | None = None
    glitching: CellPower | None = None
    operands: str | None = None

    @property
    def fmax_mhz(self) -> float | None:
        """The clock that the longest path allows."""
        return 1000.0 / self.path_ns if self.path_ns else None

    def to_json(self) -> dict[str, Any]:
        """The row that ``addax kernels --json`` prints."""
        shape, lanes = self.request.shape, self.request.shape.pin * self.request.shape.pout
        area = self.netlist.area_um2
        quiet, busy = self.settled, self.glitching
        return {
            "kernel": shape.kernel,
            "structure": self.request.structure,
            "form": self.request.request.form,
            "bits": shape.x.bits,
            "x": str(shape.x),
            "w": str(shape.w),
            "pin": shape.pin,
            "pout": shape.pout,
            "lanes": lanes,
            "lut": None,
            "ff": self.netlist.flip_flops,
            "carry": None,
            "dsp": None,
            "lut_per_lane": None,
            "lut_paired": None,
            "lut_paired_per_lane": None,
            "fmax_mhz": self.fmax_mhz,
            "seeds_mhz": [],
            "register_stages": shape.register_stages,
            "cells": self.netlist.cells,
            "area_um2": area,
            "area_um2_per_lane": round(area / lanes, 1),
            "flip_flop_um2": self.netlist.flip_flop_um2,
            "path_ns": self.path_ns,
            "power_mw": busy.dynamic if busy else None,
            "power_settled_mw": quiet.dynamic if quiet else None,
            "power_parts_mw": {
                "gates": busy.internal + busy.switching - busy.sequential, "flip_flops": busy.sequential,
                "clock_net": busy.clock,
            } if busy else None,
            "leakage_mw": busy.leakage if busy else None,
            "power_clock_mhz": CLOCK_MHZ if busy else None,
            "operands": self.operands,
        }  # fmt: skip


def cell_requests(
    library: CellLibrary, *, kernels: Sequence[str] = PRICED_KERNELS, structures: Sequence[str] = (),
    all_structures: bool = False, period_ps: float, progress: Callable[[str], None] = lambda text: None, **terms: Any,
) -> list[CellRequest]:  # fmt: skip
    """The arrays to be priced: of every kernel its smallest structure, or all there are, or those that are named.

    Which structure is the smallest is found out with `SLICE` rows of the array. No kernel is left to one way of
    writing it; the multiplier's candidates are our two structures of partial products, yosys' own, and yosys' Booth.

    Parameters
    ----------
    period_ps : what the mapper aims at
    terms : as `kernels.requests` takes them

    Raises
    ------
    UserError
        for anything that cannot be built.
    """
    named = [structure.removesuffix("+booth") for structure in structures]
    chosen = []
    for kernel in dict.fromkeys(kernels):
        found = requests(library, kernels=[kernel], structures=named, all_structures=not named, **terms)
        candidates = [CellRequest(request=request) for request in found if not request.dsp]
        candidates += [replace(c, booth=True) for c in candidates if c.shape.structure == "star"]
        if structures:
            candidates = [c for c in candidates if c.structure in structures]
        if all_structures or structures or len(candidates) == 1:
            chosen += candidates
            continue
        progress(f"{kernel}: the smallest of {len(candidates)} structures")
        areas = [map_to_cells(_slice(c).circuit(), library, period_ps=period_ps).area_um2 for c in candidates]
        chosen.append(candidates[areas.index(min(areas))])
    if not chosen:
        raise UserError(f"no kernel of {', '.join(kernels)} has the structure {', '.join(structures)}")
    return chosen


def _slice(wanted: CellRequest) -> CellRequest:
    shape = replace(wanted.shape, pout=min(SLICE, wanted.shape.pout))
    return replace(wanted, request=replace(wanted.request, shape=shape))


def price_cells(
    wanted: Sequence[CellRequest], library: CellLibrary, *, period_ps: float, timed: bool = True,
    operands: str | None = NETWORK, progress: Callable[[str], None] = lambda text: None,
) -> list[CellCost]:  # fmt: skip
    """Map what is wanted, one after the other, for the longest path and the power of each. All runs are cached.

    Parameters
    ----------
    timed : whether OpenSTA looks for the longest path
    operands : of the simulation that gives activities, one of `operands.SOURCES`; None for no power

    Raises
    ------
    UserError
        when a tool is missing or dies, or the gates' sums are not the kernel's.
    """
    costs = []
    for item in wanted:
        name = f"{item.shape.kernel} {item.structure}"
        progress(f"{name}: yosys")
        cost = CellCost(request=item, netlist=map_to_cells(item.circuit(), library, period_ps=period_ps))
        if timed:
            progress(f"{name}: longest path")
            cost = replace(cost, path_ns=longest_path(cost.netlist))
        if operands is not None:
            progress(f"{name}: simulation and power")
            activity = array_activity(cost.netlist, item.shape, operands)
            settled, glitching = (power_of(cost.netlist, a, clock_mhz=CLOCK_MHZ) for a in (activity.quiet(), activity))
            cost = replace(cost, operands=operands, settled=settled, glitching=glitching)
        costs.append(cost)
    return costs


def array_activity(netlist: CellNetlist, shape: ArrayShape, operands: str) -> GateActivity:
    """Activity of an array that takes a step in every cycle.

    Raises
    ------
    UserError
        when the sums that the gates give are not those of the kernel's definition.
    """
    one = steps_for(shape, source=operands, count=1)
    length = one.count // len(one.x)
    warm = max(_WARM, -(-2 * shape.latency // length)) * length
    steps = steps_for(shape, source=operands, count=warm + CYCLES)
    outputs = [name for name in netlist.ports("output") if name.startswith("o__")]
    activity, seen = simulate_gates(netlist, _stimulus(netlist, shape, steps, warm), outputs)
    _check_sums(shape, steps, outputs, seen)
    return activity


_RESET = 2


def _stimulus(netlist: CellNetlist, shape: ArrayShape, steps: Steps, warm: int) -> Stimulus:
    """Steps without a pause, after a reset."""
    groups, length = steps.x.shape[:2]
    count = groups * length
    x = bits_of(steps.x, shape.x).reshape(count, -1)
    w = bits_of(steps.w, shape.w).reshape(count, -1)
    place = np.arange(count) % length
    payload = np.concatenate([x, w, (place == 0)[:, None], (place == length - 1)[:, None]], axis=1).astype(np.uint8)
    columns = {f"i__payload_{k}_": payload[:, k] for k in range(payload.shape[1])}
    ones, zeros = np.ones(count, np.uint8), np.zeros(count, np.uint8)
    columns |= {"i__valid": ones, "o__ready": ones, "rst": zeros}
    ports = netlist.ports("input")
    rows = np.stack([columns[name] for name in ports], axis=1)
    reset = np.zeros((_RESET, len(ports)), np.uint8)
    reset[:, ports.index("rst")] = 1
    return Stimulus(ports=tuple(ports), rows=np.concatenate([reset, rows]), begin=_RESET + warm)


def _check_sums(shape: ArrayShape, steps: Steps, outputs: Sequence[str], seen: "np.ndarray[Any, Any]") -> None:
    expected = terms_of(shape, steps)
    valid = np.flatnonzero(seen[:, outputs.index("o__valid")] == 1)
    width = sum(name.startswith("o__payload") for name in outputs) // shape.pout
    # All groups but those whose sums are still under way at the end.
    least = len(expected) - 1 - shape.latency // steps.x.shape[1]
    if len(valid) < least:
        raise UserError(f"the gates of the {shape.kernel} array gave {len(valid)} results, not {least}")
    for group, at in enumerate(valid[: len(expected)]):
        for row in range(shape.pout):
            bits = [int(seen[at, outputs.index(f"o__payload_{row * width + k}_")]) for k in range(width)]
            if 2 in bits:
                raise UserError(f"the gates of the {shape.kernel} array gave an unknown sum")
            total = sum(bit << k for k, bit in enumerate(bits))
            if shape.total(steps.x.shape[1]).signed and bits[-1]:
                total -= 1 << width
            weights = steps.w[group, :, row].ravel().tolist()
            if shape.decode(total, weights) != expected[group, row]:
                raise UserError(f"the gates of the {shape.kernel} array give other sums than the kernel's definition")


def comparison(costs: Sequence[CellCost]) -> list[str]:
    """Adder against multiplier in words, next to what has been published; empty without both."""
    adder, mult = (_smallest(costs, kernel) for kernel in ("adder", "mult"))
    if adder is None or mult is None:
        return []
    bits = adder.request.shape.x.bits
    most, least = (-change for change in abstract("logic"))
    high, low = abstract("power")
    stages = {cost.request.shape.register_stages for cost in (adder, mult)}
    lines = [
        f"adder against mult, {bits} bit, {' and '.join(map(str, sorted(stages)))} register stages: area "
        f"{_percent(adder.netlist.area_um2, mult.netlist.area_um2)}; published: {-abstract('kernel')[0]:.0f} % in "
        f"theory (16 bit), logic on FPGAs {least} to {most} % saved"
    ]
    if adder.fmax_mhz and mult.fmax_mhz:
        lines.append(f"clock: {_percent(adder.fmax_mhz, mult.fmax_mhz)}; published {abstract('speed')[0]:+.0f} %")
    if adder.glitching and mult.glitching and adder.settled and mult.settled:
        lines.append(
            f"power at {CLOCK_MHZ:g} MHz: {_percent(adder.glitching.dynamic, mult.glitching.dynamic)} "
            f"({_percent(adder.settled.dynamic, mult.settled.dynamic)} without glitches); published {low} to {high} %"
        )
        leakages = (1e3 * cost.glitching.leakage for cost in (adder, mult) if cost.glitching)
        lines.append(f"leakage apart: {' against '.join(f'{leakage:.2f}' for leakage in leakages)} uW")
    timed = [cost for cost in costs if cost.request.shape.kernel == "mult" and cost.path_ns]
    if len(timed) > 1:
        fastest = min(timed, key=lambda cost: cost.path_ns or 0.0)
        lines.append(f"the fastest multiplier is {fastest.request.structure}, {fastest.path_ns:.2f} ns")
    powered = [cost for cost in costs if cost.request.shape.kernel == "mult" and cost.glitching]
    if len(powered) > 1 and adder.glitching:
        coolest = min(powered, key=_dynamic)
        lines.append(
            f"the multiplier of least power is {coolest.request.structure}, {_dynamic(coolest):.1f} mW: adder "
            f"{_percent(_dynamic(adder), _dynamic(coolest))}"
        )
    return lines


def _dynamic(cost: CellCost) -> float:
    return cost.glitching.dynamic if cost.glitching else 0.0


def _smallest(costs: Sequence[CellCost], kernel: str) -> CellCost | None:
    rows = [cost for cost in costs if cost.request.shape.kernel == kernel]
    return min(rows, key=lambda cost: cost.netlist.area_um2, default=None)


def _percent(value: float, base: float) -> str:
    return f"{100 * (value / base - 1):+.1f} %"
