"""What an engine takes on a device, block by block beside its lanes and trees, and the clock that it reaches on ECP5.

Blocks are synthesised by themselves; the rest is what the whole has beside them. Blocks that are placed by themselves
show the paths from register to register in them; a block's way in and out is in the whole alone.
"""

import json
import re
from collections import Counter
from dataclasses import replace

from addax.common.temporary import scratch_folder
from addax.hdl.engine.compile.transfers import queue_rooms
from addax.hdl.engine.control import EngineControl
from addax.hdl.engine.core.issuer import Issuer
from addax.hdl.engine.core.lanes import Lanes
from addax.hdl.engine.core.loader import StepLoader
from addax.hdl.engine.core.requantisers import Requantisers
from addax.hdl.engine.core.results import Residuals, ResultWords
from addax.hdl.engine.core.steps import Planner
from addax.hdl.engine.core.sums import PixelSums
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.top import EngineTop
from addax.hdl.engine.transfer.reader import MemoryReader
from addax.hdl.engine.transfer.writer import MemoryWriter
from addax.hdl.verilog.emit import to_verilog
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.engine.parts import LARGE_MEMORY, without_contents
from addax.reports.synth.place import place_netlist
from addax.reports.tools.run import run_tool, yosys_command
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["engine_size"]

SUM_BITS = 24
LANES = "lanes and trees"


class _LanesAlone(wiring.Component):
    """The lanes without the way by which the taps of a pool pass them: what the size of an engine is compared with."""

    def __init__(self, plan):
        self.lanes = Lanes(plan)
        super().__init__({name: member for name, member in self.lanes.signature.members.items() if name != "pool"})

    def elaborate(self, platform):
        m = Module()
        m.submodules.lanes = self.lanes
        for name, member in self.signature.members.items():
            inner, outer = getattr(self.lanes, name), getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        return m


class _Sequencer(wiring.Component):
    """Planner, loader and issuer as they stand in the core."""

    def __init__(self, plan):
        self.planner, self.loader, self.issuer = Planner(plan), StepLoader(plan), Issuer(plan)
        self.outside = {
            **{("planner", "i"): self.planner.signature.members["i"]},
            **{("loader", name): member for name, member in self.loader.signature.members.items() if name not in "io"},
            **{("issuer", name): member for name, member in self.issuer.signature.members.items() if name != "i"},
        }  # fmt: skip
        super().__init__({"_".join(names): member for names, member in self.outside.items()})

    def elaborate(self, platform):
        m = Module()
        for block in ("planner", "loader", "issuer"):
            m.submodules[block] = getattr(self, block)
        wiring.connect(m, self.planner.o, self.loader.i)
        wiring.connect(m, self.loader.o, self.issuer.i)
        for (block, name), member in self.outside.items():
            inner, outer = getattr(getattr(self, block), name), getattr(self, f"{block}_{name}")
            if member.is_signature:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        return m


BLOCKS = {
    LANES: _LanesAlone,
    "sums of pixels, pools": lambda plan: PixelSums(plan, Lanes(plan).step),
    "requantisers": Requantisers,
    "residuals": Residuals,
    "words of results": ResultWords,
    "planner": Planner,
    "loader": StepLoader,
    "issuer": Issuer,
    "reader": lambda plan: MemoryReader(plan, queue_rooms(plan)),
    "writer": MemoryWriter,
    "control registers": EngineControl,
}


CHOICES = {"--product": {"product": True}, "--tables 8": {"tables": 8}}
"""What an engine may have beside, and the values of its Plan."""


def _plan(name, lanes):
    return EnginePlan(
        device=name, pin=lanes, pout=lanes, kernels=("adder",), fabric=device(name).fabric, memory_bits=8 * lanes,
        sum_bits=SUM_BITS,
    )  # fmt: skip


def _synthesised(component, target, folder):
    """Resources of ``component``; its netlist is left in ``folder``."""
    (folder / "block.v").write_text(without_contents(to_verilog(component, "block"), above=LARGE_MEMORY))
    synth = f"{target.synth} -flatten" if target.family != "ecp5" else f"{target.synth} -abc9"
    script = f"read_verilog -defer block.v; {synth} -top block; write_json block.json; tee -o cells.json stat -json"
    run_tool([*yosys_command(), "-q", "-p", script], folder, "yosys")
    cells = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    return Resources.of_cells(Counter(cells), target.family)


PLACED = {
    "planner, loader, issuer": _Sequencer, "reader": BLOCKS["reader"], "writer": BLOCKS["writer"],
    "requantisers": Requantisers, "lanes": Lanes, "engine": EngineTop,
}  # fmt: skip
"""What is placed on ECP5, the whole engine last."""


def engine_size(row):
    """Lookup tables of the blocks of 16 x 16 lanes on xczu7ev, then the clock of blocks and engine on ECP5: all of
    8 x 8, and the engine of 16 x 16."""
    plan, target = _plan("xczu7ev", 16), device("xczu7ev")
    found = {}
    for name, make in {**BLOCKS, "whole": EngineTop}.items():
        with scratch_folder("engine") as folder:
            found[name] = _synthesised(make(plan), target, folder)
        row(name, found[name].lut, "LUT", f"{found[name].dsp} DSP, {found[name].bram} block RAM")
    whole = found.pop("whole")
    row(
        "rest: queues, ring, taps that pass by, what joins them",
        whole.lut - sum(own.lut for own in found.values()),
        "LUT",
    )
    row("whole beside lanes and trees", whole.lut / found[LANES].lut, "times")
    for name, changes in CHOICES.items():
        with scratch_folder("engine") as folder:
            more = _synthesised(EngineTop(replace(plan, **changes)), target, folder)
        row(
            f"{name} adds",
            more.lut - whole.lut,
            "LUT",
            f"{more.dsp - whole.dsp} DSP, {more.bram - whole.bram} block RAM",
        )
    for name in PLACED:
        clock_on_ecp5(8, row, name)
    clock_on_ecp5(16, row)


def clock_on_ecp5(lanes, row, name="engine", seed=1):
    """Size and clock of a block, or of a whole engine, on ecp5-85k, and the blocks along its slowest path."""
    plan, target = _plan("ecp5-85k", lanes), device("ecp5-85k")
    with scratch_folder("engine") as folder:
        found = _synthesised(PLACED[name](plan), target, folder)
        row(
            f"{lanes} x {lanes} on ECP5, {name}",
            found.lut,
            "LUT4",
            f"{found.ff} FF, {found.dsp} DSP, {found.bram} block RAM",
        )
        routed = place_netlist(folder / "block.json", target, top="block", clock_mhz=125, seed=seed, owners=_Cells())
    row(f"{lanes} x {lanes} on ECP5, {name}", routed.fmax_mhz, "MHz")
    for step in routed.path:
        row(f"  {step.name}", step.delay_ns, "ns", f"{step.logic_ns:.1f} of it in {step.cells} cells")


class _Cells:
    """Owners of cells for the path: the instance and the signal that a cell drives, without numbers."""

    def cell(self, name):
        levels = re.sub(r"_(LUT4|CCU2C|TRELLIS_FF|PFUMX|L6MUX21|DP16KD|MULT18X18D).*", "", name).split(".")
        return ".".join(re.sub(r"\d+", "#", level) for level in levels[2:-1]), re.sub(r"\d+", "#", levels[-1])
