"""Which integers a real requantise becomes: against fractions of Python, sum by sum."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from addax.quant import golden
from addax.quant.fold.assembly import NOTES, Assembly, Pending
from addax.quant.fold.choice import Choice, Wanted, choose
from addax.quant.fold.factors import FoldedThreshold, fold_scale
from addax.quant.fold.rounding import can_tie
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import format_for, signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution, Input, Program, Requantise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

DYADIC = st.integers(-64, 64).map(lambda k: k / 16)
"""Numbers that doubles and shifts hold exactly: with them there are ties."""
REAL = st.floats(-4, 4, allow_nan=False).map(lambda v: float(np.float32(v)))


def rounded(value, lo, hi):
    """A fraction, ties to even."""
    return min(max(round(value), lo), hi)


@st.composite
def wanteds(draw, number=DYADIC | REAL, exact=True):
    channels = draw(st.integers(1, 3))
    lo, hi = draw(st.sampled_from([(0, 3), (0, 15), (-8, 7), (0, 255), (-2, 1)]))
    least = [draw(st.integers(-300, 100)) for _ in range(channels)]
    most = [low + draw(st.integers(0, 300)) for low in least]

    def numbers():
        return np.array([draw(number) for _ in range(channels)])

    return Wanted(
        gain=numbers(), centre=np.array([float(draw(st.integers(-50, 50))) for _ in range(channels)]), bias=numbers(),
        residual=0.0, residual_reach=0, lo=lo, hi=hi, least=np.array(least), most=np.array(most),
        accumulator=format_for(min(least), max(most)), terms=0, exact=exact, even=True,
    )  # fmt: skip


def executed(found, channel, acc, lo, hi):
    """What the integers make of a sum."""
    if isinstance(found, FoldedThreshold):
        reached = sum(acc >= level for level in found.levels[channel].tolist())
        return len(found.levels[channel]) - reached if found.falling[channel] else reached
    factors = found.factors
    total = acc * int(factors.multiplier[channel]) + int(factors.offset[channel])
    places = int(factors.shifts[channel])
    whole = round(Fraction(total, 2**places) - Fraction(1, 2)) if found.even else total // 2**places
    return min(max(whole, lo), hi)


@settings(max_examples=150, deadline=None)
@given(wanted=wanteds())
def test_a_source_of_integers_comes_out_the_same_for_every_sum(wanted):
    """Any gains, of any sign; ties to even. What cannot be the same is said."""
    try:
        found, note = choose(wanted)
    except ValueError as error:
        assert "scales by" in str(error)
        return
    for channel, (low, high) in enumerate(zip(wanted.least.tolist(), wanted.most.tolist(), strict=True)):
        gain, centre, bias = (Fraction(float(v[channel])) for v in (wanted.gain, wanted.centre, wanted.bias))
        for acc in range(low, high + 1):
            value = gain * (acc - centre) + bias
            if abs(value - floor(value) - Fraction(1, 2)) < Fraction(1, 10**7) and value.denominator > 2**20:
                continue  # nearer to a tie than the source's own arithmetic can tell
            assert note or executed(found, channel, acc, wanted.lo, wanted.hi) == rounded(value, wanted.lo, wanted.hi)


@settings(max_examples=100, deadline=None)
@given(wanted=wanteds(number=DYADIC))
def test_dyadic_factors_lose_nothing(wanted):
    """Steps that are powers of two, or few digits: never a note, never thresholds."""
    found, note = choose(wanted)

    assert isinstance(found, Choice) and not note


@settings(max_examples=60, deadline=None)
@given(wanted=wanteds())
def test_the_levels_of_a_staircase_are_where_its_steps_are(wanted):
    """By trying every sum."""
    stairs = wanted.staircase()
    levels = stairs.levels()
    for channel, (low, high) in enumerate(zip(wanted.least.tolist(), wanted.most.tolist(), strict=True)):
        gain, centre, bias = (Fraction(float(v[channel])) for v in (stairs.gain, stairs.centre, stairs.bias))
        ends = [float(gain * (acc - centre) + bias) % 1 for acc in range(low, high + 1)]
        if any(0 < abs(part - 0.5) < 1e-6 for part in ends):
            continue
        results = {acc: rounded(gain * (acc - centre) + bias, stairs.lo, stairs.hi) for acc in range(low, high + 1)}
        falling = gain < 0
        for k, step in enumerate(range(stairs.lo + 1, stairs.hi + 1)):
            reached = [acc for acc, y in results.items() if y >= step]
            want = (max(reached) if falling else min(reached)) if reached else (low - 1 if falling else high + 1)
            assert levels[channel, k] == want, f"step {step}"


def test_ties_matter_only_where_integers_hold_the_real_factors():
    """A tie between rounded factors is none; an identity never lies between two integers."""
    accumulator = signed(12)

    def folded(gain, bias=0.0):
        return fold_scale(
            gain=np.array([gain]), centre=np.zeros(1), bias=np.array([bias]), accumulator=accumulator, least_shift=1
        )

    assert can_tie(folded(0.25)) and can_tie(folded(1.0, 0.5)) and can_tie(folded(-0.5))
    assert not can_tie(folded(1.0)) and not can_tie(folded(1 / 3)) and not can_tie(folded(0.0, 0.25))


def one_layer(weight, gain, *, exact=False, bits=8, ties="up"):
    """A layer whose channels have these filters and gains, requantised."""
    made = Assembly(exact=exact, ties=ties)
    made.emit(Input(name="pixels", shape=(weight.shape[1], 1, 1)))
    name = made.emit(
        Convolution(
            name="conv", source="pixels", kernel="mult", weight=weight[:, :, None, None], weight_format=signed(8),
            pad=np.zeros(weight.shape[1], np.int64),
        )
    )  # fmt: skip
    zeros = np.zeros(len(weight))
    made.requantise("out", Pending(op=name, gain=gain, centre=zeros, bias=zeros + 2.0, relu=True), 1.0, unsigned(bits))
    return made.assembled({}), made.ops["out"]


def test_a_channel_that_cannot_vary_is_a_constant_and_takes_no_digits():
    """A pruned filter behind a batch norm has any gain; the others keep theirs as if it were not there."""
    weight = np.array([[3, -2], [0, 0], [5, 7]])
    with_dead, dead = one_layer(weight, np.array([0.1, 1e6, 0.2]))
    without, alive = one_layer(weight[[0, 2]], np.array([0.1, 0.2]))

    assert isinstance(dead, Requantise) and isinstance(alive, Requantise)
    assert dead.multiplier.tolist() == [alive.multiplier[0], 0, alive.multiplier[1]] and dead.shift == alive.shift
    pixels = np.random.default_rng(0).integers(0, 256, (50, 2, 1, 1), dtype=np.uint8)
    output = golden.run(with_dead, pixels).output[:, :, 0, 0]
    assert np.array_equal(output[:, [0, 2]], golden.run(without, pixels).output[:, :, 0, 0])
    assert set(output[:, 1].tolist()) == {2}


def test_channels_of_very_different_gains_have_shifts_of_their_own():
    """Under one shift the weak one would keep two digits; nothing is said, for nothing is lost."""
    weight = np.array([[1, 0], [100, 100]])
    program, op = one_layer(weight, np.array([120.0, 0.0043]))

    assert isinstance(op, Requantise) and op.channelwise and NOTES not in program.metadata
    pixels = np.random.default_rng(0).integers(0, 256, (500, 2, 1, 1), dtype=np.uint8)
    wants = np.floor(pixels[:, :, 0, 0].sum(1) * 100 * 0.0043 + 2.5).clip(0, 255)
    assert np.abs(golden.run(program, pixels).output[:, 1, 0, 0] - wants).max() <= 1


def test_alike_channels_share_one_shift():
    """Shifts per channel cost selections behind every unit."""
    _, op = one_layer(np.array([[1, 2], [3, 4]]), np.array([0.3, 0.2]))

    assert isinstance(op, Requantise) and isinstance(op.shift, int) and op.factor_bits == 16 and op.ties == "up"


def test_channels_share_a_shift_where_hardware_must_fit():
    """Whatever it costs; that is said then."""
    made = Assembly(shared=True)
    made.emit(Input(name="pixels", shape=(2, 1, 1)))
    zeros = np.zeros(2)
    made.requantise(
        "out", Pending(op="pixels", gain=np.array([9000.0, 0.9]), centre=zeros, bias=zeros), 1.0, unsigned(8)
    )

    assert isinstance(made.ops["out"].shift, int)
    assert made.assembled({}).metadata[NOTES].startswith("out: the factor of channel 1 is off by up to ")


def test_what_is_lost_is_said_by_name():
    """Sums of one power of two are off by up to a third."""
    made = Assembly(terms=1)
    made.emit(Input(name="pixels", shape=(1, 1, 1)))
    zero = np.zeros(1)
    made.requantise("out", Pending(op="pixels", gain=zero + 0.7, centre=zero, bias=zero), 1.0, unsigned(8))

    assert made.assembled({}).metadata[NOTES].startswith("out: the factor of channel 0 is off by up to ")


def test_few_levels_that_no_factor_of_16_bits_gives_are_thresholds():
    """Cheaper than a wide multiplier, and exact."""
    weight = np.full((1, 400), 127)
    program, op = one_layer(weight, np.array([1 / 4_200_000.0]), exact=True, bits=2, ties="even")

    assert type(op).__name__ == "Threshold"
    assert op.thresholds[0].tolist() == [0, 0, 2_100_001], "2.5 goes to 2"
    assert program.format("out") == unsigned(2)


def test_equal_numbers_are_stored_as_one():
    """So that files of equal Programs are equal, however the numbers were given."""
    ones = np.ones(3, np.int64)
    op = Requantise(
        name="r", source="x", multiplier=ones, offset=ones, shift=7 * ones, format=unsigned(8), lo=0, hi=255,
        residual_multiplier=5 * ones,
    )  # fmt: skip

    assert (op.shift, op.residual_multiplier, op.channelwise) == (7, 5, False)
    assert op.shifts.tolist() == [7] * 3 and op.residual_multipliers.tolist() == [5] * 3


@pytest.mark.parametrize("bad, message", [
    ({"ties": "odd"}, "ties must be up or even, not 'odd'"),
    ({"factor_bits": 17}, r"factor_bits must be an even number in 16\.\.32, not 17"),
    ({"factor_bits": 40}, r"factor_bits must be an even number in 16\.\.32, not 40"),
    ({"shift": np.array([1, 2, 3])}, r"S must be one value, or 2, not \(3,\)"),
    ({"shift": np.array([1, 48])}, r"shift must be in 0\.\.47"),
    ({"shift": 0, "ties": "even"}, r"shift must be in 1\.\.47, not 0"),
    ({"shift": True}, "shift must be an integer or one for each channel, not True"),
    ({"shift": np.array([1.0, 2.0])}, "shift must be 64-bit integers, not float64"),
    ({"residual_multiplier": np.array([1, 1 << 31])}, "R must be in"),
])  # fmt: skip
def test_impossible_requantises_are_refused(bad, message):
    values = {"multiplier": np.ones(2, np.int64), "offset": np.ones(2, np.int64), "shift": 4, "lo": 0, "hi": 255}
    pixels = Input(name="pixels", shape=(2, 1, 1))
    with pytest.raises(ValueError, match=message):
        Program(ops=(pixels, Requantise(name="r", source="pixels", format=unsigned(8), **{**values, **bad})))


class Twice(nn.Module):
    """An adder layer used twice with one batch norm, so that its second result has a few large values."""

    def __init__(self):
        from addax.models.layers.adder import AdderConv2d

        super().__init__()
        self.first, self.adder = nn.Conv2d(1, 4, 3, padding=1), AdderConv2d(4, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(4, momentum=None), nn.Linear(256, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.adder(torch.relu(self.first(x)))))
        x = torch.relu(self.norm(self.adder(x)))
        return self.last(x.flatten(1))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ranges_of_least_error_see_rare_large_values(seed):
    """A sample would miss them, and more bits would not help: the error must fall with the bits as that of ``max``."""
    torch.manual_seed(seed)
    net = Twice().train()
    with torch.no_grad():
        for _ in range(10):
            net(torch.rand(32, 1, 8, 8))
    net.eval()
    images = np.random.default_rng(seed).integers(0, 256, (64, 1, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        exact = net(torch.tensor(images).float() / 255).numpy()

    def error(bits, ranges):
        program = lower(net, images, scheme=Scheme(bits=bits, ranges=ranges))
        return np.abs(golden.run(program, images).scores * program.steps[program.output] - exact).max() / exact.std()

    errors = [error(bits, "mse") for bits in (8, 12, 16)]
    assert errors[1] < errors[0] / 4 and errors[2] < errors[1] / 4
    assert errors[2] <= 1.5 * error(16, "max")
