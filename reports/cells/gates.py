"""Gate-level simulation: a netlist of standard cells and the library's own Verilog models, in Icarus Verilog."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...common.cache import cached, digest, reading
from ...common.temporary import scratch_folder
from ..tools.run import find_tool, run_tool
from .netlist import CLOCK, CellNetlist
from .toggles import GateToggles, read_vcd

__all__ = [
    "UNITS_PER_NS",
    "GateActivity",
    "Stimulus",
    "gates_version",
    "load_activity",
    "run_gates",
    "save_activity",
    "simulate_gates",
]

PACKAGE = "iverilog"
UNITS_PER_NS = 100
"""The library's models, and with them the waveform, count in steps of 10 ps."""
PERIOD_NS = 40
"""Longer than any path of the slowest cells: what is counted is toggles per cycle, whatever the clock."""

Bits = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class GateActivity:
    """How the nets of a netlist moved.

    Attributes
    ----------
    toggles : per clock cycle, by net, glitches included: gates have the typical delays of the library's models,
        whatever they drive
    settled : the same without glitches, as if every net settled at once
    duty : share of the time at 1, by net
    cycles : that were watched
    """

    toggles: dict[str, float]
    settled: dict[str, float]
    duty: dict[str, float]
    cycles: int

    def quiet(self) -> "GateActivity":
        """This activity without its glitches."""
        return replace(self, toggles=self.settled)


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """What is driven.

    Attributes
    ----------
    ports : input ports in the order of the columns, the clock aside
    rows : (cycles, ports) bits, one row per clock cycle
    begin : the first cycle whose toggles are counted
    """

    ports: tuple[str, ...]
    rows: Bits
    begin: int

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != len(self.ports):
            raise ValueError(f"rows must be (cycles, {len(self.ports)}), not {self.rows.shape}")
        if not 0 < self.begin < len(self.rows):
            raise ValueError(f"begin must be in 1..{len(self.rows) - 1}, not {self.begin}")


def simulate_gates(netlist: CellNetlist, stimulus: Stimulus, outputs: Sequence[str]) -> tuple[GateActivity, Bits]:
    """Drive a netlist and watch all its nets.

    Parameters
    ----------
    outputs : ports whose values are wanted

    Returns
    -------
    the activity from ``stimulus.begin`` on, and (cycles, outputs) bits at the end of every cycle; 2 stands for x

    Raises
    ------
    UserError
        when Icarus Verilog or the library is missing.
    """
    rows = "\n".join("".join(map(str, row)) for row in stimulus.rows[:, ::-1])
    bench = _bench(netlist, stimulus, outputs)

    def make(folder: Path) -> None:
        with scratch_folder("gates") as work:
            (work / "stimulus.mem").write_text(rows)
            (work / "bench.v").write_text(bench)
            run_gates(work, "bench", [work / "bench.v", netlist.verilog], netlist)
            save_activity(
                folder, read_vcd(work / "gates.vcd", PERIOD_NS * UNITS_PER_NS), len(stimulus.rows) - stimulus.begin
            )
            (folder / "outputs.txt").write_text((work / "outputs.txt").read_text())

    models = netlist.library.file(netlist.library.models).read_bytes()
    key = digest(gates_version(), models, netlist.verilog.read_bytes(), bench, rows)
    folder, _ = cached("gates", key, make)
    with reading(folder, "outputs of gates"):
        lines = (folder / "outputs.txt").read_text().split()
        values = np.array([["01".find(c) % 3 for c in reversed(line)] for line in lines], np.uint8)
        return load_activity(folder), values.reshape(len(lines), len(outputs))


def gates_version() -> str:
    """Name and version of Icarus Verilog.

    Raises
    ------
    UserError
        when it is not installed.
    """
    return run_tool([_command("iverilog"), "-V"], Path.cwd(), "iverilog").splitlines()[0]


def _command(name: str) -> str:
    return find_tool(name, package=PACKAGE, without="--synth gives cells and area")


