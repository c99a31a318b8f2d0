"""Which block of a stage the lookup tables of its flattened netlist work for.

Mapping leaves no trace of modules on tables. But every flip-flop still names the line of Verilog that it comes from, so
a table belongs to the first flip-flop or memory that its result reaches through other tables and carries. A table that
works for several is counted once; the sum over the blocks is the whole stage.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..estimate.counting import PIECES

__all__ = ["Tables", "tables_of"]


class Tables(NamedTuple):
    """Cells of one block: ``logic`` counts lookup tables, those of memories left out, ``carry`` the carry cells."""

    logic: int
    carry: int


_MODULE = re.compile(r"^module\s+(?:\\(\S+)|([A-Za-z_]\w*))")
_LINE = re.compile(r"part\.v:(\d+)")
_FLIP_FLOPS = ("TRELLIS_FF", "FD", "SB_DFF")
_TABLES = ("LUT", "INV", "SB_LUT4")
_CARRIES = ("CARRY", "CCU2C", "SB_CARRY")
_PASSED = (*_TABLES, *_CARRIES, "PFUMX", "L6MUX21", "MUXF")
_MEMORIES = (
    ("residual", "queue"), (r"requantise\.|threshold\.", "factors"), (r"weights|array\.w", "weights"),
    ("queue|o__", "queue"), (r"window|array\.x|bank|pad", "window"),
)  # fmt: skip
"""Blocks of cells that no line of Verilog claims, by what their outputs are called."""
_FETCHES = re.compile(r"(requantise|threshold)\.(address|following|data|factors\.|levels\.)")


def tables_of(netlist: Mapping[str, Any], text: str, top: str) -> dict[str, Tables]:
    """Tables and carry cells of each of `PIECES`.

    Parameters
    ----------
    netlist : of one flattened module, in yosys' JSON
    text : the Verilog that it was made of, ``part.v``
    top : name of its top module
    """
    found = _Netlist(netlist, text, top)
    logic: Counter[str] = Counter()
    carry: Counter[str] = Counter()
    for name, cell in netlist["cells"].items():
        if cell["type"].startswith(_TABLES):
            logic[found.user(name)] += 1
        elif cell["type"].startswith(_CARRIES):
            carry[found.user(name)] += 1
    return {block: Tables(logic[block], carry[block]) for block in PIECES}


class _Netlist:
    """What is asked of a netlist: who reads a cell, and whose a flip-flop is."""

    def __init__(self, netlist: Mapping[str, Any], text: str, top: str):
        self.cells = netlist["cells"]
        self.top = top
        heads = [(k, head) for k, line in enumerate(text.splitlines(), 1) if (head := _MODULE.match(line))]
        self.starts = [k for k, _ in heads]
        self.modules = [head[1] or head[2] for _, head in heads]
        self.names: dict[int, list[str]] = defaultdict(list)
        for name, net in netlist["netnames"].items():
            if not net.get("hide_name") and not name.startswith("$"):
                for bit in net["bits"]:
                    self.names[bit].append(name)
        self.ports = {
            bit: name
            for name, port in netlist["ports"].items() if port["direction"] == "output" for bit in port["bits"]
        }  # fmt: skip
        self.readers: dict[int, list[str]] = defaultdict(list)
        for name in self.cells:
            for bit in self._bits(name, "input"):
                self.readers[bit].append(name)

    def _bits(self, name: str, direction: str) -> list[int]:
        cell = self.cells[name]
        return [
            bit
            for port, bits in cell["connections"].items() if cell["port_directions"][port] == direction
            for bit in bits if isinstance(bit, int)
        ]  # fmt: skip

    def user(self, name: str) -> str:
        """Block of the first thing that keeps what the cell ``name`` computes."""
        ahead = deque(self._bits(name, "output"))
        seen = set(ahead)
        while ahead:
            bit = ahead.popleft()
            if bit in self.ports:
                return "queue" if self.ports[bit].startswith(("o__", "r__")) else "window"
            for reader in self.readers[bit]:
                if not self.cells[reader]["type"].startswith(_PASSED):
                    return self.block(reader)
                fresh = [b for b in self._bits(reader, "output") if b not in seen]
                seen.update(fresh)
                ahead.extend(fresh)
        return "window"

    def block(self, name: str) -> str:
        """Block of a flip-flop, a memory or a multiplier."""
        called = [label for bit in self._bits(name, "output")[:1] for label in self.names[bit]]
        module = self._module(name)
        if module is None:
            if not called or not self.cells[name]["type"].startswith(_FLIP_FLOPS):
                called.append(name)
            whole = " ".join(called)
            for pattern, block in _MEMORIES:
                if re.search(pattern, whole):
                    return block
            return "lanes" if "array" in whole else "queue" if "r__" in whole else "window"
        return self._of_module(module.removeprefix(self.top).removeprefix("."), called)

    def _module(self, name: str) -> str | None:
        """The module whose line made a cell."""
        for source in self.cells[name].get("attributes", {}).get("src", "").split("|"):
            if line := _LINE.match(source):
                return self.modules[bisect_right(self.starts, int(line[1])) - 1]
        return None

    @staticmethod
    def _of_module(module: str, called: Sequence[str]) -> str:
        whole = " ".join(called)
        if module.startswith("array"):
            # Operands as they leave the ring: what stands in front of them turns and pads.
            return "window" if min(called, key=_plainness, default="").startswith("array.x") else "lanes"
        if module.startswith(("rom", "block_rom", "table")):
            if any(label.startswith(("weights", "array")) for label in called):
                return "weights"
            return "window" if any(label.startswith(("pad", "window")) for label in called) else "factors"
        if module.startswith(("requantise", "threshold")):
            return "factors" if any(_FETCHES.match(label) for label in called) else "activation"
        if module.startswith(("queue", "gather")):
            return "queue"
        if "residual" in module or (not module and "residual" in whole):
            return "queue"
        if not module and "address" in whole:
            return "weights"
        return "queue" if not module and "room" in whole else "window"


def _plainness(label: str) -> tuple[bool, int]:
    return "." not in label, len(label)
