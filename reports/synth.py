"""Synthesis and place-and-route with open tools: resources per stage, Fmax. Cached by content."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..hdl.dataflow import PIPELINE, STAGE
from ..hdl.emit import Build
from .devices import Device
from .tools import find_tool, run_tool, tool_version, yosys_command, yosys_name, yosys_version

__all__ = ["Resources", "Synthesis", "place", "place_netlist", "placer", "synthesise"]

LUTS_PER_CARRY = 2
"""A CCU2C holds two LUT4."""
PACKET = "packet"
INTERCONNECT = "between stages"
"""What joins the stages: beats that are split, and the top itself."""
LUTS_PER_RAM = 6
"""A 16x4 distributed RAM holds four LUT4, and its write port the two of a third slice."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a part of a design. ``lut`` counts tables, and those that carry cells and distributed RAM take."""

    lut: int = 0
    ff: int = 0
    bram: int = 0
    dsp: int = 0
    carry: int = 0
    lutram: int = 0

    @classmethod
    def of_cells(cls, cells: Mapping[str, int], family: str = "ecp5") -> "Resources":
        """From yosys' cell counts.

        ECP5: LUT4, two per CCU2C, six per distributed RAM. Xilinx: all lookup tables (a LUT6_2 is one; an inverter is
        one, too), distributed RAM and shift registers; carry cells apart. iCE40: SB_LUT4, whose cells hold the carries.
        """
        return _COUNTS[family](Counter(cells))

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{key: value + getattr(other, key) for key, value in vars(self).items()})


def _count_ecp5(cells: Counter[str]) -> Resources:
    carry, lutram = cells["CCU2C"], cells["TRELLIS_DPR16X4"]
    return Resources(
        lut=cells["LUT4"] + LUTS_PER_CARRY * carry + LUTS_PER_RAM * lutram, ff=cells["TRELLIS_FF"],
        bram=cells["DP16KD"], dsp=cells["MULT18X18D"], carry=carry, lutram=lutram,
    )  # fmt: skip


def _count_xilinx(cells: Counter[str]) -> Resources:
    def starting(*starts: str) -> int:
        return sum(count for name, count in cells.items() if name.startswith(starts))

    lutram = starting("RAM16", "RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "SRL")
    return Resources(
        lut=starting("LUT", "INV") + lutram, ff=starting("FD"), bram=starting("RAMB"), dsp=starting("DSP48"),
        carry=starting("CARRY"), lutram=lutram,
    )  # fmt: skip


def _count_ice40(cells: Counter[str]) -> Resources:
    ff = sum(count for name, count in cells.items() if name.startswith("SB_DFF"))
    return Resources(
        lut=cells["SB_LUT4"], ff=ff, bram=cells["SB_RAM40_4K"], dsp=cells["SB_MAC16"], carry=cells["SB_CARRY"]
    )


_COUNTS: dict[str, Callable[[Counter[str]], Resources]] = {
    "ecp5": _count_ecp5, "xc7": _count_xilinx, "xcup": _count_xilinx, "ice40": _count_ice40,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What synthesis gave.

    Attributes
    ----------
    parts : resources per stage; ``interconnect`` is what joins them: width converters and the top itself
    netlist : JSON netlist for nextpnr
    """

    total: Resources
    parts: dict[str, Resources] = field(default_factory=dict)
    netlist: Path
    tool: str
    version: str


def synthesise(build: Build, target: Device) -> Synthesis:
    """Run yosys for ``target``, with the stages kept apart so that each can be counted.

    Raises
    ------
    UserError
        when yosys is missing or fails: its last lines. Nothing is cached then.
    """
    version = yosys_version()
    top = build.prefix
    names = [STAGE + stage.name for stage in build.plan.stages] + [PACKET]
    inner = f"{top}.{PIPELINE}."
    kept = " ".join(inner + name for name in names)
    script = "\n".join([
        f"read_verilog -defer {top}.v",
        f"hierarchy -top {top}",
        f"setattr -mod -set keep_hierarchy 1 {kept}",
        f"{target.synth} -top {top} -json netlist.json",
        "tee -q -o stat.json stat -json",
        "",
    ])  # fmt: skip
    files = [build.sources[0], *(build.path / entry["file"] for entry in build.manifest["memories"])]
    key = digest(version, script, *(part for file in files for part in (file.name, file.read_bytes())))

    def make(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        (folder / "synth.ys").write_text(script)
        run_tool([*yosys_command(), "-q", "-s", "synth.ys"], folder, "yosys")
        if not (folder / "stat.json").is_file():
            raise UserError("yosys ended without counting cells")

    folder, _ = cached("synth", key, make)
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    parts: dict[str, Resources] = {}
    for module, entry in modules.items():
        name = module.removeprefix("\\")
        part = name.removeprefix(inner) if name.startswith(inner) else INTERCONNECT
        parts[part] = parts.get(part, Resources()) + Resources.of_cells(
            entry.get("num_cells_by_type", {}), target.family
        )
    if missing := [name for name in names if name not in parts]:
        raise UserError(f"yosys counted no cells of {', '.join(missing)}")
    ordered = {name.removeprefix(STAGE): parts[name] for name in names}
    ordered[INTERCONNECT] = parts.get(INTERCONNECT, Resources())
    return Synthesis(
        total=sum(ordered.values(), Resources()), parts=ordered, netlist=folder / "netlist.json",
        tool=yosys_name(), version=version,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What place and route gave: the clock each seed reached, and their median."""

    fmax_mhz: float
    seeds_mhz: tuple[float, ...]
    tool: str
    version: str


def place(build: Build, synthesis: Synthesis, target: Device, *, clock_mhz: float, seeds: int = 1) -> Placement:
    """Place and route with nextpnr; on ECP5 out of context (ports stay inside the fabric).

    Raises
    ------
    UserError
        when nextpnr is missing, or the design does not fit the device: its last lines.
    """
    version = tool_version(find_tool(placer(target)), "nextpnr")
    reached = [
        place_netlist(synthesis.netlist, target, top=build.prefix, clock_mhz=clock_mhz, seed=seed)
        for seed in range(1, seeds + 1)
    ]
    middle = sorted(reached)[len(reached) // 2]
    return Placement(fmax_mhz=middle, seeds_mhz=tuple(reached), tool=placer(target), version=version)


def placer(target: Device) -> str:
    """Name of the program that places and routes for ``target``; raises `UserError` where there is none."""
    if target.nextpnr is None:
        raise UserError(f"there is no open place and route for {target.name}; leave out --place")
    return target.nextpnr


def place_netlist(netlist: Path, target: Device, *, top: str, clock_mhz: float, seed: int) -> float:
    """Place and route a netlist; the clock it reaches, in MHz. Cached."""
    command = find_tool(placer(target))
    options = [*target.place.split(), "--freq", f"{clock_mhz:g}", "--seed", str(seed), "--top", top]
    key = digest(tool_version(command, "nextpnr"), *options, netlist.read_bytes())

    def make(folder: Path) -> None:
        shutil.copy(netlist, folder / "netlist.json")
        run_tool(
            [command, *options, "--json", "netlist.json", "--report", "report.json", "--timing-allow-fail", "-q"],
            folder, "nextpnr",
        )  # fmt: skip
        (folder / "netlist.json").unlink()

    folder, _ = cached("place", key, make)
    clocks = json.loads((folder / "report.json").read_text())["fmax"].values()
    return min(float(clock["achieved"]) for clock in clocks)
