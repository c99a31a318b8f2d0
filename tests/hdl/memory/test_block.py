# amaranth: UnusedElaboratable=no
"""Memories of block RAM: what they read, and that the cells of a device hold what an inferred memory holds."""

import subprocess

import pytest
from addax.hdl.folder.verilog import cells_in, rendered
from addax.hdl.memory.block import BlockMemory, BlockShape
from addax.hdl.verilog.emit import to_verilog
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

BITS = {1: 14, 2: 13, 4: 12, 9: 11, 18: 10}
"""Of the address of a DP16KD, by the width of its words."""

BENCH = """
module bench;
    reg clk = 0, write = 0;
    reg [{address}:0] write_at = 0, read_at = 0, before = 0, asked = 0;
    reg [{top}:0] word = 0;
    reg clash = 1, clashed = 1, compares = 0;
    wire [{top}:0] inferred, cells;
    integer seed = {seed}, k, wrong = 0, compared = 0, told = 0;
    inferred one (.clk(clk), .rst(1'b0), .write(write), .write_at(write_at), .write_word(word), .read_at(read_at),
        .read_word(inferred));
    cells two (.clk(clk), .rst(1'b0), .write(write), .write_at(write_at), .write_word(word), .read_at(read_at),
        .read_word(cells));
    always #5 clk = ~clk;
    initial begin
        for (k = 0; k < {cycles}; k = k + 1) begin
            @(negedge clk);
            if (k > 3 && !clashed) begin
                compared = compared + 1;
                if (cells !== inferred) wrong = wrong + 1;
                if (|inferred) told = told + 1;
            end
            clashed = clash;
            write = $random(seed);
            write_at = ($random(seed) & {mask}) % {depth};
            read_at = ($random(seed) & {mask}) % {depth};
            word = {{$random(seed), $random(seed), $random(seed)}};
            clash = write && write_at == read_at;
        end
        $display("%0d %0d %0d", wrong, compared, told);
        $finish;
    end
endmodule
"""


@given(width=st.integers(1, 200), depth=st.integers(2, 1 << 17))
def test_shapes_hold_the_memory_and_no_other_holds_it_in_fewer_cells(width, depth):
    shape = BlockShape.of(width, depth)
    ways = {own: (-(-width // own), -(-depth // (1 << bits))) for own, bits in BITS.items()}

    assert (shape.columns, shape.rows) == ways[shape.width]
    assert shape.address_bits == BITS[shape.width]
    assert shape.columns * shape.rows == min(columns * rows for columns, rows in ways.values())


@given(width=st.integers(1, 20), depth=st.integers(2, 9), seed=st.randoms())
def test_a_word_is_there_two_cycles_later(width, depth, seed):
    """The last that was written to its place before it was asked for; 0 where there was none."""
    memory = BlockMemory(width=width, depth=depth)
    steps = [(seed.random() < 0.7, seed.randrange(depth), seed.getrandbits(width), seed.randrange(depth))
             for _ in range(40)]  # fmt: skip
    held, expected, found = {}, [], []
    for write, at, word, read_at in steps:
        expected.append(None if write and at == read_at else held.get(read_at, 0))
        if write:
            held[at] = word

    async def bench(context):
        for k, (write, at, word, read_at) in enumerate(steps):
            for signal, value in ((memory.write, write), (memory.write_at, at), (memory.write_word, word),
                                  (memory.read_at, read_at)):  # fmt: skip
                context.set(signal, value)
            await context.tick()
            if k + 1 >= memory.latency:
                found.append(context.get(memory.read_word))

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    assert all(one is None or one == other for one, other in zip(expected, found, strict=False))
    assert len(found) == len(steps) - memory.latency + 1


@pytest.mark.parametrize(
    ("width", "depth"), [(3, 20_000), (5, 16384), (7, 8192), (11, 4096), (64, 2048), (20, 1000), (36, 2048)]
)
def test_cells_of_ecp5_read_what_an_inferred_memory_reads(width, depth, tmp_path):
    """All widths of a cell, rows of cells below each other, depths that fill no cell; any words in few places, so that
    they are read again. Where a word is read while it is written, neither has to be right."""
    texts = [
        to_verilog(BlockMemory(width=width, depth=depth, fabric=fabric), name)
        for fabric, name in (("generic", "inferred"), ("ecp5", "cells"))
    ]
    assert cells_in(texts[1]) == ["DP16KD"]
    mask = 7 | 1 << depth.bit_length() - 1
    bench = BENCH.format(
        address=(depth - 1).bit_length() - 1, top=width - 1, seed=width, cycles=2000, mask=mask, depth=depth
    )
    model = rendered("cells.v.j2", family="ecp5", cells=["DP16KD"])
    (tmp_path / "bench.v").write_text("\n".join([*texts, model, bench]))
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "bench.v"], cwd=tmp_path, check=True, timeout=120)
    ran = subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, timeout=120, capture_output=True, text=True)

    wrong, compared, told = map(int, ran.stdout.split())

    assert wrong == 0
    assert compared > 1500
    assert told > 500


def test_memories_of_no_words_are_refused():
    with pytest.raises(
        ValueError, match=r"^a memory must have words of 1 bit at least and 2 of them, not 1 of 8 bits$"
    ):
        BlockMemory(width=8, depth=1)
