"""What whole accelerators cost in standard cells, memories apart: area, the longest path, power on real images.

A BUILD's Verilog is mapped in one piece. Its memories (weights, constants, line buffers, queues) would be macros of a
memory compiler, which an open library does not have; as flip-flops they would outweigh everything else. So they stay as
they are: they work in the simulation, are in no area and no power, and are counted in bits.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.cache import cached, digest
from ...common.errors import UserError
from ...common.reading import read_json
from ...common.temporary import scratch_folder
from ...hdl.folder.build import Build
from ...hdl.folder.vectors import hex_lines
from ...quant import golden
from ...quant.program import Convolution
from ..devices.cell_library import CellLibrary
from .asic import CLOCK_MHZ
from .gates import UNITS_PER_NS, GateActivity, gates_version, load_activity, run_gates, save_activity, started
from .netlist import CLOCK, CellNetlist, VerilogSource, map_to_cells
from .opensta import CellPower, longest_path, power_of
from .toggles import read_vcd

__all__ = ["BuildCost", "modelled_power", "price_builds", "rankings"]

GATES = "gates"
"""The accelerator with a clock called like every circuit's."""
_HALF_NS = 50
"""Half a cycle of the simulation, longer than any path of the slowest cells."""


@dataclass(frozen=True, kw_only=True)
class BuildCost:
    """What a BUILD costs.

    Attributes
    ----------
    kernels : of its layers, each once
    memory_bits : of all memories, which are in no other figure
    settled, glitching : power at `asic.CLOCK_MHZ` without and with the delays of the cells; None where not asked for
    images : that were simulated, bit-exact
    """

    build: Build
    netlist: CellNetlist
    kernels: tuple[str, ...]
    memory_bits: int
    path_ns: float | None = None
    settled: CellPower | None = None
    glitching: CellPower | None = None
    images: int = 0

    @property
    def name(self) -> str:
        """The name of the BUILD folder."""
        return self.build.path.name

    def to_json(self) -> dict[str, Any]:
        """The row that ``addax cells --json`` prints."""
        interval = self.build.schedule.interval
        busy = self.glitching
        return {
            "build": str(self.build.path),
            "name": self.name,
            "kernels": list(self.kernels),
            "lanes": self.build.schedule.lanes,
            "cycles_per_image": interval,
            "cells": self.netlist.cells,
            "ff": self.netlist.flip_flops,
            "area_um2": self.netlist.area_um2,
            "flip_flop_um2": self.netlist.flip_flop_um2,
            "memory_bits": self.memory_bits,
            "path_ns": self.path_ns,
            "fmax_mhz": 1000.0 / self.path_ns if self.path_ns else None,
            "power_mw": busy.dynamic if busy else None,
            "power_settled_mw": self.settled.dynamic if self.settled else None,
            "leakage_mw": busy.leakage if busy else None,
            "power_clock_mhz": CLOCK_MHZ if busy else None,
            "energy_per_image_uj": busy.dynamic * interval / CLOCK_MHZ / 1e3 if busy else None,
            "images": self.images or None,
        }


def price_builds(
    builds: Sequence[Build], library: CellLibrary, *, period_ps: float, timed: bool = True,
    pixels: Sequence[NDArray[np.integer]] | None = None, progress: Callable[[str], None] = lambda text: None,
) -> list[BuildCost]:  # fmt: skip
    """Map BUILDs, one after the other, for the longest path and the power of each. All runs are cached.

    Parameters
    ----------
    period_ps : what the mapper aims at
    pixels : (N, C, H, W) images for each build; None for no power

    Raises
    ------
    UserError
        when a tool is missing or dies, a build has lanes of an FPGA's cells, or the gates give other scores than the
        golden model.
    """
    costs = []
    for k, build in enumerate(builds):
        name = build.path.name
        if build.plan.fabric != "generic":
            raise UserError(f"the lanes of {build.path} are made of cells of an FPGA; generate it with --form generic")
        progress(f"{name}: yosys")
        netlist = map_to_cells(_circuit(build), library, period_ps=period_ps)
        kernels = dict.fromkeys(op.kernel for op in build.program.ops if isinstance(op, Convolution))
        cost = BuildCost(
            build=build, netlist=netlist, kernels=tuple(kernels), memory_bits=_memory_bits(netlist)
        )  # fmt: skip
        if timed:
            progress(f"{name}: longest path")
            cost = replace(cost, path_ns=longest_path(netlist))
        if pixels is not None:
            progress(f"{name}: simulation and power")
            activity = build_activity(netlist, build, pixels[k])
            quiet, busy = (power_of(netlist, a, clock_mhz=CLOCK_MHZ) for a in (activity.quiet(), activity))
            cost = replace(cost, settled=quiet, glitching=busy, images=len(pixels[k]))
        costs.append(cost)
    return costs


