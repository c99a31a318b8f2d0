# amaranth: UnusedElaboratable=no
"""Requantisers with shifts and residual factors per channel, ties to the even number and wide factors, against
fractions of Python, which rounds a half to the even number by itself."""

import random
from fractions import Fraction

import pytest
from addax.hdl.activation.arithmetic import Scale, ShiftField, floored, shift_bits
from addax.hdl.activation.requantise import Constants, FactorLayout, Requantiser
from addax.hdl.memory.image import Image
from addax.quant.formats import Format, signed, unsigned
from amaranth.hdl import Module, Signal
from amaranth.hdl import signed as signed_shape
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

RESULTS = st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())


def expected(acc, r, m, b, s, factor, *, even, lo, hi):
    """What one channel gives."""
    total = acc * m + r * factor + b
    whole = round(Fraction(total, 2**s) - Fraction(1, 2)) if even else total // 2**s
    return min(max(whole, lo), hi)


def tied(rng, acc, m, r, factor, s):
    """An offset with which this sum is a tie: nothing is left of it below the point."""
    return -(acc * m + r * factor) % 2**s + (rng.randint(-3, 3) << s)


@st.composite
def cases(draw):
    result = draw(RESULTS)
    return {
        "units": draw(st.integers(1, 3)), "ratio": draw(st.integers(1, 2)), "groups": draw(st.integers(1, 3)),
        "total": Format(bits=draw(st.integers(2, 20)), signed=draw(st.booleans())), "result": result,
        "residual": draw(st.none() | st.builds(Format, bits=st.integers(1, 12), signed=st.booleans())),
        "bits": draw(st.sampled_from([16, 24, 32])), "how": draw(st.sampled_from(["dsp", "lut"])),
        "channelwise": draw(st.booleans()), "even": draw(st.booleans()), "longest": draw(st.sampled_from([31, 47])),
        "seed": draw(st.integers(0, 9999)),
    }  # fmt: skip