def run_gates(folder: Path, top: str, sources: Sequence[Path], netlist: CellNetlist) -> str:
    """Compile and run ``sources`` with the library's models in ``folder``; what the simulation printed.

    Raises
    ------
    UserError
        when Icarus Verilog or the library is missing, or the compiler refuses.
    """
    compiler, runner = _command("iverilog"), _command("vvp")
    models = netlist.library.file(netlist.library.models)
    options = ["-g2005", "-Ttyp", "-gspecify", "-s", top, "-o", "gates.vvp"]
    run_tool([compiler, *options, *map(str, sources), str(models)], folder, "iverilog")
    return run_tool([runner, "-n", "gates.vvp"], folder, "vvp")


def _registers(netlist: CellNetlist) -> list[str]:
    """Nets that flip-flops drive."""
    nets, library = netlist.nets(), netlist.library
    known = library.cells()
    return [
        nets[cell["connections"][pin][0]]
        for cell in netlist.module["cells"].values() if cell["type"] in library.flip_flops
        for pin in known[cell["type"]].outputs if pin in cell["connections"]
    ]  # fmt: skip


def started(netlist: CellNetlist, path: str) -> tuple[str, str]:
    """Statements that hold all registers of the instance ``path`` at 0, and that let go of them.

    To be run before and behind the first edge of the clock. A gate cannot tell that an unknown value which meets its
    own complement does not matter, so registers without a reset, which no circuit of ours reads before they are
    written, would stay unknown.
    """
    nets = _registers(netlist)
    hold = "\n".join(f"        force {path}.{net} = 0;" for net in nets)
    return hold, "\n".join(f"        release {path}.{net};" for net in nets)


def _bench(netlist: CellNetlist, stimulus: Stimulus, outputs: Sequence[str]) -> str:
    """Inputs change after the rising edge, outputs are taken before the next one. What is watched begins and ends with
    everything settled, so it holds as many rising edges as cycles."""
    if set(stimulus.ports) != set(netlist.ports("input")):
        raise ValueError("the stimulus must drive every input of the netlist")
    cycles, width = stimulus.rows.shape
    hold, free = started(netlist, "dut")
    ports = [f".{CLOCK}({CLOCK})", *(f".{name}(now[{k}])" for k, name in enumerate(stimulus.ports))]
    ports += [f".{name}(seen[{k}])" for k, name in enumerate(outputs)]
    return f"""\
`timescale 1ns / 10ps
module bench;
    reg {CLOCK} = 0;
    reg [{width - 1}:0] rows [0:{cycles - 1}], now;
    wire [{len(outputs) - 1}:0] seen;
    integer cycle, file;
    {netlist.top} dut ({", ".join(ports)});
    initial begin
{hold}
        $readmemb("stimulus.mem", rows);
        $dumpfile("gates.vcd");
        file = $fopen("outputs.txt", "w");
        for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
            now = rows[cycle];
            #{PERIOD_NS - 2} $fdisplay(file, "%b", seen);
            if (cycle == {stimulus.begin - 1}) $dumpvars(1, dut);
            #1 {CLOCK} = cycle < {cycles - 1};
            #1 {CLOCK} = 0;
            if (cycle == 0) begin
{free}
            end
        end
        $fclose(file);
        $dumpflush;
        $finish;
    end
endmodule
"""


def save_activity(folder: Path, seen: GateToggles, cycles: int) -> None:
    """Keep what a waveform of so many cycles says."""
    np.savez(
        folder / "toggles.npz", names=np.array(seen.names), counts=seen.counts, settled=seen.settled,
        high=seen.high, cycles=cycles,
    )  # fmt: skip


def load_activity(folder: Path) -> GateActivity:
    """The activity that was kept in ``folder``."""
    with reading(folder, "toggles of gates"), np.load(folder / "toggles.npz", allow_pickle=False) as kept:
        names, cycles = kept["names"].tolist(), int(kept["cycles"])
        toggles, settled, duty = (
            dict(zip(names, (kept[key] / over).tolist(), strict=True))
            for key, over in (("counts", cycles), ("settled", cycles), ("high", 1))
        )
        return GateActivity(toggles=toggles, settled=settled, duty=duty, cycles=cycles)
