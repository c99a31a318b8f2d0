# amaranth: UnusedElaboratable=no
"""The arrays: exact sums at the promised latency for every kernel, width and fold, and accumulators of the right width.

The expected sums are plain Python integers; nothing of the golden model or of the hardware is used to make them.
"""

import random

import pytest
from addax.hdl.lanes.array import FoldedArray
from addax.hdl.lanes.pool import PoolArray
from addax.hdl.lanes.shape import ArrayShape, sum_format
from addax.quant.formats import Format, format_for, signed, unsigned
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st
from operands import packed, unpacked

FORMATS = st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())
STYLES = st.sampled_from(["lo", "hi", "ends", "any"])


def invent(rng, fmt, count, style):
    """Integers of a format: all at one end, at both ends, or anywhere."""
    match style:
        case "lo" | "hi":
            return [getattr(fmt, style)] * count
        case "ends":
            return [rng.choice([fmt.lo, fmt.hi]) for _ in range(count)]
    return [rng.randint(fmt.lo, fmt.hi) for _ in range(count)]


def held_term(kernel, x, w):
    """What one lane adds in hardware: the adder kernel keeps its sum positive."""
    return abs(x - w) if kernel == "adder" else x * w


def held_range(kernel, x, w, terms):
    """Smallest and largest sum of so many terms that operands of these formats can make, by trying the corners."""
    corners = [held_term(kernel, a, b) for a in (x.lo, x.hi) for b in (w.lo, w.hi)]
    if kernel == "adder":
        corners.append(0)
    return min(corners) * terms, max(corners) * terms


def program_range(kernel, x, w, terms):
    """The same as the Program has it: minus the distance."""
    lo, hi = held_range(kernel, x, w, terms)
    return (-hi, -lo) if kernel == "adder" else (lo, hi)


def run_array(dut, groups, gap, rng):
    """Feed groups of (x word, w word) steps with random gaps; return when each group began and ended, and what
    ``done`` and ``sums`` were in every cycle."""
    begins, ends, done, sums = [], [], [], []

    async def drive(ctx):
        async def cycle(valid, x, w, first, last):
            ctx.set(dut.valid, valid)
            ctx.set(dut.first, first)
            ctx.set(dut.last, last)
            ctx.set(dut.x, x)
            if hasattr(dut, "w"):
                ctx.set(dut.w, w)
            _, _, is_done, word = await ctx.tick().sample(dut.done, dut.sums)
            done.append(is_done)
            sums.append(word)

        async def idle():
            """An idle cycle with rubbish on every other input."""
            rubbish = rng.getrandbits(2000)
            await cycle(0, rubbish & mask_x, rubbish & mask_w, rng.getrandbits(1), rng.getrandbits(1))

        mask_x = (1 << len(dut.x)) - 1
        mask_w = (1 << len(dut.w)) - 1 if hasattr(dut, "w") else 0
        await idle()
        for steps in groups:
            for k, (x, w) in enumerate(steps):
                while rng.random() < gap:
                    await idle()
                if k == 0:
                    begins.append(len(done))
                if k == len(steps) - 1:
                    ends.append(len(done))
                await cycle(1, x, w, k == 0, k == len(steps) - 1)
        for _ in range(dut.latency + 3):
            await idle()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return begins, ends, done, sums


def check_array(dut, fmt, count, groups, expected, gap, rng):
    """``done`` comes once per group, on time, and the sums stay until the next group's first step arrives there."""
    begins, ends, done, sums = run_array(dut, groups, gap, rng)

    assert [cycle for cycle, up in enumerate(done) if up] == [end + dut.latency for end in ends]
    stay = [begin + dut.latency for begin in begins[1:]] + [len(done)]
    for want, end, until in zip(expected, ends, stay, strict=True):
        for cycle in range(end + dut.latency, until):
            assert unpacked(sums[cycle], fmt, count) == want


def shape_of(kernel, x, w, pe, lanes):
    """The array that a dataflow stage takes unless told otherwise."""
    structure = {"adder": "carry", "mult": "star"}[kernel]
    return ArrayShape(kernel=kernel, structure=structure, pin=lanes, pout=pe, x=x, w=w)


def check_folded(kernel, x, w, pe, lanes, steps, count, gap, styles, seed):
    rng = random.Random(seed)
    groups, expected = [], []
    for _ in range(count):
        total, words = [0] * pe, []
        for _ in range(steps):
            xs = invent(rng, x, lanes, styles[0])
            ws = [invent(rng, w, lanes, styles[1]) for _ in range(pe)]
            words.append((packed(xs, x), packed([value for row in ws for value in row], w)))
            for row in range(pe):
                total[row] += sum(held_term(kernel, a, b) for a, b in zip(xs, ws[row], strict=True))
        groups.append(words)
        expected.append(total)
    fmt = sum_format(kernel, *program_range(kernel, x, w, lanes * steps))
    dut = FoldedArray(shape_of(kernel, x, w, pe, lanes), total=fmt)
    check_array(dut, fmt, pe, groups, expected, gap, rng)


FOLDS = {
    "pe": st.integers(1, 7), "lanes": st.integers(1, 7), "steps": st.integers(1, 4), "count": st.integers(1, 4),
    "gap": st.sampled_from([0.0, 0.0, 0.5]), "styles": st.tuples(STYLES, STYLES), "seed": st.integers(0, 999),
}  # fmt: skip


