"""An engine with garbage in its memory, errors on its bus, resets and starts at any time: it always comes back.

What every case protects: whatever a run reads, it ends, within its limit and what is on its way by then; it touches no
word that is not of its image and writes none of its constants; no rule of AXI4 is broken; and the next run of the image
as it should be gives the golden model's scores.
"""

import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.control import engine_map
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.driver.codes import DriverError
from addax.hdl.engine.driver.driver import EngineDriver
from addax.hdl.engine.records import READ, WRITE, Stream, descriptor_record
from addax.hdl.folder.engine import generate_engine
from addax.quant import golden
from addax.sim.engine_port import MemorySetting, SimulatedEngine
from engine_networks import gated, small_plan

pytestmark = pytest.mark.slow
PLAN = small_plan(depthwise=2, product=True, tables=8, slopes=True, ties_even=True, counters=True)
BATCHES, CASES = 20, 500
LATENCY = 5
ON_ITS_WAY = PLAN.outstanding * (PLAN.burst * PLAN.beats + LATENCY)
"""Cycles that a memory without stalls needs at most for all that is on its way when a run is given up."""


REGISTERS = engine_map(PLAN)
NETWORKS = (2, 38, 17)
"""Short runs with products, tables and residuals, of one band and of several."""


@cache
def task(seed):
    """An image, an input, and the scores."""
    image = compiled(gated(seed, bits=16, kernels=("adder", "mult"), table_bits=8), PLAN)
    program, output, held = image.network.program, image.network.output, image.network.format("pixels")
    pixels = np.random.default_rng(seed).integers(held.lo, held.hi, program.input.shape)
    return image, pixels, golden.run(program, pixels[None], trace=[output]).tensors[output][0]


@pytest.fixture(scope="module")
def build():
    with tempfile.TemporaryDirectory() as folder:
        yield generate_engine(PLAN, Path(folder, "build"))


