# amaranth: UnusedElaboratable=no
"""Reader and writer against a memory that answers when it likes, with the rules of AXI4 watched in every cycle."""

import random

import pytest
from addax.hdl.engine.compile.transfers import queue_rooms
from addax.hdl.engine.plan import PAGE_BYTES
from addax.hdl.engine.records import READ, WRITE, Stream
from addax.hdl.engine.transfer.reader import MemoryReader
from addax.hdl.engine.transfer.writer import MemoryWriter
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from engine_networks import small_plan
from marks import guarded_but

LIMIT = 6000
CASES = [(64, 0), (128, 1), (64, 1), (128, 0)]


def run(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def checked_burst(plan, address, length):
    """Words and first word of a burst that keeps the rules of AXI4."""
    size = plan.memory_bits // 8
    assert address // PAGE_BYTES == (address + (length + 1) * size - 1) // PAGE_BYTES, "a page is crossed"
    assert (length + 1) % plan.beats == 0
    return address // plan.word_bytes, (length + 1) // plan.beats


@pytest.mark.parametrize(("memory_bits", "seed"), guarded_but(CASES, *CASES[:2]))
def test_reads_come_in_order_to_their_queues(memory_bits, seed):
    """Commands of any length and address, a memory that stalls at random: no queue is overrun, no more bursts than
    allowed are on their way, nothing is asked for before what it waits for has been written."""
    rng = random.Random(seed)
    plan = small_plan(bits=16, pin=8, pout=8, memory_bits=memory_bits, outstanding=3, feature_bytes=1024)
    rooms = queue_rooms(plan)
    dut = MemoryReader(plan, rooms)
    kinds = [s for s in Stream if s not in (Stream.COMMANDS, Stream.SKIP)]
    commands = []
    for k in range(24):
        stream = rng.choice(kinds)
        commands.append(
            {"stream": stream, "words": rng.randint(1, 40), "address": rng.randint(0, 3000), "wait": k // 4}
        )
    got, held, level = [], [], dict.fromkeys(rooms, 0)
    asked, beats, answered = [], [], 0

    async def bench(ctx):
        nonlocal answered
        pending = list(commands)
        for _ in range(LIMIT):
            ctx.set(dut.commands.valid, bool(pending))
            if pending:
                ctx.set(dut.commands.payload.as_value(), READ.pack(pending[0]))
            ctx.set(dut.answered, answered)
            ctx.set(dut.base, 4096)
            ctx.set(dut.arready, rng.random() < 0.6)
            if not held and beats and rng.random() < 0.7:
                held.append(beats.pop(0))
            ctx.set(dut.rvalid, bool(held))
            if held:
                ctx.set(dut.rdata, held[0])
            left = {name: 0 for name in rooms}
            for stream in rooms:
                if level[stream] and rng.random() < 0.5:
                    left[stream] = 1 if stream is not Stream.RESIDUALS else min(2, level[stream])
                ctx.set(dut.left[stream.name.lower()], left[stream])
            _, _, taken, addressed, address, length, valid, word, stream, ready = await ctx.tick().sample(
                dut.commands.ready & dut.commands.valid, dut.arvalid & dut.arready, dut.araddr, dut.arlen, dut.valid,
                dut.word, dut.stream, dut.rready,
            )  # fmt: skip
            for name, count in left.items():
                level[name] -= count
            if valid:
                queue = Stream.RESIDUALS if stream == Stream.WIDE_RESIDUALS else Stream(stream)
                level[queue] += 1
                assert level[queue] <= rooms[queue], f"{queue.name} is overrun"
                got.append((Stream(stream), word))
            if held and ready:
                held.pop()
            if taken:
                pending.pop(0)
            if addressed:
                first, count = checked_burst(plan, address, length)
                asked.append((first - 4096, count))
                for at in range(first, first + count):
                    beats.extend(at << 8 | k for k in range(plan.beats))
                assert len(beats) + len(held) <= plan.outstanding * plan.burst * plan.beats
            if rng.random() < 0.02 and answered < 6:
                answered += 1
            if not pending and len(got) == sum(c["words"] for c in commands):
                return
        raise AssertionError(f"{len(got)} words after {LIMIT} cycles")

    run(dut, bench)
    want = [(c["stream"], c["address"] + 4096 + k) for c in commands for k in range(c["words"])]
    shift = plan.memory_bits
    assert got == [(s, sum((at << 8 | k) << k * shift for k in range(plan.beats))) for s, at in want]


@pytest.mark.parametrize(("memory_bits", "seed"), guarded_but(CASES, *CASES[:2]))
def test_writes_are_announced_when_their_words_are_there(memory_bits, seed):
    """Every word arrives where its command says; no burst waits for words; answers are counted by command."""
    rng = random.Random(seed)
    plan = small_plan(bits=16, pin=8, pout=8, memory_bits=memory_bits, outstanding=2)
    dut = MemoryWriter(plan)
    commands = [
        {"words": rng.randint(1, 40), "address": 5000 * k + rng.randint(0, 3000), "stride": rng.choice([1, 1, 2, 5])}
        for k in range(8)
    ]
    total = sum(c["words"] for c in commands)
    words = [rng.getrandbits(plan.word_bits) for _ in range(total)]
    memory, bursts, open_bursts, due, seen = {}, [], [], [], []

    async def bench(ctx):
        pending, made, left = list(commands), 0, 0
        for cycle in range(LIMIT):
            ctx.set(dut.commands.valid, bool(pending))
            if pending:
                ctx.set(dut.commands.payload.as_value(), WRITE.pack(pending[0]))
            came = made < total and made - left < plan.result_words and rng.random() < 0.7
            made += came
            ctx.set(dut.came, came)
            ctx.set(dut.words.valid, made > left)
            ctx.set(dut.words.payload, words[min(left, total - 1)])
            ctx.set(dut.awready, rng.random() < 0.5)
            ctx.set(dut.wready, rng.random() < 0.7)
            answer = bool(due) and due[0] <= cycle
            ctx.set(dut.bvalid, answer)
            sample = await ctx.tick().sample(
                dut.commands.ready & dut.commands.valid, dut.awvalid & dut.awready, dut.awaddr, dut.awlen,
                dut.wvalid & dut.wready, dut.wdata, dut.wlast, dut.words.ready & dut.words.valid, dut.answered,
            )  # fmt: skip
            _, _, taken, addressed, address, length, moved, data, last, popped, answered = sample
            if taken:
                pending.pop(0)
            if addressed:
                first, count = checked_burst(plan, address, length)
                assert made >= sum(bursts) + count, "a burst is announced before its words are there"
                open_bursts.append([first, 0, count * plan.beats])
                bursts.append(count)
            if moved:
                burst = open_bursts[0]
                at, beat = burst[0] + burst[1] // plan.beats, burst[1] % plan.beats
                memory[at] = memory.get(at, 0) | data << beat * plan.memory_bits
                burst[1] += 1
                assert last == (burst[1] == burst[2])
                if last:
                    open_bursts.pop(0)
                    due.append(cycle + rng.randint(1, 30))
                    due.sort()
            left += popped
            if answer:
                due.pop(0)
            seen.append(answered)
            if answered == len(commands):
                return
        raise AssertionError(f"{left} of {total} words after {LIMIT} cycles")

    run(dut, bench)
    want, at = {}, iter(words)
    for command in commands:
        want |= {command["address"] + k * command["stride"]: next(at) for k in range(command["words"])}
    assert memory == want
    assert sorted(set(seen)) == list(range(len(commands) + 1)), "commands are counted one by one"
    assert max(bursts) <= plan.burst


def test_bursts_follow_each_other_without_a_gap_in_the_data():
    """The next burst of a write is announced while the data of the one before go out, and reads are asked for in every
    other cycle, with nothing lost between two commands: so data of bursts of two words and more never wait."""
    plan = small_plan(bits=16, pin=8, pout=8, memory_bits=128, burst=4, outstanding=8)
    words = 40
    writer, reader = MemoryWriter(plan), MemoryReader(plan, queue_rooms(plan))
    sent, asked = [], []

    async def write(ctx):
        pending = [{"words": words // 2, "address": 16 + k * 64, "stride": 1} for k in range(2)]
        ctx.set(writer.awready, 1)
        ctx.set(writer.wready, 1)
        ctx.set(writer.words.valid, 1)
        for cycle in range(3 * words):
            ctx.set(writer.came, cycle < words)
            ctx.set(writer.bvalid, bool(sent) and cycle > sent[0] and cycle % plan.burst == 0)
            ctx.set(writer.commands.valid, bool(pending) and cycle > words)
            if pending:
                ctx.set(writer.commands.payload.as_value(), WRITE.pack(pending[0]))
            _, _, taken, moved = await ctx.tick().sample(writer.commands.ready & writer.commands.valid, writer.wvalid)
            if taken:
                pending.pop(0)
            if moved:
                sent.append(cycle)

    async def read(ctx):
        command = {"stream": Stream.FEATURES, "words": 12, "address": 0, "wait": 0}
        ctx.set(reader.arready, 1)
        ctx.set(reader.commands.valid, 1)
        ctx.set(reader.commands.payload.as_value(), READ.pack(command))
        for cycle in range(18):
            _, _, addressed = await ctx.tick().sample(reader.arvalid)
            if addressed:
                asked.append(cycle)

    run(writer, write)
    run(reader, read)
    assert sent == list(range(sent[0], sent[0] + words))
    assert asked[:6] == list(range(asked[0], asked[0] + 12, 2))


def test_a_burst_that_was_announced_is_sent_though_its_words_never_come():
    """A broken descriptor makes fewer words than it says: nothing may wait for them for ever, nor change what it
    offers. When the engine stops, zeros stand in; a word that comes after all is not among them."""
    plan = small_plan(bits=16, pin=8, pout=8, memory_bits=64, burst=4)
    dut, told, given = MemoryWriter(plan), 4, 2
    sent, answers = [], []

    async def bench(ctx):
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload.as_value(), WRITE.pack({"words": told, "address": 0, "stride": 1}))
        ctx.set(dut.awready, 1)
        ctx.set(dut.words.payload, (1 << plan.word_bits) - 1)
        left, offered = given, None
        for cycle in range(60):
            ctx.set(dut.came, cycle < told)
            ctx.set(dut.stop, cycle >= 40)
            ctx.set(dut.words.valid, left > 0 or cycle > 45)
            ctx.set(dut.wready, cycle % 3 == 0)
            ctx.set(dut.bvalid, bool(answers) and cycle == answers[0] + 1)
            _, _, taken, popped, valid, data, last = await ctx.tick().sample(
                dut.commands.ready, dut.words.ready & dut.words.valid, dut.wvalid, dut.wdata, dut.wlast
            )
            if taken:
                ctx.set(dut.commands.valid, 0)
            left -= popped
            assert offered is None or (valid, data) == (1, offered), "what is offered stays"
            offered = data if valid and cycle % 3 else None
            if valid and not cycle % 3:
                sent.append(data)
                if last:
                    answers.append(cycle)
            assert len(sent) <= given * plan.beats or cycle >= 40
        assert ctx.get(dut.idle)

    run(dut, bench)
    ones = (1 << plan.memory_bits) - 1
    assert sent == [ones] * (given * plan.beats) + [0] * ((told - given) * plan.beats) and len(answers) == 1


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (96, 128), (97, 127), (100, 101)])
@pytest.mark.parametrize("part", [MemoryReader, MemoryWriter])
def test_only_bursts_within_the_area_are_begun(part, begin, end):
    """Commands that begin in front of it, end behind it, or lie within: of the first two the burst is told as outside
    that is, and nothing is begun behind it. Without an area all are begun, but for a command that has no words."""
    plan = small_plan(bits=16, pin=4, pout=4, memory_bits=64, burst=8)
    commands = [(address, words) for address in (*range(92, 102), *range(119, 130)) for words in (0, 1, 3, 9)]
    found = begun(part, plan, commands, (end != 0, begin, end))
    for command, (bursts, outside) in zip(commands, found, strict=True):
        address, words = command
        inside = [end == 0 or begin <= at < end for at in range(address, address + words)]
        expected, at = [], address
        while at < address + words:
            following = min(address + words, (at // plan.burst + 1) * plan.burst)
            if not all(inside[at - address : following - address]):
                break
            expected.append((at, following - at))
            at = following
        assert bursts == expected and outside == (not all(inside) or not words), command


def begun(part, plan, commands, area):
    """Of each command, behind a reset: first words and lengths of its bursts; whether one was told to be outside."""
    reads, found, m, reset = part is MemoryReader, [], Module(), Signal()
    dut = part(plan, queue_rooms(plan)) if reads else part(plan)
    m.submodules.dut = ResetInserter(reset)(dut)
    record, more = (READ, {"stream": Stream.FEATURES, "wait": 0}) if reads else (WRITE, {"stride": 1})
    valid, at, length, ready = (
        (dut.arvalid, dut.araddr, dut.arlen, dut.arready)
        if reads
        else (dut.awvalid, dut.awaddr, dut.awlen, dut.awready)
    )

    async def bench(ctx):
        ctx.set(dut.area, dict(zip(("bounded", "begin", "end"), area, strict=True)))
        ctx.set(ready, 1)
        for address, words in commands:
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.commands.valid, 1)
            ctx.set(dut.commands.payload.as_value(), record.pack({"words": words, "address": address, **more}))
            bursts, told = [], False
            for cycle in range(16):
                if not reads:
                    ctx.set(dut.came, cycle < words)
                _, _, taken, asked, first, count, outside = await ctx.tick().sample(
                    dut.commands.ready, valid, at, length, dut.outside
                )
                if taken:
                    ctx.set(dut.commands.valid, 0)
                if asked:
                    bursts.append((first // plan.word_bytes, count + 1))
                told |= bool(outside)
            found.append((bursts, told))

    run(m, bench)
    return found
