"""The arithmetic of a requantise by itself: numbers that signals bring, and no memory."""

from itertools import product

import numpy as np
import pytest
from addax.hdl.activation.arithmetic import Arithmetic, Scale
from addax.quant.formats import signed, unsigned
from amaranth.hdl import Module, Signal
from amaranth.hdl import signed as signed_shape
from amaranth.sim import Simulator

COUNT = 60
SCALES = (Scale(), Scale(how="lut", bits=12), Scale(how="pow2", terms=2, bits=10))
CASES = list(product(SCALES, (None, signed(9)), (False, True), (unsigned(6), signed(8))))


def powers(rng, bits, terms):
    """Sums of ``terms`` signed powers of two that fit in ``bits``."""
    digits = rng.choice([-1, 0, 1], (COUNT, terms)) * 2 ** rng.integers(0, bits - 3, (COUNT, terms))
    return digits.sum(1)


@pytest.mark.parametrize(("scale", "residual", "moving", "result"), CASES)
def test_every_cycle_has_a_sum_of_its_own(scale, residual, moving, result):
    """Protects that numbers meet the sum they came with, whatever the multiplier takes, with no cycle between sums."""
    rng = np.random.default_rng([len(scale.how), moving, result.bits])
    offset = signed(40)
    terms = scale.terms or 2
    acc, b = rng.integers(-(2**13), 2**13, COUNT), rng.integers(-(2**20), 2**20, COUNT)
    m, factor = powers(rng, scale.bits, terms), powers(rng, 16, terms)
    r, s = rng.integers(-256, 256, COUNT), rng.integers(0, 20, COUNT)
    if not moving:
        factor[:], s[:] = factor[0], s[0]
    lo, hi = result.lo + 1, result.hi - 1
    total = acc * m + b + (r * factor if residual else 0)
    wants = [min(max(int(t) >> int(places), lo), hi) for t, places in zip(total, s, strict=True)]

    assert run(scale, residual, moving, result, offset, (acc, m, b, s, r, factor), (lo, hi)) == wants


def run(scale, residual, moving, result, offset, columns, ends):
    """Results of sums and their numbers, one in each cycle."""
    made = Arithmetic(offset=offset, result=result, scale=scale, residual=residual, moving=moving)
    widths = (scale.multiplier.width, offset.bits, 5, 9, scale.residual.width)
    acc, (factor, b, s, r, own) = Signal(signed_shape(14)), (Signal(n) for n in widths)
    lo, hi = (Signal(signed_shape(result.bits) if result.signed else result.bits) for _ in range(2))
    m = Module()
    y = made.built(
        m, "", acc=acc, factor=factor, offset=b, shift=s, lo=lo, hi=hi, residual=None if residual is None else r,
        residual_factor=own,
    )  # fmt: skip
    found = []

    async def drive(ctx):
        ctx.set(lo, ends[0])
        ctx.set(hi, ends[1])
        for k in range(COUNT + made.latency):
            sum_, multiplier, offset_, shift, other, factor_ = (int(values[min(k, COUNT - 1)]) for values in columns)
            for signal, value in (
                (acc, sum_), (factor, scale.multiplier.encode(multiplier)), (b, offset.encode(offset_)), (s, shift),
                (r, other & 511), (own, scale.residual.encode(factor_)),
            ):  # fmt: skip
                ctx.set(signal, value)
            await ctx.tick()
            found.append(result.decode(ctx.get(y)))

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return found[made.latency - 1 : made.latency - 1 + COUNT]
