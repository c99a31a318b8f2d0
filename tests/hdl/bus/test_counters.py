# amaranth: UnusedElaboratable=no
"""Counters that share a memory, against plain integers: what is read holds every event of the cycles before."""

import random

import pytest
from addax.hdl.bus.counters import CounterBank, CounterPlaces
from addax.hdl.bus.register_map import BusRegister, RegisterMap
from amaranth.sim import Simulator


def counter(name, offset, width=32):
    return BusRegister(name=name, offset=offset, width=width, access="ro", meaning="", counter=True)


def places_of(stages):
    """Two counters of 64 bits and one of 32, and three of each stage."""
    return CounterPlaces.of(RegisterMap(
        registers=(counter("cycles", 0x40, 64), counter("stall", 0x48, 64), counter("images", 0x50)),
        stages=tuple(f"s{k}" for k in range(stages)),
        stage_registers=(counter("busy", 0), counter("starved", 4), counter("stalled", 8)),
        stage_base=0x100, stage_stride=16, memories=(),
    ))  # fmt: skip


def run(places, cycles, *, word, often, clears, seed):
    """Events at random, a read in every second cycle with the chance ``often``, and clears with the chance ``clears``;
    what was read, and what should have been."""
    rng = random.Random(seed)
    bank = CounterBank(places, word=word)
    names = list(places.lows)
    chance = {name: rng.choice([0.02, 0.5, 0.97, 1.0]) for name in names}
    read, wanted = [], []

    async def drive(ctx):
        counts, kept, paused = dict.fromkeys(names, 0), dict.fromkeys(places.wide, 0), True
        for _ in range(cycles):
            events = {name: rng.random() < chance[name] for name in names}
            clear = rng.random() < clears
            ctx.set(bank.events, sum(events[name] << k for k, name in enumerate(names)))
            ctx.set(bank.clear, clear)
            reads = paused and rng.random() < often
            paused = not reads
            ctx.set(bank.read, reads)
            if reads:
                name = rng.choice(names)
                high = name in places.wide and rng.random() < 0.5
                ctx.set(bank.place, places.lows[name] + high)
                if high:
                    wanted.append(kept[name])
                else:
                    wanted.append(counts[name] & ((1 << word) - 1))
                    if name in places.wide:
                        kept[name] = counts[name] >> word & ((1 << word) - 1)
                read.append(ctx.get(bank.value))
            await ctx.tick()
            counts = {name: 0 if clear else count + events[name] for name, count in counts.items()}

    sim = Simulator(bank)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return read, wanted


@pytest.mark.parametrize("stages", [1, 3, 5])
@pytest.mark.parametrize(("often", "clears"), [(1.0, 0.0), (0.3, 0.002), (0.02, 0.0), (1.0, 0.05)])
def test_a_read_gives_every_event_before_it(stages, often, clears):
    """Words of few bits, so that they carry often; reads as fast as they may be, which takes every other turn; and
    clears, also while the words are zeroed after the clear before."""
    places = places_of(stages)
    word = CounterBank(places).small_bits
    read, wanted = run(places, 4000, word=word, often=often, clears=clears, seed=stages)
    assert len(read) > 30 and read == wanted


def test_the_places_are_bits_of_the_addresses():
    """No two counters share a place, and none shares that of a high word."""
    for stages in (1, 3, 5, 7, 30):
        places = places_of(stages)
        taken = [*places.lows.values(), *(places.lows[name] + 1 for name in places.wide)]
        assert len(set(taken)) == len(taken) and max(taken) < places.depth


def test_a_word_holds_a_small_count():
    with pytest.raises(ValueError, match="word must have at least 6 bits for 16 places, not 5"):
        CounterBank(places_of(1), word=5)
