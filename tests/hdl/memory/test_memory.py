# amaranth: UnusedElaboratable=no
"""Memories whose contents are files: their text, their reads, and that no word reaches the Verilog."""

import random
import re

import pytest
from addax.hdl.folder.vectors import hex_lines
from addax.hdl.memory.image import Image, Rom, Table
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

SECRET = Image(name="layer_weights", width=32, words=(0xDEADBEEF, 0x0BADF00D, 0xCAFEBABE))


@given(width=st.integers(1, 70), depth=st.integers(1, 20), seed=st.integers(0, 999))
def test_the_text_reads_back_as_the_words(width, depth, seed):
    """One word per line, address 0 first, all lines equally long, as ``$readmemh`` reads them."""
    rng = random.Random(seed)
    words = tuple(rng.choice([0, (1 << width) - 1, rng.getrandbits(width)]) for _ in range(depth))

    image = Image(name="m", width=width, words=words)

    lines = image.text().split("\n")
    assert lines.pop() == ""
    assert tuple(int(line, 16) for line in lines) == words
    assert {len(line) for line in lines} == {(width + 3) // 4}
    assert image.depth == depth


def test_the_text_and_name_of_a_small_image():
    image = Image(name="conv1_weights", width=9, words=(0, 0x1AB, 15))

    assert image.file == "conv1_weights.mem"
    assert image.text() == "000\n1ab\n00f\n"


def test_words_of_other_files_are_written_the_same_way():
    assert hex_lines(SECRET.words, SECRET.width) == SECRET.text()


def test_the_words_stay_out_of_the_repr():
    """An error message that holds an image must not hold a megabyte of weights."""
    assert repr(SECRET) == "Image(name='layer_weights', width=32)"


@given(width=st.integers(1, 40), depth=st.integers(1, 20), seed=st.integers(0, 999))
def test_a_rom_gives_the_word_of_the_cycle_before_and_a_table_that_of_the_same(width, depth, seed):
    rng = random.Random(seed)
    image = Image(name="m", width=width, words=tuple(rng.getrandbits(width) for _ in range(depth)))
    addresses = [rng.randrange(depth) for _ in range(30)]
    expected = [image.words[address] for address in addresses]
    rom, table = Rom(image, prefix=None), Table(image, prefix=None)
    m = Module()
    m.submodules += rom, table
    registered, immediate = [], []

    async def drive(ctx):
        for address in [*addresses, 0]:
            ctx.set(rom.address, address)
            ctx.set(table.address, address)
            _, _, late, early = await ctx.tick().sample(rom.data, table.data)
            registered.append(late)
            immediate.append(early)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()

    assert registered[1:] == expected
    assert immediate[:-1] == expected


def text_of(component):
    return verilog.convert(component, name="top", emit_src=False, strip_internal_attrs=True)


def words_in(text, image):
    """Which words appear, in whatever base."""
    plain = text.lower().replace("_", "")
    forms = [(f"{word:x}", f"{word:032b}", str(word)) for word in image.words]
    return [word for word, spellings in zip(image.words, forms, strict=True) if any(s in plain for s in spellings)]


@pytest.mark.parametrize("kind, module", [(Rom, "net.rom"), (Table, "net.table")])
def test_verilog_names_the_file_and_not_the_words(kind, module):
    """So that other weights need no other RTL."""
    text = text_of(kind(SECRET, prefix="net"))

    assert re.search(rf"\b{module}\b", text)
    assert '"layer_weights.mem"' in text
    assert words_in(text, SECRET) == []
    assert ".WIDTH(32'd32)" in text and ".DEPTH(32'd3)" in text
    assert ("clk" in text) == (kind is Rom)


@pytest.mark.parametrize("depth, declared", [(1024, 1024), (1025, 2048), (2048, 2048), (2049, 2049)])
def test_memories_a_little_deeper_than_wide_blocks_are_declared_as_deep_as_narrow_ones(depth, declared):
    """Else synthesis chooses among words behind the blocks, which is slow; never a word fewer than there are."""
    image = Image(name="deep", width=9, words=(1,) * depth)

    assert f".DEPTH(32'd{declared})" in text_of(Rom(image, prefix="net"))


def test_without_a_prefix_the_words_are_built_in():
    """The control to the test above: its search would find them."""
    assert words_in(text_of(Rom(SECRET, prefix=None)), SECRET) == list(SECRET.words)


@pytest.mark.parametrize("kind", [Rom, Table])
def test_equal_shapes_give_equal_verilog(kind):
    other = Image(name=SECRET.name, width=SECRET.width, words=(1, 2, 3))

    assert text_of(kind(other, prefix="net")) == text_of(kind(SECRET, prefix="net"))
    longer = Image(name=SECRET.name, width=SECRET.width, words=(1, 2, 3, 4))
    assert text_of(kind(longer, prefix="net")) != text_of(kind(SECRET, prefix="net"))
