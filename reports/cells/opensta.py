"""OpenSTA on netlists of standard cells: the longest path, and power from simulated activities.

Debian's OpenSTA (2.0.17) reads neither SAIF nor VCD, and its ``set_power_activity -pins`` ends in an error. What lies
beneath that command works, under two conditions that this module keeps: a first power report has to have propagated
guesses, else those replace what is set; and whatever can be reached from an input port without passing a register is
propagated anew every time, so every input gets a flip-flop in front, whose own power is taken off again. That OpenSTA
then used what it was given is checked with every result: see `_check`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ...common.cache import cached, digest
from ...common.errors import UserError
from ..tools.run import find_tool, run_tool
from .gates import GateActivity
from .netlist import CLOCK, CellNetlist

__all__ = ["CellPower", "longest_path", "power_of", "sta_version"]

PACKAGE = "opensta"
_LONG_NS = 1000.0
"""A clock that no path misses: the path is what the slack leaves of it."""
_TOLERANCE = 0.02
"""OpenSTA takes the larger capacitance of both edges, Liberty's plain figure is that of one of them."""
_WIDE = 8
"""Digits of reports."""


@dataclass(frozen=True, kw_only=True)
class CellPower:
    """Power of a netlist of cells at a clock, in mW.

    Attributes
    ----------
    internal, switching : inside the cells, and of the nets they drive; wires without length
    leakage : without a clock
    clock : of the clock's net: the clock pins of the flip-flops, which OpenSTA leaves to a clock tree that is not there
    sequential : the flip-flops' share of ``internal`` and ``switching``
    """

    internal: float
    switching: float
    leakage: float
    clock: float
    sequential: float

    @property
    def dynamic(self) -> float:
        """The power without leakage, with that of the clock's net."""
        return self.internal + self.switching + self.clock


def sta_version() -> str:
    """Name and version of OpenSTA.

    Raises
    ------
    UserError
        when it is not installed.
    """
    return f"OpenSTA {run_tool([_command(), '-version'], Path.cwd(), 'OpenSTA').strip()}"


def _command() -> str:
    return find_tool("sta", package=PACKAGE, without="--synth gives cells and area")


def longest_path(netlist: CellNetlist) -> float:
    """The longest way from a register to a register, in ns: clock to output, gates, set-up. Ideal clock, no wires.

    Raises
    ------
    UserError
        when OpenSTA or the library is missing, or there is no such way.
    """
    script = _header(netlist, netlist.top, [Path("gates.v")], _LONG_NS) + (
        "report_checks -path_delay max -from [all_registers -clock_pins] -to [all_registers -data_pins] "
        f"-format full -digits {_WIDE}\n"
    )

    def make(folder: Path) -> None:
        (folder / "gates.v").write_text(netlist.without_memories())
        (folder / "report.txt").write_text(_run(folder, script))
        (folder / "gates.v").unlink()

    key = digest(sta_version(), script, _liberty(netlist), netlist.verilog.read_bytes())
    folder, _ = cached("sta", key, make)
    slack = re.search(r"(-?[\d.]+)\s+slack", (folder / "report.txt").read_text())
    if slack is None:
        raise UserError("OpenSTA found no path from a register to a register")
    return _LONG_NS - float(slack[1])


def power_of(netlist: CellNetlist, activity: GateActivity, *, clock_mhz: float) -> CellPower:
    """Power at ``clock_mhz`` with the activity that simulation saw on every net.

    Raises
    ------
    UserError
        when OpenSTA is missing, or did not use the activities that it was given.
    """
    period = 1000.0 / clock_mhz
    inputs = netlist.sources()
    script = _header(netlist, "held", [Path("gates.v"), Path("held.v")], period) + (
        "sta::design_power [sta::cmd_corner]\n"
        "source activity.tcl\n"
        f"report_power -digits {_WIDE}\n"
        f"report_power -digits {_WIDE} -instances [get_cells hold_*] > holders.txt\n"
    )
    annotated, held = _annotations(netlist, activity), _held(netlist, inputs)

    def make(folder: Path) -> None:
        (folder / "gates.v").write_text(netlist.without_memories())
        (folder / "held.v").write_text(held)
        (folder / "activity.tcl").write_text(annotated)
        (folder / "report.txt").write_text(_run(folder, script))
        for name in ("gates.v", "held.v", "activity.tcl"):
            (folder / name).unlink()

    key = digest(sta_version(), script, _liberty(netlist), netlist.verilog.read_bytes(), annotated, held)
    folder, _ = cached("sta", key, make)
    rows = _rows((folder / "report.txt").read_text())
    holders = [float(v) for v in _sum_of((folder / "holders.txt").read_text())]
    expected = _switching(netlist, activity, inputs, clock_mhz)
    _check(rows["Total"][1], expected)
    internal, switching, leakage = (1e3 * (total - own) for total, own in zip(rows["Total"], holders, strict=True))
    sequential = 1e3 * (sum(rows["Sequential"][:2]) - sum(holders[:2]))
    return CellPower(
        internal=internal, switching=switching, leakage=leakage, clock=_clock(netlist, clock_mhz), sequential=sequential
    )


def _header(netlist: CellNetlist, top: str, sources: list[Path], period: float) -> str:
    library = netlist.library
    return "\n".join([
        f"read_liberty {{{library.file(library.liberty)}}}",
        *(f"read_verilog {{{source}}}" for source in sources),
        f"link_design {top}",
        f"create_clock -name {CLOCK} -period {period:g} [get_ports {CLOCK}]",
        f"set_clock_transition {library.clock_slew_ns:g} {CLOCK}",
        "",
    ])  # fmt: skip


