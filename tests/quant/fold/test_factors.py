"""Real factors become integers: against exact rational arithmetic, and against the float expression they stand for."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from addax.quant.fold.factors import fold_scale, fold_sign, nearest_sum
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import powers_of_two
from hypothesis import assume, given, settings
from hypothesis import strategies as st

M_BOUND, R_BOUND, LAST_SHIFT = 2**15 - 1, 2**31 - 1, 47
SUM = signed(16)
ACCUMULATORS = st.builds(Format, bits=st.integers(16, 30), signed=st.booleans())
GAINS = st.floats(1e-6, 100) | st.floats(1e-6, 100).map(lambda v: -v) | st.sampled_from([1.0, -0.5, 32767.0])


def folded(accumulator=SUM, terms=0, **values):
    """Factors of one channel: M, B, S, R as Python integers."""
    values = {"gain": 1.0, "centre": 0.0, "bias": 0.0, **values}
    residual = values.pop("residual", 0.0)
    channel = {name: np.array([value]) for name, value in values.items()}
    found = fold_scale(**channel, residual=residual, accumulator=accumulator, terms=terms)
    assert found.multiplier.dtype == found.offset.dtype == np.int64
    return int(found.multiplier[0]), int(found.offset[0]), found.shift, found.residual


# Multipliers


@given(
    gain=GAINS, centre=st.floats(-1e4, 1e4), bias=st.floats(-1e3, 1e3), residual=st.just(0.0) | st.floats(1e-4, 4),
    accumulator=ACCUMULATORS, data=st.data(),
)  # fmt: skip
@settings(max_examples=100)
def test_result_is_the_rounded_value_up_to_the_roundings_of_its_factors(
    gain, centre, bias, residual, accumulator, data
):
    """``(acc*M + r*R + B) >> S`` in exact fractions: half a unit for the result, and half a unit of 2**-S for each of
    M and R (times what they multiply) and for each of the two parts of B."""
    acc = data.draw(st.integers(accumulator.lo, accumulator.hi))
    r = data.draw(st.integers(-2048, 2047)) if residual else 0
    m, b, s, other = folded(accumulator, gain=gain, centre=centre, bias=bias, residual=residual)

    result = (acc * m + r * other + b) >> s
    exact = Fraction(gain) * (acc - Fraction(centre)) + Fraction(bias) + Fraction(residual) * r
    half = Fraction(1, 2)
    roundings = (half * abs(acc - Fraction(centre)) + half * abs(r) + 1) / 2**s
    slack = Fraction(1, 1000) / 2**s  # the product M * centre is made in floats
    assert abs(result - exact) <= (half if s else 0) + roundings + slack


@given(gain=GAINS, centre=st.integers(-4000, 4000), bias=st.floats(-1e3, 1e3))
def test_error_of_the_multiplier_cancels_at_the_centre(gain, centre, bias):
    m, b, s, _ = folded(signed(24), gain=gain, centre=float(centre), bias=bias)

    assert abs(((centre * m + b) >> s) - Fraction(bias)) <= (Fraction(1, 2) if s else 0) + Fraction(1) / 2**s


@given(gain=GAINS, bias=st.floats(-1e3, 1e3), residual=st.just(0.0) | st.floats(1e-4, 4), accumulator=ACCUMULATORS)
def test_shift_is_the_largest_with_which_everything_fits(gain, bias, residual, accumulator):
    m, b, s, r = folded(accumulator, gain=gain, bias=bias, residual=residual)

    reach = 2 ** (accumulator.bits + 15)
    assert abs(m) <= M_BOUND and abs(r) <= R_BOUND and -reach <= b < reach and 0 <= s <= LAST_SHIFT
    twice = Fraction(2) ** (s + 1)
    assert (
        s == LAST_SHIFT
        or abs(round(Fraction(gain) * twice)) > M_BOUND
        or abs(round(Fraction(residual) * twice)) > R_BOUND
        or not -reach <= round(Fraction(bias) * twice) + 2**s < reach
    )


def test_all_channels_share_one_shift():
    found = fold_scale(
        gain=np.array([0.9, 0.001, -0.25]), centre=np.zeros(3), bias=np.array([1.0, -2.0, 0.0]),
        accumulator=signed(16),
    )  # fmt: skip

    assert found.shift == 15
    assert found.multiplier.tolist() == [29491, 33, -8192]
    assert found.offset.tolist() == [32768 + 16384, -65536 + 16384, 16384]


def test_both_signs_have_the_same_bound():
    """-2**15 would fit 16 bits, but -M must fit as well."""
    assert folded(gain=-1.0)[:3] == (-16384, 8192, 14)
    assert folded(gain=1.0)[:3] == (16384, 8192, 14)


@pytest.mark.parametrize("gain", [32768.0, -40000.0, 1e9, 1e38, math.nan])
def test_factor_beyond_every_shift_is_refused(gain):
    with pytest.raises(ValueError, match=r"it scales by up to .*, which 16 bits cannot hold"):
        folded(gain=gain)


def test_offset_beyond_every_shift_is_refused():
    with pytest.raises(ValueError, match="16 bits cannot hold"):
        folded(unsigned(4), gain=1.0, bias=1e9)


def test_residual_beyond_every_shift_is_refused():
    with pytest.raises(ValueError, match="cannot hold"):
        folded(gain=1.0, residual=3e9)


def test_factors_that_all_vanish_are_refused():
    with pytest.raises(ValueError, match="it scales by at most 1e-10, which 31 places cannot hold"):
        fold_scale(
            gain=np.array([1e-10, -1e-11]), centre=np.zeros(2), bias=np.zeros(2), accumulator=signed(16)
        )  # fmt: skip


def test_factor_that_its_offset_leaves_no_digit_is_refused():
    """A bias of a million steps beside a narrow sum: S is 0, and the factor of 0.4 would be lost in silence."""
    with pytest.raises(ValueError, match=r"it scales by at most 0\.4, which 0 places cannot hold"):
        folded(unsigned(5), gain=0.4, bias=1e6)


def test_factors_that_are_zero_make_constants():
    """gamma 0 is common after training with weight decay; it is no underflow."""
    m, b, s, _ = folded(gain=0.0, bias=-3.3)

    assert m == 0 and {(acc * m + b) >> s for acc in (-32768, 0, 32767)} == {-3}


# Sums of powers of two


def sums(terms, bits):
    """All sums of at most so many signed powers of two."""
    powers = [sign << k for k in range(bits + 2) for sign in (1, -1)]
    found = {0}
    for _ in range(terms):
        found |= {a + p for a in found for p in powers}
    return np.array(sorted(found))


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_nearest_sum_is_the_nearest(terms):
    """Every value of 12 bits and its sign against a search of all sums."""
    every = sums(terms, 12)

    for value in range(-(2**12), 2**12 + 1):
        found = nearest_sum(value, terms)
        assert abs(found - value) == np.abs(every - value).min(), value
        assert found == 0 or len(powers_of_two(found)) <= terms


@given(value=st.integers(-(2**31), 2**31), terms=st.integers(1, 8))
def test_nearest_sum_keeps_the_sign_and_what_fits(value, terms):
    found = nearest_sum(value, terms)

    assert nearest_sum(-value, terms) == -found
    assert nearest_sum(found, terms) == found, "what is a sum already stays"
    assert abs(found - value) <= abs(value) / 3, "one term alone is off by a third at most"


@pytest.mark.parametrize("terms", range(1, 9))
@given(gain=GAINS, centre=st.floats(-1e3, 1e3), bias=st.floats(-100, 100), residual=st.floats(1e-4, 4))
@settings(max_examples=20)
def test_factors_are_sums_of_so_many_powers_of_two(terms, gain, centre, bias, residual):
    assume(abs(gain) <= 100)  # 32767 has no neighbour of one term within the bound
    m, b, s, r = folded(signed(24), gain=gain, centre=centre, bias=bias, residual=residual, terms=terms)

    assert len(powers_of_two(m)) <= terms and len(powers_of_two(r)) <= terms
    assert abs(m) <= M_BOUND and abs(r) <= R_BOUND
    assert abs(Fraction(m, 2**s) - Fraction(gain)) <= abs(Fraction(gain)) / 3 + Fraction(1, 2 ** (s + 1))
    # B is made with the factor that is used, so that its error cancels at the centre.
    value = Fraction(m, 2**s) * (round(centre) - Fraction(centre)) + Fraction(bias)
    result = (round(centre) * m + b) >> s
    assert abs(result - value) <= (Fraction(1, 2) if s else 0) + Fraction(11, 10) / 2**s


def test_eight_terms_say_every_sixteen_bit_factor():
    for gain in (0.123456, 21845 / 32768, -0.77777):
        assert folded(gain=gain, bias=0.3, terms=8) == folded(gain=gain, bias=0.3)


# Thresholds


def expected(gain, centre, bias, at_zero, acc):
    """The source's own expression, in the order in which it is written."""
    value = gain * (float(acc) - centre) + bias
    return value >= 0 if at_zero else value > 0


