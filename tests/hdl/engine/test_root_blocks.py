# amaranth: UnusedElaboratable=no
"""Roots and reciprocals digit by digit: the exact floors, whenever their steps come; by proof for few bits."""

from math import isqrt

import pytest
from addax.hdl.engine.vector.roots import Reciprocals, Roots
from amaranth.hdl import Assert, Assume, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from engine_blocks import cycles_of, fields, packed
from hypothesis import given, settings
from hypothesis import strategies as st
from prove import early_violation

STALLS = st.lists(st.integers(0, 2), min_size=1, max_size=7)
"""Cycles without a step in front of a step, again and again."""


def spaced(script, stalls, idle):
    """``script`` with ``idle`` cycles in front of its entries, as many as ``stalls`` say."""
    return [each for k, entry in enumerate(script) for each in [*[idle] * stalls[k % len(stalls)], entry]]


@given(values=st.lists(st.integers(0, 2**62 - 1), min_size=2, max_size=2), stalls=STALLS)
@settings(max_examples=12, deadline=None)
def test_roots_are_exact_floors(values, stalls):
    """Any 62 bits, any gaps between loads and steps: `math.isqrt`."""
    values = [*values, isqrt(values[0]) ** 2, max(isqrt(values[1]) ** 2 - 1, 0)]
    dut, idle = Roots(4, 31), {"load": 0, "step": 0}
    script = [{"load": 1 << k, "value": value, "step": 0} for k, value in enumerate(values)]
    script += [{"load": 0, "step": 1}] * 31
    script = spaced([*script, idle], stalls, idle)
    (found,) = cycles_of(dut, lambda cycle: script[cycle], len(script), "roots")[-1]
    assert fields(found, 31, 4, sign=False) == [isqrt(value) for value in values]


@given(divisors=st.lists(st.integers(0, 2**31 - 1), min_size=3, max_size=3), power=st.integers(0, 48),
       up=st.integers(0, 20), stalls=STALLS)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_reciprocals_are_exact_floors_moved_up(divisors, power, up, stalls):
    """Any divisor, 0 counting as 1, any power: Python's ``//``, modulo what the width holds."""
    dut, idle = Reciprocals(3, 31, 44), {"begin": 0, "step": 0}
    script = [{"begin": 1, "step": 0, "divisors": packed(divisors, 31)}]
    script += [{"begin": 0, "step": 1, "digit": 1}] * (power + 1) + [{"begin": 0, "step": 1, "digit": 0}] * up
    script = spaced([*script, idle], stalls, idle)
    (found,) = cycles_of(dut, lambda cycle: script[cycle], len(script), "quotients")[-1]
    assert fields(found, 44, 3, sign=False) == [(2**power // max(d, 1) << up) % 2**44 for d in divisors]


class RootContract(wiring.Component):
    """``bits`` steps behind its load, which may pause, a root is the one whose square is not more, and the next is."""

    def __init__(self, bits, dut=Roots):
        self.bits, self.dut = bits, dut
        super().__init__({"value": In(2 * bits), "load": In(1), "step": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut(1, self.bits)
        steps, value = Signal(range(self.bits + 2)), Signal(2 * self.bits)
        root = dut.roots
        m.d.comb += [
            Assume(~ResetSignal()), dut.value.eq(self.value), dut.load.eq(self.load), dut.step.eq(self.step)
        ]  # fmt: skip
        with m.If(self.load):
            m.d.sync += [steps.eq(1), value.eq(self.value)]
        with m.Elif(self.step & (steps != 0)):
            m.d.sync += steps.eq(Mux(steps > self.bits, 0, steps + 1))
        with m.If(steps == self.bits + 1):
            m.d.comb += [Assert(root * root <= value), Assert(value < (root + 1) * (root + 1))]
        return m


class ReciprocalContract(wiring.Component):
    """k + 1 steps behind its begin a quotient is the one whose product is not above the power, and the next is."""

    def __init__(self, bits, power, dut=Reciprocals):
        self.bits, self.power, self.dut = bits, power, dut
        super().__init__({"divisor": In(bits), "begin": In(1), "step": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut(1, self.bits, self.power + 1)
        steps, divisor = Signal(range(self.power + 3)), Signal(self.bits)
        quotient = dut.quotients
        m.d.comb += [
            Assume(~ResetSignal()), dut.divisors.eq(self.divisor), dut.begin.eq(self.begin), dut.step.eq(self.step),
            dut.digit.eq(1),
        ]  # fmt: skip
        with m.If(self.begin):
            m.d.sync += [steps.eq(1), divisor.eq(Mux(self.divisor == 0, 1, self.divisor))]
        with m.Elif(self.step & (steps != 0)):
            m.d.sync += steps.eq(Mux(steps > self.power + 1, 0, steps + 1))
        with m.If(steps == self.power + 2):
            whole = 1 << self.power
            m.d.comb += [Assert(quotient * divisor <= whole), Assert(whole < (quotient + 1) * divisor)]
        return m


@pytest.mark.slow
def test_every_root_of_few_bits_is_the_floor(tmp_path):
    """All values of 6 bits, with loads in the middle of a root and steps that pause: no trace of 11 cycles has one
    that is too small or too large."""
    found = early_violation(RootContract(3), tmp_path, cycles=11)
    assert found is None, found


@pytest.mark.slow
def test_every_reciprocal_of_few_bits_is_the_floor(tmp_path):
    """All divisors of 3 bits under 2^5, whatever is begun anew on the way."""
    found = early_violation(ReciprocalContract(3, 5), tmp_path, cycles=13)
    assert found is None, found


class Odd(Roots):
    """It takes every value as odd."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Roots(self.count, self.bits)
        m.d.comb += [inner.value.eq(self.value | 1), inner.load.eq(self.load), inner.step.eq(self.step),
                     self.roots.eq(inner.roots)]  # fmt: skip
        return m


class Halved(Reciprocals):
    """It takes a divisor of 0 as 2."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Reciprocals(self.count, self.bits, self.width)
        m.d.comb += [
            inner.divisors.eq(Mux(self.divisors == 0, Const(2, self.bits), self.divisors)), inner.begin.eq(self.begin),
            inner.step.eq(self.step), inner.digit.eq(self.digit), self.quotients.eq(inner.quotients),
        ]  # fmt: skip
        return m


@pytest.mark.slow
@pytest.mark.parametrize("contract", [RootContract(3, Odd), ReciprocalContract(3, 5, Halved)], ids=["root", "zero"])
def test_a_digit_that_is_wrong_is_found(tmp_path, contract):
    """Protects the proofs: a root of another value, a divisor of 0 that counts as 2."""
    assert early_violation(contract, tmp_path, cycles=13) is not None
