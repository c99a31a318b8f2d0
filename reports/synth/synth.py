"""Synthesis with yosys: resources per stage and block. Cached by content."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...common.cache import cached, digest, reading
from ...common.errors import UserError
from ...common.executor import all_results
from ...hdl.blocks import BLOCKS, BlockOf
from ...hdl.folder.build import Build
from ...hdl.memory.image import ROMS
from ...hdl.verilog.names import module_name
from ..devices.devices import Device
from ..devices.parts import VerilogPart, cut
from ..devices.resources import Resources
from ..tools.run import run_tool, yosys_command, yosys_name, yosys_version
from .absorb import ABSORBED, absorb_registers
from .pairing import VERSION, paired_luts

__all__ = [
    "INTERCONNECT", "TABLE", "Synthesis", "counts_in", "joined", "map_netlist", "map_part", "map_parts", "parts_of",
    "synthesise",
]  # fmt: skip

INTERCONNECT = "between stages"
"""What joins the stages: beats that are split, and the top itself."""
AT_ONCE = 2
"""Runs of yosys side by side: a large stage takes more than a gigabyte."""
CONSTANTS = Path(__file__).with_name("constants.v")
"""Tells yosys how to put memories of constants into lookup tables."""
ABSORBING = "ecp5"
"""The family whose registers around multipliers are moved by `absorb`: yosys does it for Xilinx's by itself."""
_REGISTERS = ("FF", "FD")
"""What the names of cells that are flip-flops hold."""
TABLE = "table"
"""Module that reads the file of a `Table`; those of a `Rom` are named in `ROMS`."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What synthesis gave.

    Attributes
    ----------
    parts : resources per stage, of the packet, and of what joins them: width converters and the top itself
    blocks : the same per stage and block of it, of `hdl.blocks.BLOCKS`; what joins the stages is one block, ""
    paired : lookup tables of each part once small ones share a dual-output site (`pairing`); None where there are none
    netlists : of the parts, in yosys' JSON, in the order of ``parts``; none where nothing could place them
    """

    parts: dict[str, Resources]
    blocks: dict[str, dict[str, Resources]]
    paired: dict[str, int] | None = None
    netlists: tuple[Path, ...] = field(default=(), repr=False)
    tool: str
    version: str

    @property
    def total(self) -> Resources:
        """Sum of the parts."""
        return sum(self.parts.values(), Resources())