@given(x=FORMATS, **FOLDS)
def test_adder_lanes_sum_distances(x, pe, lanes, steps, count, gap, styles, seed):
    """Both operands are on one grid; the sum is kept positive."""
    check_folded("adder", x, x, pe, lanes, steps, count, gap, styles, seed)


@given(x=FORMATS, bits=st.integers(2, 16), **FOLDS)
@pytest.mark.slow
@pytest.mark.guard
def test_mult_lanes_sum_products(x, bits, pe, lanes, steps, count, gap, styles, seed):
    check_folded("mult", x, signed(bits), pe, lanes, steps, count, gap, styles, seed)


@given(x=FORMATS, bits=st.integers(2, 16), **FOLDS)
@pytest.mark.slow
@pytest.mark.guard
def test_mult_lanes_take_unsigned_weights(x, bits, pe, lanes, steps, count, gap, styles, seed):
    """A Program may give `mult` weights of either signedness."""
    check_folded("mult", x, unsigned(bits), pe, lanes, steps, count, gap, styles, seed)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("kernel, is_signed", [("adder", True), ("adder", False), ("mult", True), ("mult", False)])
def test_the_largest_and_smallest_sums_of_every_width_are_exact(kernel, is_signed, bits):
    """Five lanes leave a lone term on each level of the tree; all operands at their ends fill every register."""
    x = Format(bits=bits, signed=is_signed)
    w = x if kernel == "adder" else signed(bits)
    ends = [(a, b) for a in (x.lo, x.hi) for b in (w.lo, w.hi)]
    groups = [[(packed([a] * 5, x), packed([b] * 5, w))] * 3 for a, b in ends]
    expected = [[15 * held_term(kernel, a, b)] for a, b in ends]
    fmt = sum_format(kernel, *program_range(kernel, x, w, 15))

    dut = FoldedArray(shape_of(kernel, x, w, 1, 5), total=fmt)

    check_array(dut, fmt, 1, groups, expected, 0.0, random.Random(bits))


@pytest.mark.parametrize("lanes, registers", [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (16, 2), (17, 3), (64, 3)])
def test_a_register_stands_behind_every_two_levels_of_the_tree(lanes, registers):
    """Protects the clock rate: two ripple adders between registers, no more."""
    for kernel in ("adder", "mult"):
        assert shape_of(kernel, signed(8), signed(8), 2, lanes).latency == 3 + registers


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8, 9, 17, 33])
@pytest.mark.parametrize("kernel", ["adder", "mult"])
def test_wide_arrays_keep_their_latency(kernel, lanes):
    check_folded(kernel, signed(4), signed(4), 1, lanes, 2, 4, 0.0, ("any", "any"), lanes)


@given(
    kernel=st.sampled_from(["adder", "mult"]), x=FORMATS, other=FORMATS, terms=st.integers(1, 5000),
)  # fmt: skip
def test_sums_have_the_narrowest_format_that_holds_them(kernel, x, other, terms):
    w = x if kernel == "adder" else other
    lo, hi = held_range(kernel, x, w, terms)

    fmt = sum_format(kernel, *program_range(kernel, x, w, terms))

    assert fmt.lo <= lo and hi <= fmt.hi
    narrower = Format(bits=fmt.bits - 1, signed=fmt.signed)
    assert narrower.lo > lo or narrower.hi < hi
    if lo >= 0:
        assert not fmt.signed, "a sum that is never negative needs no sign"


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("is_signed", [True, False])
def test_sums_of_distances_are_unsigned(bits, is_signed):
    x = Format(bits=bits, signed=is_signed)

    assert sum_format("adder", *program_range("adder", x, x, 1)) == unsigned(bits)
    assert sum_format("adder", *program_range("adder", x, x, 256)) == unsigned(bits + 8)


def check_reduce(function, x, lanes, steps, count, gap, style, seed):
    rng = random.Random(seed)
    groups, expected = [], []
    for _ in range(count):
        rows = [invent(rng, x, lanes, style) for _ in range(steps)]
        groups.append([(packed(row, x), 0) for row in rows])
        expected.append([(max if function == "max" else sum)(lane) for lane in zip(*rows, strict=True)])
    fmt = x if function == "max" else format_for(x.lo * steps, x.hi * steps)
    dut = PoolArray(function=function, lanes=lanes, x=x, total=fmt)
    check_array(dut, fmt, lanes, groups, expected, gap, rng)


@pytest.mark.parametrize("function", ["max", "sum"])
@given(
    x=FORMATS, lanes=st.integers(1, 7), steps=st.integers(1, 9), count=st.integers(1, 4),
    gap=st.sampled_from([0.0, 0.0, 0.5]), style=STYLES, seed=st.integers(0, 999),
)  # fmt: skip
def test_pools_reduce_each_lane_by_itself(function, x, lanes, steps, count, gap, style, seed):
    check_reduce(function, x, lanes, steps, count, gap, style, seed)


def test_a_pool_of_an_unknown_function_is_refused():
    with pytest.raises(ValueError, match="function of a pool must be max or sum, not 'min'"):
        PoolArray(function="min", lanes=1, x=signed(8), total=signed(8))
