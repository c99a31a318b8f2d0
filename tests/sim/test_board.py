# amaranth: UnusedElaboratable=no
"""The top of a board as a PC sees it, under Verilator: digits bit by bit, breaks, an accelerator that dawdles."""

import numpy as np
import pytest
from addax.hdl.board import serial
from addax.hdl.board.boards import board
from addax.hdl.board.serial import SerialFormat
from addax.hdl.board.top import top_name, top_verilog
from addax.hdl.board.uart import LEAST_CYCLES
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.quant import golden
from addax.quant.formats import signed
from board_sim import compiled, run, stub_top
from marks import guarded_but

STUB = """
// Waits long, takes the 3 beats of an image, waits, gives its sum, minus its first byte, and its last three bytes.
module stub (
    input aclk, input aresetn,
    input [31:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
    output [23:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready, output m_axis_tlast
);
    reg [1:0] beats, words;
    reg [15:0] idle;
    reg [23:0] sum, first, last;
    assign s_axis_tready = beats != 3 && idle == 0;
    assign m_axis_tvalid = beats == 3 && idle == 0;
    assign m_axis_tlast = words == 2;
    assign m_axis_tdata = words == 0 ? sum : words == 1 ? -first : last;
    always @(posedge aclk) if (!aresetn) begin
        beats <= 0; words <= 0; sum <= 0; idle <= 40000;
    end else begin
        if (idle != 0) idle <= idle - 1;
        if (s_axis_tready && s_axis_tvalid) begin
            if (beats == 0) first <= s_axis_tdata[7:0];
            sum <= sum + s_axis_tdata[7:0] + s_axis_tdata[15:8] + s_axis_tdata[23:16] + s_axis_tdata[31:24];
            last <= s_axis_tdata[31:8];
            beats <= beats + 1;
            if (beats == 2) idle <= 5000;
        end
        if (m_axis_tvalid && m_axis_tready) begin
            words <= words + 1;
            if (words == 2) begin beats <= 0; words <= 0; sum <= 0; idle <= 40000; end
        end
    end
endmodule
"""


@pytest.mark.slow
@pytest.mark.guard
def test_digits_through_the_pins_of_the_board(lenet, digits, tmp_path):
    """LeNet-5 in its default fold, at the fastest rate the board's clock can make; what else stands in the bench."""
    target, program = board("ulx3s-85f"), lenet()
    baud = target.clock_hz // LEAST_CYCLES
    plan = fold(program, device=target.device, clock_mhz=target.clock_mhz)
    build = generate(program, plan, tmp_path / "build", vectors=sample_vectors(program, 1))
    (tmp_path / "made").mkdir()
    (tmp_path / "run").mkdir()
    made = compiled(
        tmp_path / "made", target, top_name(build), top_verilog(build, target, baud=baud), [build.sources[0]]
    )
    images = digits.x[:12]
    expected = golden.run(program, images)
    form = SerialFormat.of(build)
    assert form.in_flight < len(images), "the host must wait for answers"

    tests = run(
        made, "board_bench", tmp_path / "run", form=form, baud=baud, images=images, scores=expected.scores,
        classes=expected.classes, memories=build.path.glob("addax_*.mem"),
    )  # fmt: skip

    assert tests == 6


@pytest.mark.parametrize("baud", guarded_but([1_000_000, 3_000_000]))
def test_nothing_is_lost_however_long_the_accelerator_waits(baud, tmp_path, monkeypatch):
    """Room for two images, 13 line times of an image or more between takes; beats of 4 bytes, answers of words of 3.

    At 3 Mbaud a bit is no whole number of cycles.
    """
    monkeypatch.setattr(serial, "BLOCK_RAM", 1)
    target = board("ulx3s-85f")
    form = SerialFormat(shape=(2, 2, 3), beat_bytes=4, words=3, word_bytes=3, score=signed(17))
    assert (form.room, form.in_flight) == (24, 2)
    images = np.random.default_rng(1).integers(0, 256, (9, 2, 2, 3), dtype=np.uint8)
    pixels = images.transpose(0, 2, 3, 1).reshape(9, 12).astype(np.int64)
    scores = np.stack([pixels.sum(axis=1), -pixels[:, 0]], axis=1)
    classes = pixels[:, 9] + (pixels[:, 10] << 8) + (pixels[:, 11] << 16)
    (tmp_path / "stub.v").write_text(STUB)
    (tmp_path / "run").mkdir()
    made = compiled(tmp_path, target, "stub_top", stub_top(form, target, baud), [tmp_path / "stub.v"])

    tests = run(
        made, "board_stall_bench", tmp_path / "run", form=form, baud=baud, images=images, scores=scores,
        classes=classes,
    )  # fmt: skip

    assert tests == 3
