"""What the RTL of an engine consists of, before anything is mapped: sums, selections, registers, memories, by block.

yosys reads the Verilog and does nothing but find registers and memories in it, which takes seconds where synthesis
takes minutes. So counts follow the RTL, whatever is changed there.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from typing import Any

from ...common.cache import cached, digest, reading
from ...hdl.folder.engine import EngineBuild
from ..devices.memories import MemoryShape, mapped
from ..devices.multipliers import blocks
from ..devices.resources import Resources
from ..tools.run import run_tool, yosys_command, yosys_version
from .parts import EngineOwners, without_contents

__all__ = ["RTL_KINDS", "RtlCounts", "counts_of_cells", "rtl_counts"]

RTL_KINDS = (
    "add",
    "less",
    "equal",
    "all",
    "bits",
    "select",
    "gate",
    "choose",
    "shift",
    "register",
    "product",
    "bypass",
)
"""Sums and differences; comparisons of size; of equality; any or all of many bits; functions bit by bit; one of two
words; a word or a constant; one of many words; shifts; flip-flops; operands of multiplications that go into multiplier
blocks; memories whose writes are delayed, for they cannot read what they write. All in bits."""
_KIND_OF = {
    **dict.fromkeys(("$add", "$sub", "$neg", "$alu"), "add"), **dict.fromkeys(("$lt", "$le", "$gt", "$ge"), "less"),
    **dict.fromkeys(("$eq", "$ne", "$eqx", "$nex"), "equal"),
    **dict.fromkeys(("$reduce_and", "$reduce_or", "$reduce_xor", "$reduce_bool", "$logic_not"), "all"),
    **dict.fromkeys(("$logic_and", "$logic_or"), "all"), **dict.fromkeys(("$and", "$or", "$xor", "$xnor"), "bits"),
    **dict.fromkeys(("$shl", "$shr", "$sshl", "$sshr", "$shift", "$shiftx"), "shift"),
}  # fmt: skip
_REGISTERS = ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce", "$adff", "$adffe", "$aldff")
_SCRIPT = (
    "read_verilog part.v; hierarchy -top {top}; proc; opt -fast; wreduce; opt_clean; memory -nomap; opt -fast; "
    "opt_clean; write_json found.json"
)


@dataclass(frozen=True, kw_only=True)
class RtlCounts:
    """Counts of a block.

    Attributes
    ----------
    bits : of each of `RTL_KINDS`
    bram, dsp : blocks, as synthesis maps memories and multiplications
    lutram, ram_luts : distributed memories, and lookup tables that they take
    instances : cells of the device that stand in the RTL, as they do in device form
    """

    bits: Mapping[str, float]
    bram: float = 0
    dsp: int = 0
    lutram: int = 0
    ram_luts: int = 0
    instances: Resources = field(default_factory=Resources)


def rtl_counts(build: EngineBuild, family: str) -> dict[str, RtlCounts]:
    """Counts of ``build`` for devices of ``family``, by block as reports call them; trees are counted with the lanes.

    Raises
    ------
    UserError
        when yosys is missing or fails.
    """
    modules, owners, found = _modules(build), EngineOwners.of(build), dict[str, list[Mapping[str, Any]]]()
    for way, cell in _below(modules, build.prefix):
        block, _ = owners.cell(way)
        found.setdefault("lanes" if block == "trees" else block, []).append(cell)
    return {block: counts_of_cells(cells, family) for block, cells in found.items()}


def _below(modules: Mapping[str, Any], top: str, way: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every cell of the module ``top`` and of what it holds, with the instances on the way to it and a name behind
    them, joined by dots: that of a memory, or one that nothing is called."""
    for name, cell in modules[top]["cells"].items():
        if cell["type"] in modules:
            yield from _below(modules, cell["type"], f"{way}{name}.")
        else:
            yield way + (name if cell["type"] == "$mem_v2" else "cell"), cell


