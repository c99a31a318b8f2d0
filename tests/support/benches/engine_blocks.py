"""Blocks of an engine cycle by cycle, and words of numbers side by side."""

from amaranth.sim import Simulator


def cycles_of(dut, drive, count, *outputs):
    """Values of ``outputs`` in each of ``count`` cycles, with what ``drive(cycle)`` gives as inputs by name."""
    seen = []

    async def bench(ctx):
        for cycle in range(count):
            for name, value in drive(cycle).items():
                port = getattr(dut, name)
                ctx.set(port.as_value() if hasattr(port, "as_value") else port, value)
            _, _, *values = await ctx.tick().sample(*(getattr(dut, name) for name in outputs))
            seen.append(values)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return seen


def packed(values, bits):
    """Numbers side by side, the first one lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << k * bits for k, value in enumerate(values))


def fields(word, bits, count, *, sign=True):
    """``count`` numbers of a word, the first lowest."""
    values = [word >> k * bits & ((1 << bits) - 1) for k in range(count)]
    return [v - (1 << bits) if sign and v >> bits - 1 else v for v in values]