def fires(found, channel, acc):
    reached = acc >= int(found.levels[channel, 0])
    return not reached if found.falling[channel] else reached


def check(gain, centre, bias, fmt, at_zero):
    channels = [np.array(v, float) for v in (gain, centre, bias)]
    found = fold_sign(gain=channels[0], centre=channels[1], bias=channels[2], accumulator=fmt, at_zero=at_zero)
    assert found.levels.shape == (len(gain), 1) and found.falling.shape == (len(gain),)
    assert found.levels.min() >= fmt.lo and found.levels.max() <= fmt.hi + 1
    for o, acc in itertools.product(range(len(gain)), range(fmt.lo, fmt.hi + 1)):
        wanted = expected(gain[o], centre[o], bias[o], at_zero, acc)
        assert fires(found, o, acc) == wanted, (gain[o], centre[o], bias[o], acc)
    return found


MAGNITUDES = st.floats(1e-12, 1e6) | st.sampled_from([5e-324, 1e-300, 1.0, 0.5, 3.0])
SIGNED = MAGNITUDES | MAGNITUDES.map(lambda v: -v) | st.just(0.0)
CENTRES = st.floats(-300, 300) | st.integers(-600, 600).map(lambda v: v / 2)


@pytest.mark.parametrize("at_zero", [True, False])
@given(
    channels=st.lists(st.tuples(SIGNED, CENTRES, SIGNED), min_size=1, max_size=4),
    fmt=st.sampled_from([signed(8), unsigned(8), signed(5), unsigned(1)]),
)
@settings(max_examples=150)
def test_threshold_says_what_the_expression_says(channels, fmt, at_zero):
    """For every integer of the accumulator: gains of either sign, 0 and tiny, inside and far outside the range."""
    check(*zip(*channels, strict=True), fmt, at_zero)