def _modules(build: EngineBuild) -> dict[str, Any]:
    """What yosys finds in the Verilog of ``build``, in its JSON. Cached by content."""
    text, script = without_contents(build.sources[0].read_text(), above=0), _SCRIPT.format(top=build.prefix)

    def make(folder: Path) -> None:
        (folder / "part.v").write_text(text)
        run_tool([*yosys_command(), "-q", "-p", script], folder, "yosys")
        (folder / "part.v").unlink()

    folder, _ = cached("rtl", digest(yosys_version(), script, text), make)
    with reading(folder, "cells of the RTL"):
        modules: dict[str, Any] = json.loads((folder / "found.json").read_text())["modules"]
        return modules


def counts_of_cells(cells: list[Mapping[str, Any]], family: str) -> RtlCounts:
    """Counts of cells in yosys' JSON."""
    bits: Counter[str] = Counter()
    bram, dsp, lutram, ram_luts = 0.0, 0, 0, 0
    for cell in cells:
        if cell["type"] == "$mul":
            a, b, signed = (_number(cell, name) for name in ("A_WIDTH", "B_WIDTH", "A_SIGNED"))
            dsp += blocks(family, a, b, signed=(bool(signed), bool(_number(cell, "B_SIGNED"))))
            bits["product"] += a + b
        elif cell["type"] == "$mem_v2":
            place = mapped(shape := _memory(cell), family)
            bram += place.bram
            if place.delayed:
                bits["bypass"] += shape.width
            if place.cell is None:
                bits["register"] += shape.width * shape.depth
                bits["select"] += shape.width * (shape.depth - 1)
            elif place.cell.kind == "distributed":
                lutram += place.cells
                ram_luts += int(place.cells * place.cell.units)
            if shape.clocked and place.bram == 0:
                bits["register"] += shape.width
        else:
            bits.update(dict(_counted(cell)))
    instances = Resources.of_cells(Counter(cell["type"] for cell in cells), family)
    return RtlCounts(
        bits=dict(bits), bram=bram, dsp=dsp, lutram=lutram, ram_luts=ram_luts, instances=instances
    )  # fmt: skip


def _counted(cell: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Bits of the kinds of a cell."""
    name = cell["type"]
    if name in _REGISTERS:
        yield "register", _number(cell, "WIDTH")
    elif name == "$mux":
        few, many = sorted(_constants(cell, port) for port in "AB")
        yield "select", _number(cell, "WIDTH") - many
        yield "gate", many - few
    elif name == "$pmux":
        yield "choose", _number(cell, "WIDTH") * _number(cell, "S_WIDTH")
    elif kind := _KIND_OF.get(name):
        yield kind, _bits(cell, kind)


def _bits(cell: Mapping[str, Any], kind: str) -> float:
    widths = [_number(cell, f"{port}_WIDTH") for port in "AB" if f"{port}_WIDTH" in cell["parameters"]]
    if kind in ("less", "equal"):
        return max(widths)
    if kind == "all":
        return sum(widths)
    y = _number(cell, "Y_WIDTH")
    return y * max(1.0, log2(max(2, widths[0]))) if kind == "shift" else y


def _constants(cell: Mapping[str, Any], port: str) -> int:
    """Bits of a port that never change."""
    return sum(isinstance(bit, str) for bit in cell["connections"][port])


def _memory(cell: Mapping[str, Any]) -> MemoryShape:
    style = cell["attributes"].get("ram_style", "")
    return MemoryShape(
        width=_number(cell, "WIDTH"), depth=_number(cell, "SIZE"), clocked="1" in cell["parameters"]["RD_CLK_ENABLE"],
        written=_number(cell, "WR_PORTS") > 0, block=style == "block",
        collides="no_rw_check" not in cell["attributes"],
    )  # fmt: skip


def _number(cell: Mapping[str, Any], name: str) -> int:
    """A parameter, which yosys writes in binary."""
    return int(cell["parameters"][name], 2)
