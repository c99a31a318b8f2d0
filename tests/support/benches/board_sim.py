"""The top of a board under Verilator, with nothing but its pins in sight."""

import json
import re
import shutil

import numpy as np
from addax.common.files import write_text
from addax.hdl.board.top import BoardTop
from addax.sim.verilator import build_simulator, run_simulator
from amaranth.back import verilog

HARNESS = """
`timescale 1ns / 1ps
module board_harness #(parameter FAST_CLOCK = 1);
    reg clk = 0;
    always #{half} clk = ~clk;
    reg button_n /*verilator public_flat_rw*/ = 1;
    reg uart_rx /*verilator public_flat_rw*/ = 1;
    wire uart_tx /*verilator public_flat_rd*/;
    wire [{leds}:0] led /*verilator public_flat_rd*/;
    wire high /*verilator public_flat_rd*/;
    {top} dut (.clk(clk), .button_n(button_n), .uart_rx(uart_rx), .uart_tx(uart_tx), .led(led), .high(high));
endmodule
"""


def stub_top(form, board, baud):
    """A top around the Verilog module ``stub``."""
    top = BoardTop(form, board, baud=baud, accelerator="stub")
    return verilog.convert(top, name="stub_top", emit_src=False, strip_internal_attrs=True)


def compiled(folder, board, top, text, sources):
    """The simulator of module ``top``, in ``text``, with what it instantiates in ``sources``."""
    harness = HARNESS.format(half=round(5e8 / board.clock_hz), leds=len(board.leds) - 1, top=top)
    write_text(folder / "harness.v", harness)
    write_text(folder / "top.v", text)
    return build_simulator((folder / "harness.v", folder / "top.v", *sources), "board_harness")


def run(simulator, module, folder, *, form, baud, images, scores, classes, memories=(), seed=1):
    """Run every test of ``module`` with what ``images`` should give; returns their number."""
    for path in memories:
        shutil.copy(path, folder)
    np.savez(folder / "job.npz", images=images, scores=scores, classes=classes)
    fields = {name: getattr(form, name) for name in ("shape", "beat_bytes", "words", "word_bytes")}
    score = {"bits": form.score.bits, "signed": form.score.signed}
    (folder / "job.json").write_text(json.dumps({"baud": baud, "form": fields, "score": score, "room": form.room}))
    (folder / "leash").touch()
    run_simulator(simulator, module, folder, seed=seed, waves=False, leash=folder / "leash")
    return len(re.findall("<testcase ", (folder / "results.xml").read_text()))
