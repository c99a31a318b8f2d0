"""Models of block RAM and multiplier blocks against what yosys made them of: the same words, in every cycle."""

import random
import subprocess

import pytest
from addax.reports.devices.devices import device
from addax.reports.devices.parts import VerilogPart
from gate_level import gate_level
from plain_bench import needs_icarus

CYCLES = 3000
DESIGN = """
module top(input clk, input [63:0] noise, output [255:0] out);
    // A table, memories of many widths that are written and read, one with enables of bytes, a product of signed words.
    reg [7:0] table_ [0:4095]; reg [7:0] from_table;
    reg [0:0] narrow [0:16383]; reg [0:0] from_narrow;
    reg [35:0] wide [0:511]; reg [35:0] from_wide;
    reg [17:0] lanes [0:1023]; reg [17:0] from_lanes;
    reg [3:0] nibbles [0:4095]; reg [3:0] from_nibbles;
    initial $readmemh("table.mem", table_);
    initial $readmemh("wide.mem", wide);
    wire [13:0] at = noise[13:0], to = {noise[27:15], ~at[0]};
    always @(posedge clk) if (noise[14]) begin
        from_table <= table_[at[11:0]];
        from_narrow <= narrow[at];
        from_wide <= wide[at[8:0]];
        from_lanes <= lanes[at[9:0]];
        from_nibbles <= nibbles[at[11:0]];
    end
    always @(posedge clk) begin
        if (noise[28]) narrow[to] <= noise[29];
        if (noise[30]) wide[to[8:0]] <= noise[63:28];
        if (noise[31]) lanes[to[9:0]][8:0] <= noise[40:32];
        if (noise[41]) lanes[to[9:0]][17:9] <= noise[50:42];
        if (noise[51]) nibbles[to[11:0]] <= noise[55:52];
    end
    reg signed [14:0] a; reg signed [16:0] b; reg signed [31:0] product;
    always @(posedge clk) begin a <= noise[14:0]; b <= noise[40:24]; product <= a * b; end
    assign out = {product, from_nibbles, from_lanes, from_wide, from_narrow, from_table};
endmodule
"""
BENCH = """
`timescale 1ns / 1ps
module bench;
    reg clk = 0;
    reg [63:0] noise [0:{cycles}];
    reg [63:0] now = 0;
    wire [255:0] out;
    integer k;
    top dut(.clk(clk), .noise(now), .out(out));
    initial begin
        $readmemh("noise.mem", noise);
        for (k = 0; k < {cycles}; k = k + 1) begin
            now = noise[k];
            #1 clk = 1; #1 clk = 0;
            $display("%h", out);
        end
        $finish;
    end
endmodule
"""


def outputs(folder, source):
    """What comes out, cycle by cycle, once everything that is read has been a known word."""
    command = ["iverilog", "-g2005", "-o", "run", "bench.v", source]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    said = subprocess.run(["vvp", "-n", "run"], cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    return said.stdout.split()[2:]


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("name, kinds", [
    ("ecp5-85k", {"DP16KD", "MULT18X18D"}), ("xc7z020", {"RAMB18E1", "RAMB36E1", "DSP48E1"}),
])  # fmt: skip
def test_models_do_what_the_design_does(name, kinds, tmp_path):
    """Words of 1 to 36 bits, read and written in the same cycle but never at the same address; memories that are
    never written do something else."""
    rng = random.Random(1)
    files = {"table.mem": (4096, 8), "wide.mem": (512, 36), "noise.mem": (CYCLES + 1, 64)}
    for file, (count, bits) in files.items():
        lines = (f"{rng.getrandbits(bits):0{-(-bits // 4)}x}" for _ in range(count))
        (tmp_path / file).write_text("\n".join(lines) + "\n")
    (tmp_path / "bench.v").write_text(BENCH.format(cycles=CYCLES))
    begun = DESIGN.replace("    wire [13:0] at", ZEROS + "    wire [13:0] at")
    (tmp_path / "design.v").write_text(f"`timescale 1ns / 1ps\n{begun}")
    part = VerilogPart(name="top", top="top", text=begun, files=("table.mem", "wide.mem"))

    cells = gate_level([part], tmp_path, device(name), "top", tmp_path)
    found, expected = outputs(tmp_path, "gates.v"), outputs(tmp_path, "design.v")

    assert kinds <= cells.keys()
    assert len(found) > 2900 and found == expected
    forgetful = (tmp_path / "gates.v").read_text().replace("data[rowa] = newa", "data[rowa] = olda")
    forgetful = forgetful.replace("data[rowb] = data[rowb] & ~maskb | (dib << bb) & maskb", "data[rowb] = oldb")
    (tmp_path / "mutant.v").write_text(forgetful)
    assert outputs(tmp_path, "mutant.v") != expected


ZEROS = """    integer k;
    initial begin
        from_table = 0; from_narrow = 0; from_wide = 0; from_lanes = 0; from_nibbles = 0; a = 0; b = 0; product = 0;
        for (k = 0; k < 16384; k = k + 1) narrow[k] = 0;
        for (k = 0; k < 1024; k = k + 1) lanes[k] = 0;
        for (k = 0; k < 4096; k = k + 1) nibbles[k] = 0;
    end
"""
