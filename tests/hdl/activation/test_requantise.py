# amaranth: UnusedElaboratable=no
"""Requantisers against Python's own integers, whose ``>>`` floors, and the layout of their memories."""

import random

import pytest
from addax.hdl.activation.arithmetic import Scale
from addax.hdl.activation.requantise import Constants, FactorLayout, Requantiser
from addax.hdl.activation.scale import Factor
from addax.hdl.memory.image import Image
from addax.quant.formats import Format, signed, unsigned
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

BOUND = 32767
"""Largest M; -M must fit as well."""
TOTALS = st.builds(Format, bits=st.integers(2, 40), signed=st.booleans())
RESULTS = st.builds(Format, bits=st.integers(1, 32), signed=st.booleans()).filter(lambda f: f.bits > f.signed)

SCALES = [Scale(), Scale(how="halves"), Scale(how="lut"), *(Scale(how="pow2", terms=terms) for terms in (1, 2, 3, 5))]
"""A product in one rank, halves and rows in two; shifted operands in one, and in one more where four do not suffice."""


def invent(rng, lo, hi, count, style):
    match style:
        case "lo":
            return [lo] * count
        case "hi":
            return [hi] * count
        case "ends":
            return [rng.choice([lo, hi]) for _ in range(count)]
    return [rng.randint(lo, hi) for _ in range(count)]


def packed(values, bits):
    return sum((value & ((1 << bits) - 1)) << (k * bits) for k, value in enumerate(values))


def unpacked(word, fmt, count):
    values = [(word >> (k * fmt.bits)) & ((1 << fmt.bits) - 1) for k in range(count)]
    return [v - (1 << fmt.bits) if fmt.signed and v >> (fmt.bits - 1) else v for v in values]


def few_powers(rng, terms, bits=16):
    """A sum of at most so many signed powers of two that a factor of so many bits can be."""
    bound = (1 << (bits - 1)) - 1
    while abs(value := sum(rng.choice([1, -1]) << rng.randrange(bits) for _ in range(rng.randint(0, terms)))) > bound:
        pass
    return value


def requantiser(total, result, *, pe, units, multipliers, offsets, shift, lo, hi, fixed=False, scale=SCALES[0]):
    """A Requantiser whose memories hold a factor per channel, and the same offset format as a Program would give."""
    offset = signed(min(total.bits + 16, 63))
    layout = FactorLayout(offset=offset, units=units, scale=scale)
    words = [layout.pack(multipliers[k : k + units], offsets[k : k + units]) for k in range(0, len(multipliers), units)]
    constants = Constants(result=result)
    return Requantiser(
        pe=pe, units=units, total=total, offset=offset, result=result,
        factors=Image(name="f", width=layout.width, words=tuple(words)),
        constants=Image(name="c", width=constants.width, words=(constants.pack(0 if fixed else shift, lo, hi),)),
        shift=shift if fixed else None, prefix=None, scale=scale,
    )  # fmt: skip


