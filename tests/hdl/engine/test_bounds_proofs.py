# amaranth: UnusedElaboratable=no
"""An engine reads and writes nothing outside of the memory that it was given, whatever its commands say: proved.

Places are those of a small memory here, and commands are short; nothing in the comparisons depends on how many there
are.
"""

import pytest
from addax.hdl.engine.records import READ, WRITE, Stream
from addax.hdl.engine.transfer.bursts import area_layout
from addax.hdl.engine.transfer.reader import MemoryReader
from addax.hdl.engine.transfer.writer import MemoryWriter
from amaranth.hdl import Assert, Assume, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from engine_networks import small_plan
from prove import reached_violation

PLAN = small_plan(pin=4, pout=4, memory_bits=64, burst=4, outstanding=2, pixels=16)
ROOMS = dict.fromkeys((stream for stream in Stream if stream <= Stream.WRITES), 8)


PLACES, WORDS = 32, 8


class Bounded(wiring.Component):
    """A reader or a writer, any commands, a memory that answers when it likes; ``area`` is any, and stays."""

    def __init__(self, dut, record):
        self.dut, self.reads = dut, record is READ
        super().__init__({
            "offered": In(1), "command": In(record.layout), "area": In(area_layout()), "base": In(32),
            "ready": In(1), "answer": In(1), "came": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        before, known = Signal(area_layout()), Signal()
        m.d.sync += [before.eq(self.area), known.eq(1)]
        m.d.comb += [
            Assume(~ResetSignal()), Assume(~known | (before.as_value() == self.area.as_value())),
            dut.commands.valid.eq(self.offered), dut.commands.payload.eq(self.command), dut.area.eq(self.area),
            dut.base.eq(self.base), Assume(self.base == 16), Assume(self.command.address < PLACES),
            Assume(self.command.words < WORDS), Assume(self.area.begin < PLACES), Assume(self.area.end < PLACES),
        ]  # fmt: skip
        if self.reads:
            valid, address, length = dut.arvalid, dut.araddr, dut.arlen
            m.d.comb += [dut.arready.eq(self.ready), dut.rvalid.eq(self.answer), dut.left.features.eq(self.came)]
        else:
            valid, address, length = dut.awvalid, dut.awaddr, dut.awlen
            m.d.comb += [dut.awready.eq(self.ready), dut.bvalid.eq(self.answer), dut.came.eq(self.came)]
        first = address[PLAN.word_bytes.bit_length() - 1 :]
        m.d.comb += Assert(~(valid & self.area.bounded) | (first >= self.area.begin))
        m.d.comb += Assert(~(valid & self.area.bounded) | (first + length < self.area.end))
        return m


def contract(dut, **more):
    if issubclass(dut, MemoryReader):
        return Bounded(dut(PLAN, ROOMS, **more), READ)
    return Bounded(dut(PLAN, **more), WRITE)


@pytest.mark.parametrize("dut", [MemoryReader, MemoryWriter])
def test_no_burst_leaves_the_area(tmp_path, dut):
    """Protects the memory beside that of an image: any command, any area, at any time, its first and its last word."""
    found = reached_violation(contract(dut), tmp_path)
    assert found is None, found


def loose(dut, field):
    """One whose bursts are compared with one end of the area alone."""

    class Loose(dut):
        def elaborate(self, platform):
            given, self.area = self.area, Signal(area_layout())
            m = super().elaborate(platform)
            loosened = self.area
            self.area = given
            m.d.comb += [loosened.eq(given), loosened[field].eq({"begin": 0, "end": 0xFFFFFFFF}[field])]
            return m

    return Loose


@pytest.mark.parametrize("field", ["begin", "end"])
@pytest.mark.parametrize("dut", [MemoryReader, MemoryWriter])
def test_a_burst_that_leaves_it_is_found(tmp_path, dut, field):
    """Protects the proof."""
    assert reached_violation(contract(loose(dut, field)), tmp_path) is not None
