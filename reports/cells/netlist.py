"""Circuits mapped to standard cells: yosys with a delay target, the same script for every circuit. Cached."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...common.cache import cached, digest, reading
from ...common.errors import UserError
from ..devices.cell_library import CellLibrary
from ..tools.run import run_tool, yosys_command, yosys_version

__all__ = ["CLOCK", "CellNetlist", "VerilogSource", "map_to_cells"]

CLOCK = "clk"
"""Every circuit has one clock of this name."""


@dataclass(frozen=True, kw_only=True)
class VerilogSource:
    """What is to be mapped.

    Attributes
    ----------
    files : text or contents by name
    read : the commands of yosys that read them
    top : module
    memories : whether memories are kept apart: neither mapped nor counted, see `CellNetlist.memories`
    booth : whether products are made of Booth digits by yosys' own pass, rather than of plain partial products
    """

    files: Mapping[str, bytes]
    read: tuple[str, ...]
    top: str
    memories: bool = False
    booth: bool = False


@dataclass(frozen=True, kw_only=True)
class CellNetlist:
    """A circuit in standard cells. All nets and ports are single bits; bit ``i`` of a port ``p`` is called ``p_i_``.

    Attributes
    ----------
    folder : ``netlist.v``, the same in yosys' JSON, and ``memories.v`` where memories were kept apart
    top : module
    library : of the cells
    """

    folder: Path
    top: str
    library: CellLibrary

    @property
    def verilog(self) -> Path:
        """Cells and nets, and an instance of the memories where they were kept apart."""
        return self.folder / "netlist.v"

    @property
    def memories(self) -> Path | None:
        """Verilog of all memories, as one module; None where there are none apart."""
        path = self.folder / "memories.v"
        return path if path.is_file() else None

    @cached_property
    def module(self) -> dict[str, Any]:
        """Ports, cells and net names, as yosys writes them."""
        with reading(self.folder, "netlist"):
            content: dict[str, Any] = json.loads((self.folder / "netlist.json").read_text())["modules"][self.top]
            return content

    @cached_property
    def counts(self) -> Counter[str]:
        """Standard cells by type."""
        known = self.library.cells()
        found = Counter(cell["type"] for cell in self.module["cells"].values())
        return Counter({name: count for name, count in found.items() if name in known})

    @property
    def cells(self) -> int:
        """How many standard cells there are."""
        return self.counts.total()

    @property
    def flip_flops(self) -> int:
        """How many of the cells are flip-flops."""
        return sum(self.counts[name] for name in self.library.flip_flops)

    @property
    def area_um2(self) -> float:
        """Sum of the areas of the cells; no wires, no space between cells."""
        known = self.library.cells()
        return sum(known[name].area * count for name, count in self.counts.items())

    @property
    def flip_flop_um2(self) -> float:
        """Area of the flip-flops alone."""
        known = self.library.cells()
        return sum(known[name].area * self.counts[name] for name in self.library.flip_flops)

    def ports(self, direction: str) -> list[str]:
        """Names of the ``input`` or ``output`` ports, the clock aside."""
        return [n for n, p in self.module["ports"].items() if p["direction"] == direction and n != CLOCK]

    def sources(self) -> list[str]:
        """Nets that come from outside the cells: input ports, the clock aside, and what memories apart give."""
        nets, found = self.nets(), self.ports("input")
        for cell in self.module["cells"].values():
            if cell["type"] == f"{self.top}_memories":
                for port, bits in cell["connections"].items():
                    if cell["port_directions"][port] == "output":
                        found += [nets[bit] for bit in bits if isinstance(bit, int) and bit in nets]
        return list(dict.fromkeys(found))

    def without_memories(self) -> str:
        """The Verilog of the cells alone: what memories apart give are ports."""
        text = self.verilog.read_text()
        if self.memories is None:
            return text
        given = set(self.sources()) - set(self.ports("input"))
        text = re.sub(rf"^  {self.top}_memories .*?\);\n", "", text, flags=re.DOTALL | re.MULTILINE)
        wire = re.compile(r"^  wire (\w+);\n", re.MULTILINE)
        text = wire.sub(lambda m: f"  input {m[1]};\n" if m[1] in given else m[0], text)
        head = f"module {self.top}("
        return text.replace(head, head + "".join(f"{net}, " for net in sorted(given)), 1)

    def nets(self) -> dict[int, str]:
        """A name of every net by yosys' number of its bit; that of the port where it is one."""
        names = {entry["bits"][0]: name for name, entry in self.module["netnames"].items() if entry["bits"]}
        return names | {port["bits"][0]: name for name, port in self.module["ports"].items()}


_MEMORIES = """\
select -module {top}
setattr -set submod "memories" t:$mem_v2
submod
select -clear
rename -enumerate -pattern port% {top}_memories/w:*
select {top}_memories
write_verilog -noattr -selected memories.v
select -clear
blackbox {top}_memories
"""


def map_to_cells(circuit: VerilogSource, library: CellLibrary, *, period_ps: float) -> CellNetlist:
    """Map ``circuit``. Yosys' own script for a library and a delay target: structural choices, then mapping, buffers
    for large fan-outs, and sizes up and down until the target holds or nothing helps.

    Parameters
    ----------
    period_ps : what the mapper aims at

    Raises
    ------
    UserError
        when the library is not installed, or yosys fails.
    """
    liberty = library.file(library.liberty).read_bytes()
    top = circuit.top
    apart = _MEMORIES.format(top=top) if circuit.memories else ""
    script = f"""\
{chr(10).join(circuit.read)}
synth -flatten -top {top}{" -booth" if circuit.booth else ""} -run begin:fine
{apart}synth -top {top} -run fine:check
dfflibmap -liberty cells.lib
abc -liberty cells.lib -constr drive.constr -D {period_ps:.0f}
setundef -zero -undriven
opt_clean -purge
splitnets -ports -format __
opt_clean -purge
rename -hide
rename -enumerate -pattern n%
read_liberty -lib -ignore_miss_func -overwrite cells.lib
select -module {top}
write_verilog -noattr -noexpr -nohex -selected netlist.v
write_json -selected netlist.json
"""
    drive = f"set_driving_cell {library.driver}\nset_load {library.load_ff:g} [all_outputs]\n"

    def make(folder: Path) -> None:
        for name, content in circuit.files.items():
            (folder / name).write_bytes(content)
        (folder / "cells.lib").write_bytes(liberty)
        (folder / "drive.constr").write_text(drive)
        (folder / "map.ys").write_text(script)
        run_tool([*yosys_command(), "-q", "-s", "map.ys"], folder, "yosys")
        if not (folder / "netlist.json").is_file():
            raise UserError("yosys ended without a netlist of cells")
        (folder / "cells.lib").unlink()
        for name in circuit.files:
            (folder / name).unlink()

    contents = [part for name, content in sorted(circuit.files.items()) for part in (name, content)]
    folder, _ = cached("standard-cells", digest(yosys_version(), liberty, drive, script, *contents), make)
    netlist = CellNetlist(folder=folder, top=top, library=library)
    strange = {c["type"] for c in netlist.module["cells"].values()} - set(library.cells()) - {f"{top}_memories"}
    if strange:
        raise UserError(f"{library.name} has no cell for {', '.join(sorted(strange))}")
    return netlist
