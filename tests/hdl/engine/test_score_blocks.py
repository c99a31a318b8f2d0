"""Distances of scores to the largest of their token: those of the definition, in the cycle that is said."""

import random

import pytest
from addax.hdl.engine.vector.maxima import ScoreDistances, distance_latency
from addax.quant.formats import signed, unsigned
from amaranth.sim import Simulator
from engine_blocks import fields, packed
from engine_networks import small_plan

ARRIVAL = 2
PLANS = {
    "4 lanes of 16 bits": small_plan(softmax=True, tables=4),
    "8 lanes of 8 bits": small_plan(pin=8, pout=8, bits=8, softmax=True, tables=4),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("sign", [0, 1])
def test_distances_are_those_to_the_largest_score_of_the_token(plan, sign):
    """Bands of one token to twelve, of one block to three, the last of which counts some channels alone, ends of the
    format, gaps between taps; a band may go by the second time two cycles behind the last sum."""
    rng, fmt = random.Random(sign), signed(plan.bits) if sign else unsigned(plan.bits)
    dut = ScoreDistances(plan, ARRIVAL)
    idle = {"issued": 0, "closes": 0, "signed": sign}
    script, told, expected, waits = [], {}, {}, []
    for tokens, blocks in ((1, 3), (2, 1), (12, 2), (5, 3)):
        count = (blocks - 1) * plan.pin + rng.randint(1, plan.pin)
        scores = [[rng.choice([fmt.lo, fmt.hi, rng.randint(fmt.lo, fmt.hi)]) for _ in range(count)]
                  for _ in range(tokens)]  # fmt: skip
        # What a block has too many is 0, which may be more than any score.
        whole = [own + [0] * (blocks * plan.pin - count) for own in scores]
        for scaling in (0, 1):
            for block in range(blocks):
                part = slice(block * plan.pin, (block + 1) * plan.pin)
                counts = packed([k < count for k in range(part.start, part.stop)], plan.bits)
                for token in range(tokens):
                    script += [idle] * rng.choice([0, 0, 2])
                    closes = not scaling and block == blocks - 1 and token == tokens - 1
                    told[len(script) + ARRIVAL] = (packed(whole[token][part], plan.bits), counts)
                    if scaling:
                        found = [max(scores[token]) - score for score in whole[token][part]]
                        expected[len(script) + distance_latency(ARRIVAL)] = found
                    script.append({"issued": 1, "pixel": token, "scaling": scaling, "closes": int(closes),
                                   "opens": int(block == 0), "signed": sign})  # fmt: skip
                    if closes:
                        there = len(script) - 1 + dut.timing.summed + 2
                        waits.append(there)
                        script += [idle] * (there - len(script))
                script += [idle] * 2
    script += [idle] * 4
    seen = {}

    async def bench(ctx):
        was = 1
        for cycle, entry in enumerate(script):
            word, counts = told.get(cycle, (0, 0))
            for name, value in {**entry, "word": word, "counts": counts}.items():
                ctx.set(getattr(dut, name), value)
            _, _, done, sums, there = await ctx.tick().sample(dut.done, dut.sums, dut.there)
            assert (there and not was) == (cycle in waits), cycle
            was = there
            if done:
                seen[cycle] = fields(sums, plan.sum_bits, plan.pout)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == expected