class Fuzzer:
    """One engine, and one kind of trouble after the other."""

    def __init__(self, build, seed):
        self.rng = random.Random(seed)
        self.image, self.pixels, self.expected = task(NETWORKS[seed % len(NETWORKS)])
        self.limit = 4 * predicted(self.image).total
        self.port = port = SimulatedEngine(build)
        port.let(MemorySetting.LATENCY, LATENCY)
        port.let(MemorySetting.HIGH, port.origin + self.image.words.nbytes)
        port.let(MemorySetting.WRITE_LOW, port.origin + self.image.constants.nbytes)
        self.driver = self.opened()
        self.codes = dict.fromkeys(("OK", "OUTSIDE", "LATE", "READ_REFUSED", "WRITE_REFUSED", "reset"), 0)

    def opened(self):
        return EngineDriver(PLAN, self.port, memory=self.port.origin, size=self.port.size, limit=self.limit)

    def spoil(self, change):
        """What ``change`` makes of the constants, in memory."""
        found = bytearray(self.image.constants.tobytes())
        change(found)
        self.port.write_memory(self.port.origin, bytes(found))
        return bytes(found)

    def flips(self, text):
        for _ in range(self.rng.choice((1, 2, 10, 100))):
            text[self.rng.randrange(len(text))] ^= 1 << self.rng.randrange(8)

    def flips_of_records(self, text):
        """In front, where commands and descriptors stand."""
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            text[self.rng.randrange(self.records_end)] ^= 1 << self.rng.randrange(8)

    def garbage(self, text):
        at, count = self.rng.randrange(len(text)), self.rng.choice((8, 64, 1024, len(text)))
        text[at : at + count] = self.rng.randbytes(len(text[at : at + count]))

    def odd_records(self, text):
        """Records whose fields are each as they were, the least, the largest or any number."""
        size = PLAN.word_bytes
        for _ in range(self.rng.choice((1, 2, 8))):
            record, first, count = self.rng.choice(self.lists)
            at, words = self.rng.randrange(count), record.words(PLAN.word_bits)
            place = (first + at * words) * size
            values = record.unpack(int.from_bytes(text[place : place + words * size], "little") % (1 << record.bits))
            for field in record.fields:
                if self.rng.random() < 0.2:
                    lo, hi = field.format.lo, field.format.hi
                    values[field.name] = self.rng.choice((lo, hi, self.rng.randint(lo, hi), min(hi, lo + 1)))
            text[place : place + words * size] = record.pack(values).to_bytes(words * size, "little")

    @property
    def lists(self):
        descriptors, writes = (
            next(read["address"] for read in self.image.reads if read["stream"] == stream)
            for stream in (Stream.DESCRIPTORS, Stream.WRITES)
        )
        return (
            (READ, 0, len(self.image.reads)), (descriptor_record(PLAN), descriptors, len(self.image.descriptors)),
            (WRITE, writes, len(self.image.writes)),
        )  # fmt: skip

    @property
    def records_end(self):
        record, first, count = self.lists[2]
        return (first + count * record.words(PLAN.word_bits)) * PLAN.word_bytes

    def case(self):
        """One run with trouble, then one without."""
        port, driver, rng = self.port, self.driver, self.rng
        port.let(MemorySetting.STALL, stall := rng.choice((0, 0, 30, 70)))
        driver.load(self.image)
        driver.write_input(self.pixels)
        trouble = rng.choice((self.flips, self.flips_of_records, self.garbage, self.odd_records, lambda text: None))
        before = self.spoil(trouble)
        if rng.random() < 0.3:
            port.let(MemorySetting.RESPONSE, rng.choice((2, 3)))
            port.let(rng.choice((MemorySetting.FAIL_READ, MemorySetting.FAIL_WRITE)), rng.randint(1, 400))
        driver.start()
        if rng.random() < 0.3:
            self.meddle()
        if rng.random() < 0.2:
            port.advance(rng.randrange(self.limit // 2))
            port.reset()
            self.driver, ending = self.opened(), "reset"
        else:
            # A stalling memory is that much slower in giving what is on its way.
            patience = self.limit + 8 + ON_ITS_WAY * 100 // (100 - stall) * 3
            assert port.advance(patience, until_rest=True) < patience, f"hangs: {trouble}"
            try:
                driver.wait(1)
                ending = "OK"
            except DriverError as error:
                ending = error.code
        self.codes[ending] += 1
        assert not port.violations, (port.violations, trouble)
        assert port.read_memory(port.origin, len(before)) == before, "no constant has been written"
        self.mend()

    def meddle(self):
        """Somebody writes registers while a run goes on."""
        for _ in range(self.rng.choice((1, 5))):
            self.port.advance(self.rng.randrange(200))
            name = self.rng.choice(("control", "base", "first", "words", "kept", "limit"))
            if name != "control" and not self.port.read_register(REGISTERS["status"].offset) & 1:
                return  # it has ended: they would be taken
            self.port.write_register(REGISTERS[name].offset, 1 if name == "control" else self.rng.getrandbits(32))

    def mend(self):
        """The image as it should be, on the engine as it is now."""
        port = self.port
        for setting in (MemorySetting.FAIL_READ, MemorySetting.FAIL_WRITE, MemorySetting.STALL):
            port.let(setting, 0)
        port.advance(self.limit + ON_ITS_WAY, until_rest=True)
        self.driver.load(self.image)
        assert np.array_equal(self.driver.run(self.pixels), self.expected)


@pytest.mark.parametrize("batch", [pytest.param(k, marks=pytest.mark.guard if k == 0 else ()) for k in range(BATCHES)])
def test_whatever_an_engine_reads_it_comes_back(batch, build):
    """10,000 cases in all: flipped bits, garbage, fields at their ends, refused beats, resets, starts and registers in
    the middle of a run."""
    fuzzer = Fuzzer(build, batch)
    for case in range(CASES):
        try:
            fuzzer.case()
        except AssertionError as error:
            raise AssertionError(f"batch {batch}, case {case}: {error}") from error
    assert all(fuzzer.codes.values()), f"a way to end that no case took: {fuzzer.codes}"
    fuzzer.port.close()