def synthesise(
    build: Build, target: Device, *, executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Synthesis:  # fmt: skip
    """Run yosys for ``target``, for each stage by itself, so that each can be counted.

    Parameters
    ----------
    executor : runs the parts; by default two at once
    progress : told how many parts are done, and of how many

    Raises
    ------
    UserError
        when yosys is missing or fails: its last lines. The parts that ended well stay in the cache.
    """
    return map_parts(parts_of(build), build.path, target, executor=executor, progress=progress)


def parts_of(build: Build) -> list[VerilogPart]:
    """The Verilog of ``build``, cut into its parts, those at its ends, and the rest."""
    design = build.design
    named = [(part.name, (design.inner, part.instance)) for part in (*design.parts, *design.ends)]
    kinds = (TABLE, *(ROMS[kind][0] for kind in sorted(design.rom_kinds)))
    shared = [module_name(build.prefix, kind) for kind in kinds]
    made = cut(build.sources[0].read_text(), top=build.prefix, inner=named, rest=INTERCONNECT, shared=shared)
    with_blocks = len(design.parts)
    return [replace(part, block_of=design.block_of) for part in made[:with_blocks]] + made[with_blocks:]


def map_parts(
    parts: Sequence[VerilogPart], memories: Path, target: Device, *, executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Synthesis:  # fmt: skip
    """Synthesise ``parts``, whose memory files are in the folder ``memories``; see `synthesise`."""
    folders = all_results(
        [partial(_map, part, memories, target) for part in parts], threads=AT_ONCE, executor=executor,
        progress=lambda done: progress(done, len(parts)),
    )  # fmt: skip
    counted = [counts_in(folder) for folder in folders]
    names = [part.name for part in parts]
    paired = {name: cells["paired"] for name, cells in zip(names, counted, strict=True)}
    return Synthesis(
        parts={
            name: Resources.of_cells(cells["cells"], target.family) for name, cells in zip(names, counted, strict=True)
        },
        blocks={
            name: {block: Resources.of_cells(own, target.family) for block, own in cells["blocks"].items()}
            for name, cells in zip(names, counted, strict=True)
        },
        paired=paired if target.pairs_luts else None,
        netlists=tuple(folder / "netlist.json" for folder in folders) if target.nextpnr else (),
        tool=yosys_name(), version=yosys_version(),
    )  # fmt: skip


def map_part(part: VerilogPart, memories: Path, target: Device) -> dict[str, int]:
    """Cells of one part by type, cached; see `map_parts`."""
    return counts_in(_map(part, memories, target))["cells"]


def map_netlist(part: VerilogPart, memories: Path, target: Device) -> tuple[dict[str, int], Path]:
    """As `map_part`, and the netlist in yosys' JSON, for any device."""
    folder = _map(part, memories, target, keep=target.nextpnr is None)
    return counts_in(folder)["cells"], folder / "netlist.json"


def counts_in(folder: Path) -> dict[str, Any]:
    """What ``cells.json`` of an entry of the cache says: cells by type, those of every block, and paired tables."""
    with reading(folder, "counts of cells"):
        found: dict[str, Any] = json.loads((folder / "cells.json").read_text())
        for cells in (found["cells"], *found.get("blocks", {}).values()):
            if not all(type(count) is int and count >= 0 for count in cells.values()):
                raise ValueError("a count is no natural number")
        paired = found["paired"]
        if paired is not None and type(paired) is not int:
            raise ValueError("the count of paired tables is no natural number")
        return found


def _map(part: VerilogPart, memories: Path, target: Device, *, keep: bool = False) -> Path:
    """Folder with ``cells.json``, and ``netlist.json`` where there is something that places it, or it is to be kept."""
    version = yosys_version()
    # Flattened: the mapper ends without a word on some designs that keep their hierarchy.
    options = [target.synth, target.flatten, "" if part.outer else target.no_pads, f"-top {part.top}"]
    synth = " ".join(option for option in options if option)
    steps = [synth]
    if target.memories_left:
        steps = [
            f"{synth} -run begin:{target.memories_left}", "memory_nordff t:$mem_v2 r:WR_PORTS=0 %i",
            f"techmap -map {CONSTANTS.name}", "opt_merge", "opt_clean", target.map_tables,
            f"{synth} -run {target.memories_left}:",
        ]  # fmt: skip
    script = "\n".join([
        "read_verilog -defer part.v",
        *steps,
        *(() if target.names_cells else ("autoname",)),
        "tee -q -o stat.json stat -json",
        "write_json netlist.json",
        "",
    ])  # fmt: skip
    contents = [(memories / name).read_bytes() for name in part.files]
    maps = {CONSTANTS.name: CONSTANTS.read_text()} if target.memories_left else {}
    key = digest(
        version, VERSION, part.block_of.key if part.block_of else "", script, part.text, *maps.values(), *contents,
        *(["netlist"] if keep else []), *([ABSORBED] if target.family == ABSORBING else []),
    )  # fmt: skip

    def make(folder: Path) -> None:
        for name, text in {"part.v": part.text, "synth.ys": script, **maps}.items():
            (folder / name).write_text(text)
        for name, content in zip(part.files, contents, strict=True):
            (folder / name).write_bytes(content)
        run_tool([*yosys_command(), "-q", "-s", "synth.ys"], folder, f"yosys for {part.name}")
        if not (folder / "stat.json").is_file() or not (folder / "netlist.json").is_file():
            raise UserError(f"yosys ended without counting the cells of {part.name}")
        found = json.loads((folder / "stat.json").read_text())["design"].get("num_cells_by_type", {})
        cells = {name: count for name, count in found.items() if name not in part.shells}
        netlist = json.loads((folder / "netlist.json").read_text())["modules"][part.top]["cells"]
        if target.family == ABSORBING:
            cells = dict(Counter(cells) - _absorbed(folder / "netlist.json", part.top))
            netlist = json.loads((folder / "netlist.json").read_text())["modules"][part.top]["cells"]
        pairs = paired_luts(netlist) if target.pairs_luts else None
        blocks = _blocks(netlist, part.block_of) if part.block_of else {"": cells}
        (folder / "cells.json").write_text(json.dumps({"cells": cells, "blocks": blocks, "paired": pairs}))
        if target.nextpnr is None and not keep:
            (folder / "netlist.json").unlink()  # tens of megabytes that nobody reads again

    folder, _ = cached("synth", key, make)
    return folder


def _absorbed(path: Path, top: str) -> Counter[str]:
    """Move registers of the netlist in ``path`` into multiplier blocks, see `absorb`; which cells are gone."""
    document = json.loads(path.read_text())
    module = document["modules"][top]
    gone = absorb_registers(module["cells"], [bit for port in module["ports"].values() for bit in port["bits"]])
    if gone:
        path.write_text(json.dumps(document))
    return gone


def _blocks(netlist: dict[str, Any], block_of: BlockOf) -> dict[str, dict[str, int]]:
    """Cells of a part's blocks by type, blocks in the order of `BLOCKS`.

    Flattening keeps the hierarchy in the names of cells, and synthesis names what it makes itself after what that
    drives.
    """
    found: dict[str, Counter[str]] = {}
    for name, cell in netlist.items():
        if not cell["type"].startswith("$"):
            block = block_of.cell(name, register=any(kind in cell["type"] for kind in _REGISTERS))
            found.setdefault(block, Counter())[cell["type"]] += 1
    return {block: dict(found[block]) for block in sorted(found, key=BLOCKS.index)}


def joined(netlists: Sequence[Path], top: str) -> Path:
    """The netlists of parts as one file, whose ``top`` instantiates them; cells of the device are the same in all."""

    def make(folder: Path) -> None:
        modules: dict[str, Any] = {}
        creator = ""
        for path in netlists:
            document = json.loads(path.read_text())
            creator = document["creator"]
            for name, module in document["modules"].items():
                module["attributes"].pop("top", None)
                # A part is an empty module in the netlist of what instantiates it.
                if name not in modules or not module["attributes"].keys() & {"blackbox", "whitebox"}:
                    modules[name] = module
        modules[top]["attributes"]["top"] = f"{1:032b}"
        (folder / "netlist.json").write_text(json.dumps({"creator": creator, "modules": modules}))

    folder, _ = cached("joined", digest(top, *(path.read_bytes() for path in netlists)), make)
    return folder / "netlist.json"
