"""Verilog as yosys writes it, taken apart: modules, their ports, and the lines between."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

__all__ = ["NAME", "VerilogModule", "VerilogPort", "bare", "parsed"]

NAME = r"(?:\\\S+ |[A-Za-z_]\w*)"
"""A name; the blank behind an escaped one belongs to it."""
_MODULE = re.compile(rf"^module ({NAME}) ?\(.*?\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
_PORT = re.compile(rf"  (input|output|inout) ((?:signed )?(?:\[\d+:\d+\] )?)({NAME});")
_WIRE = re.compile(rf"  wire (?:signed )?(?:\[\d+:\d+\] )?({NAME});")
GROUPS = {
    "s_axis": "Images, AXI4-Stream", "m_axis": "Answers, AXI4-Stream", "s_axil": "Registers, AXI4-Lite",
    "wb": "Registers, Wishbone B4",
}  # fmt: skip
"""What ports of a top are for, by how their names begin."""
_CLOCKS = {"clk": -2, "rst": -1}
"""Ports of the modules inside that no component declares."""


def bare(name: str) -> str:
    """A name without what escapes it."""
    return name.removeprefix("\\").rstrip()


@dataclass(frozen=True, kw_only=True)
class VerilogPort:
    """A port of a module.

    Attributes
    ----------
    way : ``input``, ``output`` or ``inout``
    range : as in Verilog, ``[7:0]``; empty for one bit
    name : as in Verilog
    """

    way: str
    range: str
    name: str

    @property
    def group(self) -> str:
        """What it belongs to, of `GROUPS`; empty for none."""
        return next((group for group in GROUPS if self.name.startswith(f"{group}_")), "")


@dataclass(frozen=True, kw_only=True)
class VerilogModule:
    """A module of the text.

    Attributes
    ----------
    name : as in Verilog, but not escaped
    body : its lines, those that declare ports among them
    """

    name: str
    ports: tuple[VerilogPort, ...]
    body: tuple[str, ...]

    def with_ports_by(self, order: Sequence[str]) -> "VerilogModule":
        """The module with its ports in ``order``; those that are not in it come last, but clock and reset first."""
        places = {name: place for place, name in enumerate(order)} | _CLOCKS
        return replace(self, ports=tuple(sorted(self.ports, key=lambda port: places.get(port.name, len(places)))))

    def text(self) -> str:
        """The module as Verilog.

        Every port has a line of the head, but is declared where yosys declares it: the order of declarations decides
        how its mapper breaks ties, and text shall not change what a design costs.
        """
        names = [port.name + "," * (k < len(self.ports)) for k, port in enumerate(self.ports, 1)]
        wide, way = (max(map(len, column), default=0) for column in (names, [port.way for port in self.ports]))
        head = [
            f"  {name:{wide}} // {port.way:{way}} {port.range}".rstrip()
            for name, port in zip(names, self.ports, strict=True)
        ]
        return self._around(head, self.body)

    def top_text(self) -> str:
        """The top as Verilog, its ports declared in its head, group by group."""
        ways, ranges = ([getattr(port, column) for port in self.ports] for column in ("way", "range"))
        way, wide = max(map(len, ways)), max(map(len, ranges))
        head, group = [], ""
        for k, port in enumerate(self.ports, 1):
            if port.group != group:
                group = port.group
                head += ["", f"  // {self._purpose(group)}"] if group else []
            head.append(f"  {port.way:{way}} {port.range:{wide}} {port.name}{',' * (k < len(self.ports))}")
        return self._around(head, [line for line in self.body if not _PORT.fullmatch(line)])

    def _purpose(self, group: str) -> str:
        """What the ports of ``group`` are for; streams whose ports have no ready are none of AXI4."""
        stream = group.endswith("_axis") and f"{group}_tready" not in {port.name for port in self.ports}
        return GROUPS[group].replace("AXI4-Stream", "valid alone") if stream else GROUPS[group]

    def _around(self, head: Sequence[str], body: Sequence[str]) -> str:
        return "\n".join([f"module {self.name} (", *head, ");", *body, "endmodule", ""])


def parsed(text: str) -> Iterator[VerilogModule]:
    """The modules of Verilog that yosys wrote."""
    for found in _MODULE.finditer(text):
        yield _module(bare(found[1]), found[2].splitlines())


def _module(name: str, lines: Sequence[str]) -> VerilogModule:
    """The module whose lines ``lines`` are; that a port is a wire needs no line of its own."""
    declared = [found for line in lines if (found := _PORT.fullmatch(line))]
    ports = tuple(VerilogPort(way=found[1], range=found[2].rstrip(), name=found[3]) for found in declared)
    names = {port.name for port in ports}
    body = (line for line in lines if not ((found := _WIRE.fullmatch(line)) and found[1] in names))
    return VerilogModule(name=name, ports=ports, body=tuple(body))
