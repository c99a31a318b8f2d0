# amaranth: UnusedElaboratable=no
"""The AXI4 master of an engine, proved for any memory and any commands at any time, by reachability.

Reader and writer are small here: bursts of two words, two of them on their way, queues of few words. Nothing in them
looks at what is read and written, and the rules are the same at every size.
"""

import pytest
from addax.hdl.engine.records import READ, WRITE, Stream
from addax.hdl.engine.transfer.reader import MemoryReader
from addax.hdl.engine.transfer.writer import MemoryWriter
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from engine_networks import small_plan
from prove import reached_violation

pytestmark = pytest.mark.slow
BURST, OUTSTANDING = 2, 2
ROOM = 3
"""Words of each queue that the reader fills."""
SHORT = 5
"""Words of a command, at most."""


def plan_of(beats, **changes):
    """An engine whose words have so many beats."""
    return small_plan(**{
        "bits": 16, "pin": 4 * beats, "pout": 4 * beats, "memory_bits": 64, "burst": BURST, "outstanding": OUTSTANDING,
        "pixels": 16, **changes,
    })  # fmt: skip


def held(m, valid, ready, payload, check):
    """What is offered stays until it is taken."""
    stalled, before = Signal(), Signal(len(payload))
    m.d.sync += [stalled.eq(valid & ~ready), before.eq(Mux(valid & ~ready, payload, 0))]
    with m.If(stalled):
        m.d.comb += check(valid & (payload == before))


def one_burst(m, plan, address, length):
    """A burst is of whole words and crosses no multiple of the longest one."""
    word, beats = (plan.word_bytes.bit_length() - 1), plan.beats
    place = address[word:][: BURST.bit_length() - 1]
    m.d.comb += [Assert(address[:word] == 0), Assert(place * beats + length < BURST * beats)]
    if beats > 1:
        m.d.comb += Assert(length[: beats.bit_length() - 1] == beats - 1)


class Line:
    """A queue of the contract's own: values that came, the oldest first."""

    def __init__(self, m, name, *, room, bits):
        self.m = m
        self.count = Signal(range(room + 1), name=f"{name}_count")
        self.items = [Signal(bits, name=f"{name}_{k}") for k in range(room)]
        self.oldest = self.items[0]

    def move(self, enters, value, leaves, *, oldest=None):
        """One more at the end, one fewer in front; else the oldest becomes ``oldest``."""
        behind = self.count - leaves
        for k, own in enumerate(self.items):
            following = self.items[k + 1] if k + 1 < len(self.items) else 0
            stays = oldest if k == 0 and oldest is not None else own
            self.m.d.sync += own.eq(Mux(enters & (behind == k), value, Mux(leaves, following, stays)))
        self.m.d.sync += self.count.eq(behind + enters)
        self.m.d.comb += Assert(self.count <= len(self.items))


def bursts_of_commands(m, commands, accepted, words):
    """The command that a burst is of, first its number of words; a burst takes some of what is left of the oldest."""
    left = Line(m, "commands", room=3, bits=3 + len(commands.mark))
    count = left.oldest[:3]
    m.d.comb += Assert(~accepted | ((left.count > 0) & (count >= words)))
    ends = accepted & (count == words)
    taken = commands.port.valid & commands.port.ready
    value = Cat(commands.port.payload.words[:3], commands.mark)
    rest = (count - Mux(accepted, words, 0))[:3]
    left.move(taken, value, ends, oldest=Cat(rest, left.oldest[3:]))
    return left.oldest[3:], ends


class Commands:
    """A stream of commands, and what of each its bursts take along."""

    def __init__(self, port, mark):
        self.port, self.mark = port, mark


