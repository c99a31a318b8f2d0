"""Second slopes become integers: against exact rational arithmetic, and through an assembly against torch."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from addax.quant import golden
from addax.quant.fold.assembly import Assembly, Pending, Stored
from addax.quant.fold.factors import fold_sign
from addax.quant.fold.regrid import requantised_once
from addax.quant.fold.slopes import Bend, fold_slopes
from addax.quant.formats import signed, unsigned
from addax.quant.program import Convolution, Input, Requantise, powers_of_two
from hypothesis import given, settings
from hypothesis import strategies as st

SUM, BYTE = signed(16), signed(8)
GAINS = st.floats(1e-3, 20) | st.floats(1e-3, 20).map(lambda v: -v)
SLOPES = st.floats(-3, 3) | st.sampled_from([0.0, 0.01, 0.25, 1.0, -1.0, 2.0, 100.0])


def folded(slope=0.25, gain=1.0, centre=0.0, bias=0.0, accumulator=SUM, **more):
    one = {"slope": slope, "gain": gain, "centre": centre, "bias": bias}
    arrays = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in one.items()}
    return fold_slopes(bend=Bend.of(arrays.pop("slope")), **arrays, accumulator=accumulator, **more)


@given(
    slope=SLOPES, gain=GAINS, centre=st.floats(-1e3, 1e3), bias=st.floats(-1e3, 1e3),
    terms=st.sampled_from([0, 0, 3]), data=st.data(),
)  # fmt: skip
@settings(max_examples=150)
def test_result_is_the_rounded_value_up_to_the_roundings_of_its_factors(slope, gain, centre, bias, terms, data):
    """In exact fractions, on both sides of the knee: half a unit for the result, half a unit of 2**-S for each factor
    times the sums between here and where its error cancels, more where factors are few powers of two."""
    acc = data.draw(st.integers(-32768, 32767))
    found = folded(slope, gain, centre, bias, terms=terms)
    s = int(found.factors.shifts[0])

    m, b = int(found.factors.multiplier[0]), int(found.factors.offset[0])
    if acc < found.knee[0]:
        m, b = int(found.second[0]), int(found.second_offset[0])
    z = Fraction(gain) * (acc - Fraction(centre)) + Fraction(bias)
    positive, zero = z >= 0, Fraction(centre) - Fraction(bias) / Fraction(gain)
    exact = z if positive else Fraction(slope) * z
    reach = abs(acc - (Fraction(centre) if positive else zero))
    rough = Fraction(1, 2) if not terms else max(Fraction(1, 2), abs(m) * Fraction(1, 8) + 1)
    roundings = (rough * reach + 2) / 2**s
    assert abs(((acc * m + b) >> s) - exact) <= (Fraction(1, 2) if s else 0) + roundings
    assert max(abs(m), abs(int(found.second[0]))) < 2**15
    if terms:
        assert all(len(powers_of_two(v)) <= terms for v in (m, int(found.second[0])))


@pytest.mark.parametrize("gain", [0.5, -0.5])
def test_both_sides_meet_at_the_knee(gain):
    """One offset for both would leave a step of (M - N) * T0, a thousand units here."""
    found = folded(0.01, gain, centre=200.0, bias=-1500.0, accumulator=signed(20))
    knee = int(found.knee[0])
    assert knee == (3200 if gain > 0 else -2799)

    values = found.values(np.arange(knee - 4.0, knee + 4)[:, None])[:, 0]

    assert np.abs(values).max() < 2.1
    assert (found.second_offset != found.factors.offset).all()


def test_sums_that_cannot_vary_are_constants_of_either_sign():
    found = folded([0.25, 0.25], [0.0, 0.0], [0.0, 0.0], [8.0, -8.0], reach=None)

    assert found.values(np.array([[-300.0, -300.0], [0.0, 0.0], [300.0, 300.0]])).tolist() == [[8.0, -2.0]] * 3


def test_slope_that_no_factor_holds_is_refused():
    with pytest.raises(ValueError, match=r"^its second slope scales by up to 1e\+06, which 16 bits cannot hold$"):
        folded(1e6, 1.0)


def test_steep_second_slope_costs_digits_of_the_first():
    """S is one: the larger factor decides it."""
    found = folded(100.0, 1.0)

    assert int(found.second[0]) == 100 * int(found.factors.multiplier[0])
    assert int(found.second[0]) < 2**15


def assembled(slope, *, gain, bias, fmt=BYTE, exact=False, ties="up", shared=False):
    """A dense layer, a batch norm, a PReLU: the Program and the weights."""
    rng = np.random.default_rng(4)
    weight = rng.integers(-8, 8, (len(gain), 3, 1, 1))
    a = Assembly(exact=exact, ties=ties, shared=shared)
    a.emit(Input(name="pixels", shape=(3, 5, 5)))
    conv = Convolution(name="conv", source="pixels", kernel="mult", weight=weight, weight_format=signed(4),
                       pad=np.zeros(3, np.int64))  # fmt: skip
    a.emit(conv)
    value = Pending(op="conv", gain=gain, centre=np.zeros(len(gain)), bias=bias, bend=Bend.of(slope))
    a.requantise("out", value, 0.05, fmt)
    a.ending("out")
    return a, weight


@pytest.mark.parametrize(("exact", "ties"), [(False, "up"), (True, "even"), (True, "up")])
def test_prelu_behind_a_batch_norm_is_torchs(exact, ties):
    """Within the rounding of a result, over channels of gains from 1 to 1/1000, rising and falling."""
    slope = np.array([0.25, 0.01, 1.5, -0.5])
    gain, bias = np.array([0.004, -0.002, 0.001, 0.000004]), np.array([0.3, 1.7, -2.0, -0.2])
    a, weight = assembled(slope, gain=gain, bias=bias, exact=exact, ties=ties)
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 5, 5), np.uint8)

    program = a.assembled({})
    found = golden.run(program, images).output

    sums = np.einsum("nchw,oc->nohw", images.astype(np.float64), weight[:, :, 0, 0])
    z = torch.tensor(sums * gain[:, None, None] + bias[:, None, None])
    wanted = torch.nn.functional.prelu(z, torch.tensor(slope)).numpy() / 0.05
    assert np.abs(found - wanted.clip(-128, 127)).max() <= (0.501 if exact else 0.75)
    assert isinstance(program.ops[-1], Requantise)
    assert program.ops[-1].bends


def test_one_shift_for_all_where_hardware_is_to_be_shared():
    slope, gain = np.array([0.25, 0.01]), np.array([0.004, 0.000004])
    a, _ = assembled(slope, gain=gain, bias=np.zeros(2), shared=True)

    assert isinstance(a.ops["out"].shift, int)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_batch_norm_and_residual_behind_a_prelu_are_torchs(signs):
    """One requantise makes all of it: both sides are lines of the sum, and the residual is added to either."""
    rng = np.random.default_rng(3)
    gain, bias = np.array([0.004, 0.002, 0.003]) * signs, np.array([0.3, -1.7, 0.2])
    bend = Bend.of(np.array([0.25, 0.1, 0.4])).then(np.array([1.5, -0.7, 0.9]), np.array([0.2, 0.5, -0.4]))
    a, weight = assembled(np.ones(3), gain=gain, bias=bias)
    a.ending("conv")
    value = Pending(
        op="conv", gain=gain, centre=np.zeros(3), bias=bias, bend=bend, residual=Stored(op="pixels", step=0.01)
    )  # fmt: skip
    a.requantise("out", value, 0.05, BYTE)
    images = rng.integers(0, 256, (40, 3, 5, 5), np.uint8)

    program = a.assembled({})
    found = golden.run(program, images).output

    sums = np.einsum("nchw,oc->nhwo", images.astype(np.float64), weight[:, :, 0, 0])
    z = sums * gain + bias
    bent = np.where(z >= 0, z, np.array([0.25, 0.1, 0.4]) * z) * np.array([1.5, -0.7, 0.9]) + np.array([0.2, 0.5, -0.4])
    wanted = (bent.transpose(0, 3, 1, 2) + 0.01 * images) / 0.05
    assert np.abs(found - wanted.clip(-128, 127)).max() <= 0.75
    assert (program.ops[-1].bends, program.ops[-1].residual) == (True, "pixels")


@given(
    gain=GAINS, bias=st.floats(-50, 50), slope=st.floats(0.01, 3), scale=GAINS, lift=st.floats(-50, 50),
    at_zero=st.booleans(),
)  # fmt: skip
def test_sign_of_a_bent_sum_is_a_threshold_where_the_bend_is_monotonous(gain, bias, slope, scale, lift, at_zero):
    """Of every sum, rising or falling, the comparison says what the source's own expression does."""
    one = [np.array([value]) for value in (gain, bias, slope, scale, lift)]
    bend = Bend(slope=one[2], scale=one[3], lift=one[4])
    assert bend.monotonous
    sums = signed(9)

    found = fold_sign(gain=one[0], centre=np.zeros(1), bias=one[1], accumulator=sums, at_zero=at_zero, bend=bend)

    acc = np.arange(sums.lo, sums.hi + 1)
    value = bend((gain * acc + bias)[:, None])[:, 0]
    fires = value >= 0 if at_zero else value > 0
    assert np.array_equal((acc >= found.levels[0, 0]) != found.falling[0], fires)


def test_scores_have_no_second_slope():
    a, _ = assembled(np.ones(2) / 2, gain=np.ones(2), bias=np.zeros(2))
    value = Pending(op="out", gain=np.ones(2), centre=np.zeros(2), bias=np.zeros(2), bend=Bend.of(np.ones(2) / 2))

    with pytest.raises(ValueError, match="class scores have no second slope; requantise it first"):
        a.scores(value)


def test_bent_sums_are_no_finer_grid_of_the_sums_themselves():
    """A shortcut that reads the sums in front of a LeakyReLU must not get what is behind it."""
    a, _ = assembled(np.array([0.1, 0.1]), gain=np.full(2, 0.01), bias=np.zeros(2))
    fine = {"name": "plain", "multiplier": np.array([1, 1]), "offset": np.zeros(2, np.int64), "shift": 9}
    a.emit(Requantise(source="conv", format=unsigned(4), lo=0, hi=15, **fine), 0.5)

    formats = {name: found[1] for name, found in a.inferred.items()}
    ops = requantised_once(list(a.ops.values()), a.steps, formats, values={**a.functions, "plain": "other"})

    assert [op.source for op in ops if isinstance(op, Requantise)] == ["conv", "conv"]