def rankings(costs: Sequence[BuildCost], modelled: Mapping[str, float]) -> dict[str, list[str]]:
    """Names of the builds from the least dynamic power to the most, by OpenSTA and by ``modelled`` (mW by name)."""
    measured = {cost.name: cost.glitching.dynamic for cost in costs if cost.glitching}
    return {
        "opensta": sorted(measured, key=lambda name: measured[name]),
        "modelled": sorted((name for name in measured if name in modelled), key=lambda name: modelled[name]),
    }


def modelled_power(builds: Sequence[Build]) -> dict[str, float]:
    """Dynamic power in mW by name of the BUILD, where ``addax report --power`` left its report beside it."""
    found = {}
    for build in builds:
        path = build.path / "report" / "report.json"
        if not path.is_file():
            continue
        report = read_json(path, "report")
        power = report.get("power_mw") if isinstance(report, dict) else None
        if isinstance(power, dict) and isinstance(power.get("dynamic"), int | float):
            found[build.path.name] = float(power["dynamic"])
    return found


_PORT = re.compile(r"^\s*(input|output)\s+(?:\[(\d+):0\]\s+)?(\w+),?$", re.MULTILINE)


def _ports(build: Build) -> list[tuple[str, int, str]]:
    """Direction, width and name of the top module's ports."""
    text = build.sources[0].read_text()
    found = re.search(rf"^module {re.escape(build.prefix)}\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise UserError(f"the Verilog of {build.path} has no module {build.prefix}")
    return [(way, int(high or 0) + 1, name) for way, high, name in _PORT.findall(found[0])]


def _circuit(build: Build) -> VerilogSource:
    """The accelerator with its clock renamed, and its memories apart."""
    ports = _ports(build)
    lines = [f"module {GATES}({', '.join(CLOCK if n == 'aclk' else n for _, _, n in ports)});"]
    lines += [f"{way} {_range(width)}{CLOCK if name == 'aclk' else name};" for way, width, name in ports]
    inner = ", ".join(f".{n}({CLOCK if n == 'aclk' else n})" for _, _, n in ports)
    wrapper = "\n".join([*lines, f"{build.prefix} inner({inner});", "endmodule", ""])
    source = build.sources[0]
    files = {source.name: source.read_bytes(), "gates.v": wrapper.encode()}
    files |= {entry["file"]: (build.path / entry["file"]).read_bytes() for entry in build.manifest["memories"]}
    return VerilogSource(
        files=files, read=(f"read_verilog -defer {source.name}", "read_verilog gates.v"), top=GATES, memories=True
    )


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _memory_bits(netlist: CellNetlist) -> int:
    text = netlist.memories.read_text() if netlist.memories else ""
    found = re.findall(r"^\s*reg \[(\d+):0\] \S+ +\[(\d+):0\];", text, re.MULTILINE)
    return sum((int(high) + 1) * (int(last) + 1) for high, last in found)


def build_activity(netlist: CellNetlist, build: Build, pixels: NDArray[np.integer]) -> GateActivity:
    """Activity of the gates while images flow through without a pause, from the first pixel to the last score.

    Raises
    ------
    UserError
        when the scores are not the golden model's.
    """
    answers = build.design.interface.expected(golden.run(build.program, pixels).output)
    manifest = build.manifest
    files = {
        "stimulus.mem": hex_lines(build.design.interface.pack(pixels), manifest["data_in"]),
        "expected.mem": hex_lines(answers, manifest["data_out"] + 1),
        "bench.v": _bench(netlist, build, len(pixels), len(answers)),
        "accelerator.v": _accelerator(netlist, build),
        "harness.v": build.sources[1].read_text().replace("`timescale 1ns / 1ps", "`timescale 1ns / 10ps").replace(
            "#5 rise", f"#{_HALF_NS} rise"
        ),
    }  # fmt: skip

    def make(folder: Path) -> None:
        with scratch_folder("gates") as work:
            for file, text in files.items():
                (work / file).write_text(text)
            sources = [work / file for file in files if file.endswith(".v")]
            sources += [netlist.verilog, *([netlist.memories] if netlist.memories else [])]
            said = run_gates(work, "bench", sources, netlist)
            watched = re.search(r"PASS (\d+) cycles", said)
            if watched is None:
                last = said.strip().splitlines()[-1:] or ["nothing"]
                raise UserError(f"the gates of {build.path} do not give the golden model's scores: {last[0]}")
            save_activity(folder, read_vcd(work / "gates.vcd", 2 * _HALF_NS * UNITS_PER_NS), int(watched[1]))

    models = netlist.library.file(netlist.library.models).read_bytes()
    parts: list[str | bytes] = [netlist.verilog.read_bytes(), models, *files.values()]
    folder, _ = cached("gates", digest(gates_version(), *parts), make)
    return load_activity(folder)


def _accelerator(netlist: CellNetlist, build: Build) -> str:
    """A module like the build's top, around the netlist, whose ports are single bits."""
    ports = _ports(build)
    lines = [f"module {build.prefix}({', '.join(name for _, _, name in ports)});"]
    lines += [f"    {way} {_range(width)}{name};" for way, width, name in ports]
    bits = {name: width for _, width, name in ports}
    inner = []
    for port in netlist.module["ports"]:
        base, _, index = port.rstrip("_").rpartition("_")
        if port == CLOCK:
            inner.append(f".{port}(aclk)")
        elif port.endswith("_") and bits.get(base, 1) > 1:
            inner.append(f".{port}({base}[{index}])")
        else:
            inner.append(f".{port}({port})")
    return "\n".join([*lines, f"    {GATES} gates({', '.join(inner)});", "endmodule", ""])


def _bench(netlist: CellNetlist, build: Build, images: int, answers: int) -> str:
    """The build's own harness in real time, a watch from its first beat on, and a comparison at the end."""
    hold, free = started(netlist, f"harness.dut.{GATES}")
    harness = build.sources[1].stem
    return f"""\
`timescale 1ns / 10ps
module bench;
    {harness} #(.FAST_CLOCK(0)) harness();
    reg [{build.manifest["data_out"]}:0] expected [0:{answers - 1}];
    integer k, wrong;
    reg [63:0] begun;
    initial begin
{hold}
        #{3 * _HALF_NS}
{free}
    end
    initial begin
        $readmemh("expected.mem", expected);
        harness.images = {images};
        harness.watchdog = {20 * build.schedule.latency + 1000};
        harness.start = 1;
        $dumpfile("gates.vcd");
        wait (harness.sent != 0);
        begun = harness.cycle;
        $dumpvars(1, harness.dut.{GATES});
        wait (harness.done);
        $dumpflush;
        wrong = harness.hung;
        for (k = 0; k < {answers}; k = k + 1) if (harness.results[k] !== expected[k]) wrong = wrong + 1;
        if (wrong == 0) $display("PASS %0d cycles", harness.cycle - begun);
        else $display("%0d of {answers} beats differ", wrong);
        $finish;
    end
endmodule
"""
