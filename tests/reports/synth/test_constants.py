"""Memories of constants in lookup tables: they hold the constants, and take no more tables than columns ask for."""

import random

import pytest
from addax.reports.synth.synth import CONSTANTS
from addax.reports.tools.run import run_tool, yosys_command

SCRIPT = """
read_verilog rom.v
prep -top rom
copy rom given
memory_map given
techmap -map constants.v rom
opt_merge rom
opt_clean rom
select -assert-none rom/t:$mem_v2
select -assert-count {tables} rom/t:$lut
simplemap rom/t:$lut
miter -equiv -flatten given rom pair
sat -verify -prove trigger 0 pair
"""
MODULE = """
module rom (input [{top}:0] address, output [{width}-1:0] data);
    reg [{width}-1:0] words [0:{depth}-1];
    initial $readmemh("words.mem", words);
    assign data = words[address < {depth} ? address : 0];
endmodule
"""


def prove(folder, words, width, tables):
    """Fails unless the mapped memory reads as the one in Verilog, in so many tables of up to eight inputs."""
    (folder / "words.mem").write_text("".join(f"{word:x}\n" for word in words))
    (folder / "rom.v").write_text(MODULE.format(depth=len(words), top=(len(words) - 1).bit_length() - 1, width=width))
    (folder / "constants.v").write_text(CONSTANTS.read_text())
    (folder / "prove.ys").write_text(SCRIPT.format(tables=tables))
    run_tool([*yosys_command(), "-q", "-s", "prove.ys"], folder, "yosys")


@pytest.mark.parametrize("depth", [17, 32, 33, 64, 90, 128, 129, 255, 256])
def test_every_column_is_a_table(tmp_path, depth):
    """Protects the contents at every size of a site's table, powers of two or not."""
    rng = random.Random(depth)

    prove(tmp_path, [rng.getrandbits(5) for _ in range(depth)], width=5, tables=5)


@pytest.mark.parametrize("depth", [290, 300, 640])
def test_long_columns_take_several_sites(tmp_path, depth):
    """The last site is as small as what is left for it."""
    rng = random.Random(depth)

    prove(tmp_path, [rng.getrandbits(3) for _ in range(depth)], width=3, tables=3 * -(-depth // 256))


@pytest.mark.parametrize("depth", [20, 100, 300])
def test_constant_and_equal_columns_take_no_tables(tmp_path, depth):
    """As where bits are signs of small numbers: one bit twice, a zero and a one, also behind the last word."""
    rng = random.Random(depth)
    words = [bit << 3 | bit << 2 | 0b01 for bit in (rng.getrandbits(1) for _ in range(depth))]

    prove(tmp_path, words, width=4, tables=-(-depth // 256))
