"""Layer norms of an engine, block by block: every value is that of the definition, in the cycle that is said."""

import random
from math import isqrt

import numpy as np
import pytest
from addax.hdl.engine.vector.norms import Norms
from addax.hdl.engine.vector.widths import NormWidths
from addax.quant.fold.grid import Grid
from addax.quant.fold.tokens import norm_of
from addax.quant.formats import signed, unsigned
from addax.quant.ops.base import Tensor
from amaranth.sim import Simulator
from engine_blocks import fields, packed
from engine_networks import small_plan

ARRIVAL = 2
PLANS = {
    "4 lanes of 16 bits, two roots": small_plan(norms=2),
    "4 lanes of 16 bits, eight roots": small_plan(norms=8),
    "8 lanes of 8 bits, four roots": small_plan(pin=8, pout=8, bits=8, norms=4),
}


def made(rng, plan, channels, fmt):
    """A norm as a folding makes it, with a power for each channel."""
    gamma, beta = rng.normal(0, 1, channels), rng.normal(0, 1, channels)
    op = norm_of(
        "norm", "x", Grid(format=fmt, step=0.05), Grid(format=signed(8), step=2.0**-5), gamma, beta, 1e-3,
        rng.integers(0, 4, channels),
    )  # fmt: skip
    op.infer([Tensor((channels, 1, 1), fmt)])
    return op


def normalised(op, token, point):
    """What a requantiser gets, by the definition, and by the exact floor of a root."""
    moved = [int(x) << int(a) for x, a in zip(token, op.exponents(len(token)), strict=True)]
    count, total = len(moved), sum(moved)
    variance = count * sum(x * x for x in moved) - total**2
    inverse = 2**op.reciprocal // max(isqrt((variance << 2 * op.fraction) + op.eps), 1)
    return [(count * x - total) * inverse >> op.cut for x in moved]


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("sign", [0, 1])
def test_values_of_tokens_are_those_of_the_definition(plan, sign):
    """Bands of one token to thirty, tokens of equal channels, of the ends of the format, any gaps between taps; the
    second time each comes `NormTiming.latency` cycles behind its tap, and reciprocals when `NormTiming.rooted` says."""
    rng, gaps = np.random.default_rng(sign), random.Random(sign)
    fmt = signed(plan.bits) if sign else unsigned(plan.bits)
    dut, widths = Norms(plan, ARRIVAL), NormWidths.of(plan)
    script, expected, told, waits = [], {}, {}, []
    for pixels, channels in ((1, 2 * plan.pin), (3, 3 * plan.pin - 1), (9, 5), (30, plan.pin)):
        op = made(rng, plan, channels, fmt)
        blocks = -(-channels // plan.pin)
        x = rng.integers(fmt.lo, fmt.hi + 1, (pixels, channels))
        x[0] = x[0, 0]
        x[-1] = np.where(rng.random(channels) < 0.5, fmt.lo, fmt.hi) if pixels > 1 else x[-1]
        whole = np.zeros((pixels, blocks * plan.pin), np.int64)
        whole[:, :channels] = x
        digits, places = op.reciprocal + 1, op.reciprocal + 1 + widths.point - op.cut
        steps = max(places, widths.root.bits)
        layer = {"pixels": pixels, "channels": channels, "fraction": op.fraction, "eps": op.eps, "digits": digits,
                 "places": places, "longest": steps, "signed": sign}  # fmt: skip
        powers = np.zeros(blocks * plan.pin, np.int64)
        powers[:channels] = op.exponents(channels)
        for scaling in (0, 1):
            for block in range(blocks):
                own = slice(block * plan.pin, (block + 1) * plan.pin)
                for token in range(pixels):
                    script += [{**layer, "issued": 0}] * gaps.choice([0, 0, 0, 2])
                    closes = not scaling and block == blocks - 1 and token == pixels - 1
                    told[len(script) + ARRIVAL] = (packed(whole[token, own], plan.bits), packed(powers[own], plan.bits))
                    if scaling:
                        values = normalised(op, x[token], op.cut)[own]
                        expected[len(script) + dut.timing.latency] = values
                    script.append({**layer, "issued": 1, "pixel": token, "scaling": scaling,
                                   "opens": int(block == 0 and not scaling), "closes": int(closes)})  # fmt: skip
                    if closes:
                        there = len(script) - 1 + dut.timing.rooted(plan, pixels, steps)
                        waits.append(there)
                        script += [{**layer, "issued": 0, "closes": 0}] * (there - len(script))
                script += [{**layer, "issued": 0, "closes": 0}] * 2
    script += [{"issued": 0}] * (dut.timing.latency + 1)
    seen = {}

    async def bench(ctx):
        was = 1
        for cycle, entry in enumerate(script):
            for name, value in {"closes": 0, **entry}.items():
                ctx.set(getattr(dut, name), value)
            word, powers = told.get(cycle, (0, 0))
            ctx.set(dut.word, word)
            ctx.set(dut.powers, powers)
            _, _, done, sums, there = await ctx.tick().sample(dut.done, dut.sums, dut.there)
            assert not (there and not was) or cycle in waits, cycle
            assert was or there or cycle not in waits
            was = there
            if done:
                seen[cycle] = fields(sums, plan.sum_bits, plan.pout)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert list(seen) == list(expected)
    for cycle, values in expected.items():
        assert seen[cycle][: len(values)] == values, cycle