@settings(max_examples=40)
@given(case=cases())
def test_any_requantiser_equals_fractions(case):
    """Every second sum is a tie, so that a wrong owner of ties cannot hide."""
    total, result, residual = case["total"], case["result"], case["residual"]
    units, pe, even = case["units"], case["units"] * case["ratio"], case["even"]
    rng, count = random.Random(case["seed"]), pe * case["groups"]
    scale, offset = Scale(how=case["how"], bits=case["bits"]), signed(total.bits + case["bits"])
    bound = (1 << (case["bits"] - 1)) - 1
    longest = case["longest"]
    shift_format, shared = unsigned(shift_bits(longest)), rng.randint(1, longest)
    shifts = [rng.randint(1, longest) if case["channelwise"] else shared for _ in range(count)]
    shared = rng.randint(-(2**30), 2**30) if residual else 0
    factors = [rng.randint(-(2**30), 2**30) if case["channelwise"] and residual else shared for _ in range(count)]
    multipliers = [rng.randint(-bound, bound) for _ in range(count)]
    accs = [rng.randint(total.lo, total.hi) for _ in range(count)]
    others = [rng.randint(residual.lo, residual.hi) if residual else 0 for _ in range(count)]
    offsets = [rng.randint(offset.lo // 2, offset.hi // 2) for _ in range(count)]
    for k in range(0, count, 2):
        wanted = tied(rng, accs[k], multipliers[k], others[k], factors[k], shifts[k])
        offsets[k] = wanted if offset.allows(wanted) else offsets[k]
    own = residual is not None and case["channelwise"]
    layout = FactorLayout(
        offset=offset, units=units, scale=scale, shift=shift_format if case["channelwise"] else None,
        residual=scale.residual if own else None,
    )  # fmt: skip
    rows = [range(k, k + units) for k in range(0, count, units)]
    words = tuple(
        layout.pack(*([values[k] for k in row] for values in (multipliers, offsets, shifts, factors))) for row in rows
    )
    shared = not case["channelwise"]
    constants = Constants(
        result=result, residual=scale.residual if residual and shared else None,
        shift=ShiftField(format=shift_format) if shared else None,
    )  # fmt: skip
    word = constants.pack(shifts[0], result.lo, result.hi, factors[0])
    dut = Requantiser(
        pe=pe, units=units, total=total, offset=offset, result=result,
        factors=Image(name="f", width=layout.width, words=words),
        constants=Image(name="c", width=constants.width, words=(word,)), shift=None, prefix=None, residual=residual,
        scale=scale, channelwise=case["channelwise"], even=even, shifts=ShiftField(format=shift_format),
    )  # fmt: skip
    wants = [
        expected(accs[k], others[k], multipliers[k], offsets[k], shifts[k], factors[k], even=even, lo=result.lo,
                 hi=result.hi)
        for k in range(count)
    ]  # fmt: skip

    assert run(dut, accs, others, units) == wants


def run(dut, accs, others, units):
    """All elements that leave, in order; groups come as closely as they may."""
    found, waiting = [], list(others)

    async def drive(ctx):
        async def step(done, sums):
            ctx.set(dut.done, done)
            ctx.set(dut.sums, sums)
            if dut.residual is not None and ctx.get(dut.taking):
                part = waiting[:units]
                del waiting[:units]
                ctx.set(dut.r, packed(part, dut.residual.bits))
            _, _, valid, y = await ctx.tick().sample(dut.valid, dut.y)
            if valid:
                bits = dut.result.bits
                found.extend(dut.result.decode(y >> k * bits & ((1 << bits) - 1)) for k in range(units))

        await step(0, 0)
        await step(0, 0)
        for k in range(0, len(accs), dut.pe):
            await step(1, packed(accs[k : k + dut.pe], dut.total.bits))
            for _ in range(dut.pe // units - 1):
                await step(0, 0)
        for _ in range(dut.pe // units + dut.scale.latency(residual=True) + 4):
            await step(0, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return found


def packed(values, bits):
    return sum((value & ((1 << bits) - 1)) << (k * bits) for k, value in enumerate(values))


@pytest.mark.parametrize("bits, least", [(8, 0), (40, 0), (8, 6), (40, 18)])
def test_ties_go_to_the_even_number_and_nothing_else_moves(bits, least):
    """All sums of a small width, and the shifts that are longer than it; of a wide one the ties around 0. Also where
    the signal says only what a shift is above the least one."""
    total, shift, even = Signal(signed_shape(bits)), Signal(2 if least else 5), Signal(signed_shape(bits))
    m = Module()
    m.d.comb += even.eq(floored(m, total, shift, least=least, even=True, name="rest"))
    values = range(-128, 128) if bits == 8 else [k << 20 | low for k in range(-4, 5) for low in (0, 1, 1 << 19)]

    async def drive(ctx):
        for places in range(least, least + 4) if least else (1, 2, 7, 9, 20, 31):
            ctx.set(shift, places - least)
            for value in values:
                ctx.set(total, value)
                want = round(Fraction(value, 2**places) - Fraction(1, 2))
                assert ctx.get(even) == want, f"{value} >> {places}"

    sim = Simulator(m)
    sim.add_testbench(drive)
    sim.run()


@given(data=st.data(), bits=st.integers(2, 40), units=st.integers(1, 4), joins=st.booleans())
def test_words_of_channels_can_be_read_back(data, bits, units, joins):
    """M lowest, then B, S and, where a residual joins, R."""
    offset, scale = signed(bits), Scale(bits=24)
    layout = FactorLayout(
        offset=offset, units=units, scale=scale, shift=unsigned(6), residual=scale.residual if joins else None
    )  # fmt: skip
    ranges = [(-(2**23) + 1, 2**23 - 1), (offset.lo, offset.hi), (0, 47), (-(2**31) + 1, 2**31 - 1)]
    rows = [data.draw(st.lists(st.integers(*ends), min_size=units, max_size=units)) for ends in ranges]

    word = layout.pack(*rows)

    assert 0 <= word < 1 << layout.width == 1 << units * (24 + bits + 6 + 32 * joins)
    assert [list(values) for values in layout.unpack(word)] == [*rows[:3], rows[3] if joins else [0] * units]


def test_constants_of_channels_hold_the_clamp_alone():
    layout = Constants(result=unsigned(4), shift=None)

    assert layout.width == 8 and layout.unpack(layout.pack(31, 3, 12, 99)) == (0, 3, 12, 0)