@pytest.mark.parametrize("at_zero", [True, False])
@given(centre=st.integers(-130, 130), gain=st.sampled_from([1.0, -1.0, 0.5, -4.0, 1e-9, -3e7]), whole=st.booleans())
def test_tie_at_an_integer_belongs_to_the_source(at_zero, centre, gain, whole):
    """A source that fires on ``> t`` gives floor(t) + 1, on ``>= t`` ceil(t); a falling one the other way round."""
    t = centre if whole else centre + 0.5

    found = check([gain], [t], [0.0], signed(8), at_zero)

    inclusive = at_zero if gain > 0 else not at_zero
    wanted = math.ceil(t) if inclusive else math.floor(t) + 1
    assert int(found.levels[0, 0]) == min(max(wanted, -128), 128)
    assert found.falling.tolist() == [int(gain < 0)]


@pytest.mark.parametrize(
    ("bias", "at_zero", "constant"),
    [(0.0, True, 1), (0.0, False, 0), (1e-9, False, 1), (-1e-9, True, 0), (7.0, True, 1), (-7.0, False, 0)],
)
def test_gain_of_zero_makes_a_constant(bias, at_zero, constant):
    found = check([0.0], [3.0], [bias], signed(6), at_zero)

    assert int(found.levels[0, 0]) == (-32 if constant else 32)


@pytest.mark.parametrize("gain", [5e-324, -5e-324, 1e-310, -1e-30])
def test_gain_that_is_next_to_nothing_does_not_overflow(gain):
    """bias / gain is infinite; the sign of the bias decides."""
    for bias, at_zero in itertools.product((2.0, -2.0), (True, False)):
        check([gain], [10.0], [bias], signed(6), at_zero)
