# amaranth: UnusedElaboratable=no
"""Queue and width converters: nothing lost, doubled or reordered under any pauses, and no cycle wasted without them."""

import random
from functools import partial

import pytest
import streaming
from addax.hdl.streams.convert import Narrow, Widen
from addax.hdl.streams.queue import Queue
from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

transfer = partial(streaming.transfer, settle=1, limit=10_000)
PAUSES = st.sampled_from([0.0, 0.3, 0.8])


def distinct_words(bits, count, seed):
    """Random words; neighbours differ where the width allows, so that a doubled or lost beat shows."""
    rng = random.Random(seed)
    words = [rng.randrange(1 << bits)]
    while len(words) < count:
        words.append((words[-1] + rng.randint(1, (1 << bits) - 1)) % (1 << bits))
    return words[:count]


def joined(parts, bits):
    return sum(part << (k * bits) for k, part in enumerate(parts))


def parts_of(word, bits, count):
    return [(word >> (k * bits)) & ((1 << bits) - 1) for k in range(count)]


@given(
    bits=st.integers(1, 40), depth=st.integers(1, 9), count=st.integers(1, 40), pause_in=PAUSES, pause_out=PAUSES,
    seed=st.integers(0, 999),
)  # fmt: skip
def test_a_queue_keeps_every_beat_in_order(bits, depth, count, pause_in, pause_out, seed):
    words = distinct_words(bits, count, seed)

    received, _ = transfer(
        Queue(unsigned(bits), depth=depth), words, count=count, pause_in=pause_in, pause_out=pause_out, seed=seed
    )

    assert received == words


@pytest.mark.parametrize("depth", [2, 3, 4, 7, 8])
def test_a_queue_passes_a_beat_per_cycle_each_in_the_cycle_after_it_came(depth):
    words = distinct_words(8, 50, depth)

    received, cycles = transfer(Queue(unsigned(8), depth=depth), words, count=50)

    assert received == words
    assert cycles == list(range(1, 51))


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_a_queue_holds_exactly_its_depth(depth):
    """Protects the room that a stage counts: one beat less and it would overflow, one more and it wastes memory."""
    dut = Queue(unsigned(8), depth=depth)
    taken = []

    async def fill(ctx):
        ctx.set(dut.i.valid, 1)
        for word in range(depth + 5):
            ctx.set(dut.i.payload, word)
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            taken.append(ready)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(fill)
    sim.run()

    assert taken == [1] * depth + [0] * 5


@pytest.mark.parametrize("depth", [0, -1])
def test_a_queue_without_room_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth of a queue must be a positive integer, not {depth}"):
        Queue(unsigned(8), depth=depth)


@given(
    bits=st.integers(1, 17), count=st.integers(1, 5), factor=st.integers(1, 6), wholes=st.integers(1, 12),
    pause_in=PAUSES, pause_out=PAUSES, seed=st.integers(0, 999),
)  # fmt: skip
def test_widen_gathers_consecutive_beats_the_first_lowest(bits, count, factor, wholes, pause_in, pause_out, seed):
    words = distinct_words(bits * count, wholes * factor, seed)

    received, _ = transfer(
        Widen(bits=bits, count=count, factor=factor), words, count=wholes, pause_in=pause_in, pause_out=pause_out,
        seed=seed,
    )  # fmt: skip

    assert received == [joined(words[k : k + factor], bits * count) for k in range(0, len(words), factor)]


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_widen_takes_a_beat_in_every_cycle(factor):
    """The gathered beat is there in the cycle after its last part."""
    words = distinct_words(12, 20 * factor, factor)

    _, cycles = transfer(Widen(bits=4, count=3, factor=factor), words, count=20)

    assert cycles == [factor * (k + 1) for k in range(20)]


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_widen_keeps_an_incomplete_beat_to_itself(factor):
    words = distinct_words(8, 3 * factor - 1, factor)
    dut = Widen(bits=8, count=1, factor=factor)
    seen = []

    async def feed(ctx):
        ctx.set(dut.o.ready, 1)
        for word in [*words, *[None] * 10]:
            ctx.set(dut.i.valid, word is not None)
            ctx.set(dut.i.payload.as_value(), word or 0)
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            seen.append(valid)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.run()

    assert sum(seen) == 2


@given(
    bits=st.integers(1, 17), count=st.integers(1, 5), factor=st.integers(1, 6), wholes=st.integers(1, 12),
    pause_in=PAUSES, pause_out=PAUSES, seed=st.integers(0, 999),
)  # fmt: skip
def test_narrow_splits_beats_the_lowest_part_first(bits, count, factor, wholes, pause_in, pause_out, seed):
    words = distinct_words(bits * count * factor, wholes, seed)

    received, _ = transfer(
        Narrow(bits=bits, count=count, factor=factor), words, count=wholes * factor, pause_in=pause_in,
        pause_out=pause_out, seed=seed,
    )  # fmt: skip

    assert received == [part for word in words for part in parts_of(word, bits * count, factor)]


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_narrow_gives_a_part_in_every_cycle(factor):
    words = distinct_words(12 * factor, 20, factor)

    _, cycles = transfer(Narrow(bits=4, count=3, factor=factor), words, count=20 * factor)

    assert cycles == list(range(1, 20 * factor + 1))


@given(
    bits=st.integers(1, 9), down=st.integers(1, 5), up=st.integers(1, 5), depth=st.integers(2, 4), pause_in=PAUSES,
    pause_out=PAUSES, seed=st.integers(0, 999),
)  # fmt: skip
def test_queue_and_converters_in_a_row_only_regroup(bits, down, up, depth, pause_in, pause_out, seed):
    """Protects their handshakes against one another, as the stages of an accelerator join them."""
    narrow = Narrow(bits=bits, count=1, factor=down)
    queue = Queue(narrow.o.payload.shape(), depth=depth)
    widen = Widen(bits=bits, count=1, factor=up)

    class Row(wiring.Component):
        def __init__(self):
            super().__init__({"i": narrow.signature.members["i"], "o": widen.signature.members["o"]})

        def elaborate(self, platform):
            m = Module()
            m.submodules += narrow, queue, widen
            wiring.connect(m, wiring.flipped(self.i), narrow.i)
            wiring.connect(m, narrow.o, queue.i)
            wiring.connect(m, queue.o, widen.i)
            wiring.connect(m, widen.o, wiring.flipped(self.o))
            return m

    words = distinct_words(bits * down, 4 * up, seed)
    flat = [part for word in words for part in parts_of(word, bits, down)]

    received, _ = transfer(Row(), words, count=4 * down, pause_in=pause_in, pause_out=pause_out, seed=seed)

    assert received == [joined(flat[k : k + up], bits) for k in range(0, len(flat), up)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Queue(unsigned(8), depth=3),
        lambda: Widen(bits=8, count=1, factor=1),
        lambda: Widen(bits=4, count=1, factor=2),
        lambda: Narrow(bits=4, count=1, factor=2),
    ],
    ids=["queue", "widen1", "widen2", "narrow"],
)
def test_valid_never_waits_for_ready(make):
    """A consumer may wait for valid before it raises ready; a producer that waited as well would deadlock."""
    dut = make()
    seen = []

    async def feed(ctx):
        ctx.set(dut.o.ready, 0)
        ctx.set(dut.i.valid, 1)
        for _ in range(6):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            seen.append(valid)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.run()

    first = seen.index(1)
    assert seen[first:] == [1] * (6 - first)