class ReaderContract(wiring.Component):
    """Addresses are held, bursts keep to their pages and make up their commands, no more are on their way than allowed;
    each word goes out with the stream of its command; no queue is overrun, whatever leaves it and when; ``stop`` ends
    it, ``idle`` is true."""

    def __init__(self, beats=1, *, followed=Stream.FEATURES, dut=MemoryReader, room=ROOM, **changes):
        self.plan, self.followed = plan_of(beats), followed
        rooms = {stream: ROOM for stream in Stream if stream <= Stream.WRITES}
        self.dut = dut(plan_of(beats, **changes), {**rooms, followed: room})
        super().__init__({
            "offered": In(1), "command": In(READ.layout), "arready": In(1), "rvalid": In(1), "stop": In(1),
            "leaves": In(len(self.dut.left[followed.name.lower()])),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [
            dut.commands.valid.eq(self.offered),
            dut.commands.payload.eq(self.command),
            dut.arready.eq(self.arready),
            dut.rvalid.eq(self.rvalid),
            dut.stop.eq(self.stop),
            dut.left[self.followed.name.lower()].eq(self.leaves),
            Assume(~ResetSignal()),
            Assume((self.command.words != 0) & (self.command.words <= SHORT)),
            Assume(self.command.wait == 0),
            Assume(self.command.stream <= Stream.WRITES),
        ]
        held(m, self.offered, dut.commands.ready, self.command.as_value(), Assume)
        held(m, dut.arvalid, self.arready, Cat(dut.araddr, dut.arlen), Assert)
        with m.If(dut.arvalid):
            one_burst(m, self.plan, dut.araddr, dut.arlen)
        accepted = dut.arvalid & self.arready
        words = Signal(range(BURST + 1))
        m.d.comb += words.eq(dut.arlen[self.plan.beats.bit_length() - 1 :] + 1)
        stream, _ = bursts_of_commands(m, Commands(dut.commands, self.command.stream), accepted, words)
        self._answers(m, dut, accepted, stream)
        stopped, was_valid = Signal(), Signal()
        m.d.sync += [stopped.eq(self.stop), was_valid.eq(dut.arvalid & ~self.arready)]
        m.d.comb += Assert(~(dut.arvalid & ~was_valid & stopped))
        return m

    def _answers(self, m, dut, accepted, stream):
        """Beats come for bursts that were asked for; words of the followed stream are held in a queue."""
        reads, part = Line(m, "reads", room=OUTSTANDING, bits=8 + len(stream)), Signal(range(max(2, self.plan.beats)))
        left, taken, last = reads.oldest[:8], self.rvalid & dut.rready, part == self.plan.beats - 1
        through = taken & (left == 0)
        reads.move(accepted, Cat(dut.arlen, stream), through, oldest=Cat((left - taken)[:8], reads.oldest[8:]))
        m.d.comb += [
            Assume(~self.rvalid | (reads.count > 0)),
            Assert(dut.rready),
            Assert(dut.idle == ((reads.count == 0) & ~dut.arvalid)),
        ]
        with m.If(taken):
            m.d.sync += part.eq(Mux(last, 0, part + 1))
        whole, of = Signal(), Signal(len(stream))
        m.d.sync += [whole.eq(taken & last), of.eq(reads.oldest[8:])]
        m.d.comb += Assert(dut.valid == whole)
        with m.If(dut.valid):
            m.d.comb += Assert(dut.stream == of)
        level = Signal(range(ROOM + 3))
        arrives = dut.valid & (dut.stream == self.followed)
        m.d.comb += [Assume(self.leaves <= level), Assert(level <= ROOM)]
        m.d.sync += level.eq(level + arrives - self.leaves)


@pytest.mark.parametrize("followed", [Stream.FEATURES, Stream.WEIGHTS], ids=lambda stream: stream.name.lower())
@pytest.mark.parametrize("beats", [1, 2])
def test_reader(tmp_path, beats, followed):
    """Words of one and of two beats; what is emptied in any steps, and what loses a word at a time."""
    found = reached_violation(ReaderContract(beats, followed=followed), tmp_path)
    assert found is None, found


class Fickle(MemoryReader):
    """Takes an address back that is not taken at once."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.arvalid & ~self.arready):
            m.d.sync += self.arvalid.eq(0)
        return m


class Mistaken(MemoryReader):
    """Says the stream of the youngest command, not that of the burst."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.stream.eq(self.commands.payload.stream)
        return m


@pytest.mark.parametrize(
    "broken",
    [{"dut": Fickle}, {"dut": Mistaken}, {"burst": 4}, {"outstanding": 3}, {"room": ROOM + 1}],
    ids=["fickle", "mistaken", "long bursts", "one more on its way", "one more in a queue"],
)
def test_a_reader_that_breaks_a_rule_is_found(tmp_path, broken):
    """Protects the proof: bursts across pages, one burst and one word more than there is room for, among others."""
    assert reached_violation(ReaderContract(**broken), tmp_path) is not None


class WriterContract(wiring.Component):
    """Addresses and data are held, bursts keep to their pages and make up their commands; data follow their address,
    without a gap, and end where it says; answers are counted by command; ``stop`` ends it, ``idle`` is true."""

    def __init__(self, beats=1, *, dut=MemoryWriter, lag=3, **changes):
        self.plan, self.lag = plan_of(beats), lag
        self.dut = dut(plan_of(beats, **changes))
        super().__init__({
            "offered": In(1), "command": In(WRITE.layout), "awready": In(1), "wready": In(1), "bvalid": In(1),
            "came": In(1), "stop": In(1), "word": In(self.plan.word_bits),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [
            dut.commands.valid.eq(self.offered),
            dut.commands.payload.eq(self.command),
            dut.awready.eq(self.awready),
            dut.wready.eq(self.wready),
            dut.bvalid.eq(self.bvalid),
            dut.came.eq(self.came),
            dut.stop.eq(self.stop),
            Assume(~ResetSignal()),
            Assume((self.command.words != 0) & (self.command.words <= SHORT)),
            Assume(self.command.stride != 0),
        ]
        held(m, self.offered, dut.commands.ready, self.command.as_value(), Assume)
        held(m, dut.awvalid, self.awready, Cat(dut.awaddr, dut.awlen), Assert)
        held(m, dut.wvalid, self.wready, Cat(dut.wdata, dut.wlast), Assert)
        with m.If(dut.awvalid):
            one_burst(m, self.plan, dut.awaddr, dut.awlen)
        self._words(m, dut)
        accepted, words = dut.awvalid & self.awready, Signal(range(BURST + 1))
        m.d.comb += words.eq(dut.awlen[self.plan.beats.bit_length() - 1 :] + 1)
        _, ends = bursts_of_commands(m, Commands(dut.commands, Signal(1)), accepted, words)
        self._bursts(m, dut, accepted, ends)
        stopped, was_valid = Signal(), Signal()
        m.d.sync += [stopped.eq(self.stop), was_valid.eq(dut.awvalid & ~self.awready)]
        m.d.comb += Assert(~(dut.awvalid & ~was_valid & stopped))
        return m

    def _words(self, m, dut):
        """Words are there some cycles after they came, and stay until they are taken."""
        level, on_the_way = Signal(4), Signal(self.lag - 1)
        given = dut.words.valid & dut.words.ready
        m.d.sync += [on_the_way.eq(Cat(self.came, on_the_way)), level.eq(level + on_the_way[-1] - given)]
        m.d.comb += [
            dut.words.valid.eq(level != 0), dut.words.payload.eq(self.word), Assume(~self.came | (level < 8)),
        ]  # fmt: skip
        held(m, dut.words.valid, dut.words.ready, self.word, Assume)

    def _bursts(self, m, dut, accepted, ends):
        """Data of bursts whose addresses have been taken; answers of those whose data have gone."""
        sent, last = dut.wvalid & self.wready, dut.wvalid & self.wready & dut.wlast
        data, answers = Line(m, "data", room=OUTSTANDING, bits=8), Line(m, "answers", room=OUTSTANDING, bits=1)
        ending = Line(m, "ending", room=OUTSTANDING, bits=1)
        data.move(accepted, dut.awlen, last, oldest=(data.oldest - sent)[:8])
        ending.move(accepted, ends, last)
        answers.move(last, ending.oldest, self.bvalid)
        begun, answered = Signal(), Signal.like(dut.answered)
        m.d.sync += begun.eq((begun | sent) & ~last)
        m.d.comb += [
            Assert(~dut.wvalid | (data.count > 0)), Assert(~begun | dut.wvalid),
            Assert(~dut.wvalid | (dut.wlast == (data.oldest == 0))), Assume(~self.bvalid | (answers.count > 0)),
            Assert(data.count + answers.count + dut.awvalid <= OUTSTANDING), Assert(dut.bready),
            Assert(dut.idle == ((data.count == 0) & (answers.count == 0) & ~dut.awvalid)),
            Assert(dut.answered[:4] == answered[:4]),
        ]  # fmt: skip
        m.d.sync += answered.eq(answered + (self.bvalid & answers.oldest))


@pytest.mark.parametrize("beats", [1, 2])
def test_writer(tmp_path, beats):
    """Words of one and of two beats; commands whose words stand apart are among them."""
    found = reached_violation(WriterContract(beats), tmp_path)
    assert found is None, found


class Endless(MemoryWriter):
    """Never says which beat is the last one of its burst."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.wlast.eq(0)
        return m


@pytest.mark.parametrize(
    "broken",
    [{"dut": Endless}, {"burst": 4}, {"outstanding": 3}, {"lag": 6}],
    ids=["endless", "long bursts", "one more on its way", "words later than announced"],
)
def test_a_writer_that_breaks_a_rule_is_found(tmp_path, broken):
    """Protects the proof; words that come too late leave a gap in their burst."""
    assert reached_violation(WriterContract(**broken), tmp_path) is not None