def run_requantiser(dut, groups, gaps, rng):
    """Give each group with ``done`` after so many cycles; return the cycles of done, and (cycle, y) of valid beats."""
    given, beats, cycle = [], [], 0

    async def drive(ctx):
        async def step(done, sums):
            nonlocal cycle
            ctx.set(dut.done, done)
            ctx.set(dut.sums, sums)
            _, _, valid, y = await ctx.tick().sample(dut.valid, dut.y)
            if valid:
                beats.append((cycle, y))
            cycle += 1

        for sums, gap in zip(groups, gaps, strict=True):
            for _ in range(gap):
                await step(0, rng.getrandbits(len(dut.sums)))
            given.append(cycle)
            await step(1, sums)
        for _ in range(dut.pe // dut.units + dut.scale.latency(residual=False) + 4):
            await step(0, rng.getrandbits(len(dut.sums)))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return given, beats


def check(total, result, *, pe, units, rounds, shift, lo, hi, fixed, styles, slack, seed, scale):
    """``rounds`` times all channels, in groups of ``pe`` that come ``pe / units`` cycles apart or a little more."""
    rng = random.Random(seed)
    channels = pe * rng.randint(1, 3)
    offset = signed(min(total.bits + 16, 63))
    multipliers = invent(rng, -BOUND, BOUND, channels, styles[0])
    if scale.terms:
        multipliers = [few_powers(rng, scale.terms) for _ in range(channels)]
    offsets = invent(rng, offset.lo, offset.hi, channels, styles[1])
    dut = requantiser(
        total, result, pe=pe, units=units, multipliers=multipliers, offsets=offsets, shift=shift, lo=lo, hi=hi,
        fixed=fixed, scale=scale,
    )  # fmt: skip
    latency = scale.latency(residual=False)
    groups, expected, gaps = [], [], []
    for _ in range(rounds):
        for first in range(0, channels, pe):
            accs = invent(rng, total.lo, total.hi, pe, styles[2])
            groups.append(packed(accs, total.bits))
            gaps.append(pe // units - 1 + rng.randint(0, slack))
            for k, acc in enumerate(accs):
                y = (acc * multipliers[first + k] + offsets[first + k]) >> shift
                expected.append(min(max(y, lo), hi))
    gaps[0] = 2  # the first two cycles after reset are not for taking

    done, beats = run_requantiser(dut, groups, gaps, rng)

    assert [value for _, y in beats for value in unpacked(y, result, units)] == expected
    assert [cycle for cycle, _ in beats] == [d + latency + k for d in done for k in range(pe // units)]


@st.composite
def cases(draw):
    units, ratio = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    result = draw(RESULTS)
    ends = draw(st.tuples(*[st.sampled_from([result.lo, result.hi]) | st.integers(result.lo, result.hi)] * 2))
    return {
        "total": draw(TOTALS), "result": result, "pe": units * ratio, "units": units, "rounds": draw(st.integers(1, 3)),
        "shift": draw(st.sampled_from([0, 31]) | st.integers(0, 31)), "lo": min(ends), "hi": max(ends),
        "styles": draw(st.tuples(*[st.sampled_from(["lo", "hi", "ends", "any"])] * 3)),
        "slack": draw(st.sampled_from([0, 0, 3])), "seed": draw(st.integers(0, 999)),
        "scale": draw(st.sampled_from(SCALES)),
    }  # fmt: skip


@given(case=cases())
def test_any_requantiser_equals_python(case):
    """Protects rounding, widths and clamps, and groups that follow each other without a cycle between."""
    check(**case, fixed=False)


@given(case=cases())
def test_a_shift_that_is_built_in_equals_one_that_is_loaded(case):
    check(**case, fixed=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400))
def test_many_more_requantisers(seed):
    rng = random.Random(seed)
    result = Format(bits=rng.randint(2, 40), signed=rng.random() < 0.5)
    ends = sorted(rng.choice([result.lo, result.hi, rng.randint(result.lo, result.hi)]) for _ in range(2))
    units = rng.randint(1, 6)
    check(
        Format(bits=rng.randint(2, 46), signed=rng.random() < 0.5), result, pe=units * rng.randint(1, 6), units=units,
        rounds=rng.randint(1, 5), shift=rng.randint(0, 31), lo=ends[0], hi=ends[1], fixed=rng.random() < 0.5,
        styles=[rng.choice(["lo", "hi", "ends", "any"]) for _ in range(3)], slack=rng.choice([0, 0, 4]), seed=seed,
        scale=rng.choice(SCALES),
    )  # fmt: skip


def test_the_shift_floors():
    """-1 >> 1 is -1 and not 0: rounding is in B, and B alone."""
    dut = requantiser(
        signed(8), signed(8), pe=4, units=4, multipliers=[1, 1, -1, -1], offsets=[0] * 4, shift=1, lo=-128, hi=127
    )

    _, beats = run_requantiser(dut, [packed([-1, 3, 3, -3], 8)], [2], random.Random(0))

    assert unpacked(beats[0][1], signed(8), 4) == [-1, 1, -2, 1]


@pytest.mark.parametrize("result, want", [(unsigned(4), [0, 0, 9, 15]), (signed(4), [-8, -1, 7, 7])])
def test_results_clamp_to_their_ends(result, want):
    dut = requantiser(
        signed(8), result, pe=4, units=2, multipliers=[1] * 4, offsets=[0] * 4, shift=0, lo=result.lo, hi=result.hi
    )

    _, beats = run_requantiser(dut, [packed([-100, -1, 9, 100], 8)], [2], random.Random(0))

    assert [value for _, y in beats for value in unpacked(y, result, 2)] == want


@pytest.mark.parametrize("units", [0, -1, 2, 4, 6])
def test_units_that_do_not_divide_the_rows_are_refused(units):
    empty = Image(name="empty", width=1, words=(0,))
    with pytest.raises(ValueError, match=f"units must divide 3 rows, not be {units}"):
        Requantiser(
            pe=3, units=units, total=unsigned(8), offset=signed(24), result=unsigned(8), factors=empty,
            constants=empty, shift=None, prefix=None,
        )  # fmt: skip


@given(data=st.data(), bits=st.integers(2, 63), units=st.integers(1, 6))
def test_factors_can_be_read_back_from_their_word(data, bits, units):
    """For each unit B above M, the first unit lowest; the word is as wide as it says."""
    offset = signed(bits)
    multipliers = data.draw(st.lists(st.integers(-BOUND, BOUND), min_size=units, max_size=units))
    offsets = data.draw(st.lists(st.integers(offset.lo, offset.hi), min_size=units, max_size=units))
    layout = FactorLayout(offset=offset, units=units)

    word = layout.pack(multipliers, offsets)

    assert 0 <= word < 1 << layout.width
    pairs = [(word >> (k * (16 + bits))) & ((1 << (16 + bits)) - 1) for k in range(units)]
    assert [unpacked(pair, signed(16), 1)[0] for pair in pairs] == multipliers
    assert [unpacked(pair >> 16, offset, 1)[0] for pair in pairs] == offsets


@given(data=st.data(), result=RESULTS, shift=st.integers(0, 31))
def test_constants_can_be_read_back_from_their_word(data, result, shift):
    """S lowest, then lo, then hi."""
    lo, hi = (data.draw(st.integers(result.lo, result.hi)) for _ in range(2))
    layout = Constants(result=result)

    word = layout.pack(shift, lo, hi)

    assert 0 <= word < 1 << layout.width
    assert (word & 31, *unpacked(word >> 5, result, 2)) == (shift, lo, hi)


@pytest.mark.parametrize("value", [128, -129, 10_000])
def test_an_offset_outside_its_format_is_refused(value):
    with pytest.raises(ValueError, match=f"value must be in -128..127 for int8, not {value}"):
        FactorLayout(offset=signed(8), units=2).pack([1, 1], [0, value])


@pytest.mark.parametrize("lo, hi", [(-1, 3), (16, 3), (0, 16), (0, -1)])
def test_a_clamp_outside_the_result_is_refused(lo, hi):
    with pytest.raises(ValueError, match=r"value must be in 0\.\.15 for uint4"):
        Constants(result=unsigned(4)).pack(0, lo, hi)


@pytest.mark.parametrize("value", [1 << 15, -(1 << 15) - 1, 1 << 16])
def test_a_multiplier_outside_its_bits_is_refused(value):
    """It would wrap into another sign, or into nothing."""
    with pytest.raises(ValueError, match=str(value)):
        FactorLayout(offset=signed(24), units=2).pack([1, value], [0, 0])


@pytest.mark.parametrize("shift", [32, -1, 40])
def test_a_shift_outside_its_bits_is_refused(shift):
    """It would change lo."""
    with pytest.raises(ValueError, match=str(shift)):
        Constants(result=unsigned(8)).pack(shift, 0, 255)


def test_unequal_numbers_of_factors_are_refused():
    with pytest.raises(ValueError, match="is shorter than"):
        FactorLayout(offset=signed(24), units=2).pack([1, 2], [0])


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("terms", [1, 2, 4])
def test_factors_of_few_powers_of_two_can_be_read_back(bits, terms):
    """Zero and the ends among them: these have fewer digits than the word has room for."""
    factor, rng = Factor(scale="pow2", bits=bits, terms=terms), random.Random(terms)
    values = [0, 1, -1, 1 << (bits - 2), *(few_powers(rng, terms, bits) for _ in range(200))]

    words = [factor.encode(value) for value in values]

    assert max(words) < 1 << factor.width
    assert [factor.decode(word) for word in words] == values


def test_a_factor_of_more_powers_of_two_is_refused():
    """It would lose its lowest digits."""
    with pytest.raises(ValueError, match="factor 5 is no sum of 1 signed powers of two"):
        Factor(scale="pow2", bits=16, terms=1).encode(5)


@pytest.mark.parametrize("scale, terms, want", [
    ("other", 0, "scale must be one of dsp, halves, lut, pow2, not 'other'"),
    ("pow2", 0, "scale pow2 is for factors that are sums of a given number of powers of two"),
])  # fmt: skip
def test_ways_to_multiply_that_there_are_not(scale, terms, want):
    with pytest.raises(ValueError, match=want):
        Factor(scale=scale, bits=16, terms=terms)