def _liberty(netlist: CellNetlist) -> bytes:
    return netlist.library.file(netlist.library.liberty).read_bytes()


def _run(folder: Path, script: str) -> str:
    """What OpenSTA printed; it ends well even when a command does not."""
    commands = folder / "commands.tcl"
    commands.write_text(script)
    output = run_tool([_command(), "-no_splash", "-exit", commands.name], folder, "OpenSTA")
    commands.unlink()
    if error := re.search(r"^Error: (.*)", output, re.MULTILINE):
        raise UserError(f"OpenSTA: {error[1]}")
    return output


def _held(netlist: CellNetlist, inputs: list[str]) -> str:
    """Verilog of the netlist with a flip-flop in front of every input."""
    outputs = netlist.ports("output")
    holder = netlist.library.holder
    lines = [f"module held({', '.join([CLOCK, *inputs, *outputs])});", f"input {CLOCK};"]
    for name in inputs:
        lines += [f"input {name};", f"wire held_{name};"]
        lines.append(f"{holder} hold_{name} (.CLK({CLOCK}), .D({name}), .Q(held_{name}));")
    lines += [f"output {name};" for name in outputs]
    ports = [f".{CLOCK}({CLOCK})", *(f".{n}(held_{n})" for n in inputs), *(f".{n}({n})" for n in outputs)]
    return "\n".join([*lines, f"{netlist.top} dut ({', '.join(ports)});", "endmodule", ""])


def _annotations(netlist: CellNetlist, activity: GateActivity) -> str:
    """Commands that set toggles per cycle and the share of time at 1 of every pin of every cell."""
    nets, known = netlist.nets(), netlist.library.cells()
    clock = netlist.module["ports"][CLOCK]["bits"][0]

    def values(net: str) -> str:
        return f"{activity.toggles.get(net, 0.0):.6f} {activity.duty.get(net, 0.0):.5f}"

    lines = [f"sta::set_power_pin_activity [get_pins hold_{n}/Q] {values(n)}" for n in netlist.sources()]
    for name, cell in netlist.module["cells"].items():
        if cell["type"] not in known:
            continue
        for pin, (bit,) in cell["connections"].items():
            # Constants have no activity, and that of clock pins is known to OpenSTA.
            if isinstance(bit, int) and bit != clock:
                lines.append(f"sta::set_power_pin_activity [get_pins dut/{name}/{pin}] {values(nets[bit])}")
    return "\n".join([*lines, ""])


def _loads(netlist: CellNetlist) -> dict[int, float]:
    """Capacitance of the pins that every net drives, pF."""
    known = netlist.library.cells()
    loads: dict[int, float] = {}
    for cell in netlist.module["cells"].values():
        pins = known[cell["type"]].inputs if cell["type"] in known else {}
        for pin, capacitance in pins.items():
            for bit in cell["connections"].get(pin, ()):
                if isinstance(bit, int):
                    loads[bit] = loads.get(bit, 0.0) + capacitance
    return loads


def _switching(netlist: CellNetlist, activity: GateActivity, inputs: list[str], clock_mhz: float) -> float:
    """``C V^2 / 2`` per toggle of all nets that cells or the inputs' flip-flops drive, W: the sum that OpenSTA
    should arrive at."""
    nets, known = netlist.nets(), netlist.library.cells()
    numbers = {name: bit for bit, name in nets.items()}
    driven = {numbers[name] for name in inputs}
    for cell in netlist.module["cells"].values():
        if cell["type"] in known:
            driven |= {cell["connections"][pin][0] for pin in known[cell["type"]].outputs if pin in cell["connections"]}
    loads = _loads(netlist)
    charge = sum(loads.get(bit, 0.0) * activity.toggles.get(nets[bit], 0.0) for bit in driven if isinstance(bit, int))
    return 0.5 * charge * 1e-12 * netlist.library.voltage**2 * clock_mhz * 1e6


def _clock(netlist: CellNetlist, clock_mhz: float) -> float:
    """``C V^2`` per cycle of all clock pins, mW."""
    bit = netlist.module["ports"][CLOCK]["bits"][0]
    return _loads(netlist).get(bit, 0.0) * 1e-12 * netlist.library.voltage**2 * clock_mhz * 1e6 * 1e3


def _check(found: float, expected: float) -> None:
    if abs(found - expected) > _TOLERANCE * max(expected, 1e-9):
        raise UserError(
            f"OpenSTA did not use the simulated activities: it finds {found * 1e3:.4g} mW in the nets, their "
            f"capacitances and toggles give {expected * 1e3:.4g} mW; it was tried with version 2.0.17"
        )


_NUMBER = r"-?\d\.\d+e[+-]\d+"


def _rows(text: str) -> dict[str, list[float]]:
    """Internal, switching and leakage power by group, W."""
    found = re.findall(rf"^(\w+)\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+{_NUMBER}", text, re.MULTILINE)
    rows = {name: [float(v) for v in values] for name, *values in found}
    if "Total" not in rows or "Sequential" not in rows:
        raise UserError("OpenSTA ended without a power report")
    return rows


def _sum_of(text: str) -> list[float]:
    """Internal, switching and leakage power of all instances of a report, W."""
    found = re.findall(rf"^\s*({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+{_NUMBER}\s+\S", text, re.MULTILINE)
    return [sum(float(values[k]) for values in found) for k in range(3)]
