# amaranth: UnusedElaboratable=no
"""Quotients of rows: the floors that a `Divide` is defined by, under any stalls; by proof for few bits."""

import numpy as np
import pytest
from addax.hdl.engine.vector.quotients import QuotientBank, RowQuotients, quotient_cycles, quotient_pace
from addax.quant.formats import Format, signed, unsigned
from amaranth.hdl import Assert, Assume, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator
from engine_blocks import fields, packed
from hypothesis import given, settings
from hypothesis import strategies as st
from prove import early_violation

ROWS = 3


def divided(dut, sets, low, high, gaps):
    """What ``dut`` makes of ``sets`` of pairs, and cycles from the first taken to the last result; ``gaps`` are cycles
    without offer or readiness."""
    found, num, den = [], dut.numerator, dut.denominator

    async def put(ctx):
        ctx.set(dut.low, dut.result.encode(low))
        ctx.set(dut.high, dut.result.encode(high))
        for k, pairs in enumerate(sets):
            await ctx.tick().repeat(gaps[k % len(gaps)]) if gaps[k % len(gaps)] else None
            ctx.set(dut.i.payload.numerators, packed([a for a, _ in pairs], num.bits))
            ctx.set(dut.i.payload.denominators, packed([b for _, b in pairs], den.bits))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def get(ctx):
        for k in range(len(sets)):
            wait = gaps[-1 - k % len(gaps)]
            await ctx.tick().repeat(2 * wait) if wait else None
            ctx.set(dut.o.ready, 1)
            (word,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            found.append(fields(word, dut.result.bits, ROWS, sign=dut.result.signed))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(put)
    sim.add_testbench(get)
    sim.run()
    return found


@st.composite
def cases(draw):
    """Formats, bounds and sets of pairs, ends of both formats among them."""
    bits, below = draw(st.integers(4, 28)), draw(st.integers(1, 19))
    num, den = Format(bits=bits, signed=draw(st.booleans())), unsigned(below)
    result = Format(bits=draw(st.integers(1, 12)), signed=draw(st.booleans()))
    low, high = sorted(draw(st.tuples(*[st.integers(result.lo, result.hi)] * 2)))
    element = st.tuples(
        st.one_of(st.sampled_from((num.lo, num.hi, 0)), st.integers(num.lo, num.hi)),
        st.one_of(st.sampled_from((0, 1, den.hi)), st.integers(0, den.hi)),
    )
    sets = draw(st.lists(st.lists(element, min_size=ROWS, max_size=ROWS), min_size=1, max_size=5))
    return num, den, result, low, high, sets, draw(st.lists(st.integers(0, 9), min_size=1, max_size=5))


@given(case=cases())
@settings(max_examples=12, deadline=None)
def test_quotients_are_clamped_floors(case):
    """Any formats, with and without signs, denominators of 0, quotients that leave the result far on either side."""
    num, den, result, low, high, sets, gaps = case
    found = divided(RowQuotients(ROWS, num, den, result), sets, low, high, gaps)
    assert found == [[min(max(a // max(b, 1), low), high) for a, b in pairs] for pairs in sets]


@given(dividers=st.integers(1, 13), gaps=st.lists(st.integers(0, 3), min_size=1, max_size=4))
@settings(max_examples=12, deadline=None)
def test_a_bank_takes_sets_at_its_pace_and_keeps_their_order(dividers, gaps):
    """As close as they may come, and further apart; every quotient in the cycle that is said."""
    result, rng = signed(8), np.random.default_rng(dividers)
    sets = [[(int(rng.integers(-900, 900)), int(rng.integers(0, 64))) for _ in range(ROWS)] for _ in range(30)]
    dut, at, done = QuotientBank(dividers, ROWS, signed(12), unsigned(6), result), [], []

    async def put(ctx):
        ctx.set(dut.low, result.encode(-100))
        ctx.set(dut.high, result.encode(90))
        cycle = 0
        for k in range(len(sets) * 16 + 20):
            if len(at) < len(sets) and k >= cycle:
                pairs, cycle = sets[len(at)], k + quotient_pace(result, dividers) + gaps[len(at) % len(gaps)]
                ctx.set(dut.numerators, packed([a for a, _ in pairs], 12))
                ctx.set(dut.denominators, packed([b for _, b in pairs], 6))
                ctx.set(dut.valid, 1)
                at.append(k)
            else:
                ctx.set(dut.valid, 0)
            if ctx.get(dut.done):
                done.append((k, fields(ctx.get(dut.quotients), 8, ROWS, sign=True)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(put)
    sim.run()
    assert [k for k, _ in done] == [k + quotient_cycles(result) for k in at]
    assert [found for _, found in done] == [[min(max(a // max(b, 1), -100), 90) for a, b in own] for own in sets]


def test_a_signed_denominator_is_refused():
    with pytest.raises(ValueError, match="denominators must have no sign, not"):
        RowQuotients(1, signed(8), signed(8), signed(8))


class QuotientContract(wiring.Component):
    """What is handed on is the floor of the pair that was taken, it waits, and comes in the cycle that is said."""

    def __init__(self, dut=RowQuotients):
        self.dut = dut(1, signed(5), unsigned(2), signed(3))
        super().__init__({"above": In(5), "below": In(2), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        above, below, age = Signal(5), Signal(2), Signal(4)
        result, whole = Signal(7), Signal(7)
        m.d.comb += [
            Assume(~ResetSignal()), dut.i.payload.numerators.eq(self.above), dut.i.payload.denominators.eq(self.below),
            dut.i.valid.eq(self.valid), dut.o.ready.eq(self.ready), dut.low.eq(0b100), dut.high.eq(0b011),
            # A quotient of 5 bits by 2 leaves 3 bits, so it may be clamped on either side.
            result.eq(dut.o.payload.as_signed()), whole.eq(result.as_signed() * Mux(below == 0, 1, below)),
        ]  # fmt: skip
        took = dut.i.valid & dut.i.ready
        with m.If(took):
            m.d.sync += [above.eq(self.above), below.eq(self.below), age.eq(1)]
        with m.Elif(age != 0):
            m.d.sync += age.eq(Mux(dut.o.valid & self.ready, 0, Mux(age == 15, 15, age + 1)))
        divisor, value = Mux(below == 0, 1, below), above.as_signed()
        over, under = value >= divisor << 2, value < -(divisor << 2).as_signed()
        m.d.comb += Assert(dut.o.valid == (age > dut.result.bits + 2))
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(~over | (dut.o.payload == 0b011)), Assert(~under | (dut.o.payload == 0b100)),
                Assert(over | under | ((whole.as_signed() <= value) & (value < whole.as_signed() + divisor))),
            ]  # fmt: skip
        return m


class Truncated(RowQuotients):
    """Its quotients go towards 0."""

    def _clamped(self, m, row, value):
        return super()._clamped(m, row, (value.as_signed() + value[-1])[: len(value)])


@pytest.mark.slow
def test_every_quotient_of_few_bits_is_the_floor(tmp_path):
    """All pairs of 5 and 2 bits, at any time, whenever results are taken: no trace of 13 cycles has another one."""
    found = early_violation(QuotientContract(), tmp_path, cycles=13)
    assert found is None, found


@pytest.mark.slow
def test_a_quotient_towards_zero_is_found(tmp_path):
    """Protects the proof."""
    assert early_violation(QuotientContract(Truncated), tmp_path, cycles=13) is not None
