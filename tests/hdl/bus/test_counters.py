# amaranth: UnusedElaboratable=no
"""Counters that share a memory, against plain integers: what is read holds every event of the cycles before."""

import random

import pytest
from addax.hdl.bus.counters import CounterBank, CounterPlaces
from addax.hdl.bus.register_map import BusRegister, RegisterMap
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator


def counter(name, offset, width=32):
    return BusRegister(name=name, offset=offset, width=width, access="ro", meaning="", counter=True)


def map_of(stages):
    """Two counters of 64 bits and one of 32, and three of each stage."""
    return RegisterMap(
        registers=(counter("cycles", 0x40, 64), counter("stall", 0x48, 64), counter("images", 0x50)),
        stages=tuple(f"s{k}" for k in range(stages)),
        stage_registers=(counter("busy", 0), counter("starved", 4), counter("stalled", 8)),
        stage_base=0x100, stage_stride=16, memories=(),
    )  # fmt: skip


def run(count, wide, cycles, *, word, often, clears, seed):
    """Events at random, a read in every second cycle with the chance ``often``, and clears with the chance ``clears``;
    what was read, and what should have been."""
    rng = random.Random(seed)
    bank = CounterBank(count=count, wide=wide, word=word)
    chance = [rng.choice([0.02, 0.5, 0.97, 1.0]) for _ in range(count)]
    read, wanted = [], []

    async def drive(ctx):
        counts, kept, paused = [0] * count, [0] * wide, True
        for _ in range(cycles):
            events = [rng.random() < share for share in chance]
            clear = rng.random() < clears
            reads = paused and rng.random() < often
            paused = not reads
            place = rng.randrange(count)
            high = place < wide and rng.random() < 0.5
            ctx.set(bank.events, sum(event << k for k, event in enumerate(events)))
            for port, value in ((bank.clear, clear), (bank.read, reads), (bank.place, place), (bank.high, high)):
                ctx.set(port, value)
            if reads:
                value = counts[place] & ((1 << word) - 1)
                if high:
                    value = kept[place]
                elif place < wide:
                    kept[place] = counts[place] >> word & ((1 << word) - 1)
                wanted.append(value)
                read.append(ctx.get(bank.value))
            await ctx.tick()
            counts = [0 if clear else n + event for n, event in zip(counts, events, strict=True)]

    sim = Simulator(bank)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return read, wanted


@pytest.mark.parametrize("count, wide", [(1, 1), (4, 0), (8, 3), (26, 3)])
@pytest.mark.parametrize(("often", "clears"), [(1.0, 0.0), (0.3, 0.002), (0.02, 0.0), (1.0, 0.05)])
def test_a_read_gives_every_event_before_it(count, wide, often, clears):
    """Words of few bits, so that they carry often; reads as fast as they may be, which takes every other turn; and
    clears, also while the words are zeroed after the clear before."""
    word = CounterBank(count=count, wide=wide).low_bits + 1
    read, wanted = run(count, wide, 4000, word=word, often=often, clears=clears, seed=count)
    assert len(read) > 30 and read == wanted


@pytest.mark.parametrize("stages", [0, 1, 3, 7, 30])
def test_an_address_says_the_place(stages):
    """Of every counter, and of the high word of those that have one."""
    registers = map_of(stages)
    places = CounterPlaces.of(registers)
    counters = {register.name: register for register in registers if register.counter}
    assert sorted(places.names) == sorted(counters) and places.wide == 2
    m, word, high = Module(), Signal(12), Signal()
    place = Signal(range(max(2, len(counters))))
    m.d.comb += [place.eq(places.at(m, word)), high.eq(places.is_high(word))]

    async def look(ctx):
        for name, register in counters.items():
            for k in range(register.words):
                ctx.set(word, register.offset // 4 + k)
                assert (places.names[ctx.get(place)], ctx.get(high)) == (name, k), (name, k)

    sim = Simulator(m)
    sim.add_testbench(look)
    sim.run()


def test_a_word_is_more_than_its_low_bits():
    with pytest.raises(ValueError, match="word must have more than 5 bits for 8 counters, not 5"):
        CounterBank(count=8, wide=0, word=5)
