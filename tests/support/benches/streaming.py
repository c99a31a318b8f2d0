"""Runs a stream component in Amaranth's simulator with pauses at both ends."""

import random

from amaranth.sim import Simulator


def transfer(dut, beats, *, count, pause_in=0.0, pause_out=0.0, seed=0, settle=0, limit=200_000, names=("i", "o")):
    """Feed ``beats`` (raw payload bits) and return ``count`` output payloads, and for each how many cycles after the
    first input beat it came.

    Checks on the way that a stalled output holds its payload and its valid.
    """
    rng = random.Random(seed)
    i, o = (getattr(dut, name) for name in names)
    received, cycles, start = [], [], []

    fed, hangs = [], []

    async def feed(ctx):
        if settle:
            await ctx.tick().repeat(settle)
        for beat in beats:
            while rng.random() < pause_in:
                await ctx.tick()
            ctx.set(i.payload.as_value() if hasattr(i.payload, "as_value") else i.payload, beat)
            ctx.set(i.valid, 1)
            taken = False
            while not taken:
                *_, taken = await ctx.tick().sample(i.ready)
                if hangs:
                    return
            ctx.set(i.valid, 0)
        fed.append(True)

    async def drain(ctx):
        payload_of = o.payload.as_value() if hasattr(o.payload, "as_value") else o.payload
        stalled = None
        for cycle in range(limit):
            ready = rng.random() >= pause_out
            ctx.set(o.ready, ready)
            _, _, valid, payload, taken = await ctx.tick().sample(o.valid, payload_of, i.valid & i.ready)
            if taken and not start:
                start.append(cycle)
            if stalled is not None:
                assert valid and payload == stalled, "a stalled output must hold its beat"
            stalled = payload if valid and not ready else None
            if valid and ready:
                assert len(received) < count, "more beats than asked for"
                received.append(payload)
                cycles.append(cycle - start[0])
            if len(received) == count and fed:
                return
        hangs.append(f"{len(received)} of {count} beats after {limit} cycles")
        await ctx.tick()  # so that `feed` sees it

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(drain)
    sim.run()
    assert not hangs, hangs[0]
    return received, cycles
