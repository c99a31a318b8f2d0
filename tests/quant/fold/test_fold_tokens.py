"""Layer norms, softmaxes and GELU in integers against floats: the errors that docs/numerics.md states."""

import numpy as np
import pytest
from addax.quant.fold.curves import entries
from addax.quant.fold.grid import Grid
from addax.quant.fold.tokens import decays, norm_of, quotient_of
from addax.quant.formats import Format, signed, unsigned
from addax.quant.golden import run
from addax.quant.program import Input, MatMul, Program, Reduce, Slice, Softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf


def normalised(x, gamma, beta, eps):
    """A layer norm of (N, C) in floats."""
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps) * gamma + beta


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([2, 3, 12, 24, 24, 48, 192]),
    spread=st.sampled_from([0.3, 1.0, 4.0, 30.0]), bits=st.integers(4, 12), made=st.sampled_from([6, 8, 10]),
    power=st.sampled_from([0, 0, 1, 3]),
)  # fmt: skip
def test_norm_is_at_most_one_and_a_half_steps_from_floats(seed, channels, spread, bits, made, power):
    """Of channels of any spread, small ones above all, in which a root without a fraction has one digit."""
    rng, fmt, step = np.random.default_rng(seed), signed(bits), 2.0**-5
    values = np.rint(rng.normal(rng.normal(0, 2), spread, (40, channels))).clip(fmt.lo, fmt.hi).astype(np.int64)
    gamma, beta = rng.normal(0, 1, channels) + 0.5, rng.normal(0, 0.5, channels)
    powers = rng.integers(0, power + 1, channels)
    result = Grid(format=signed(made), step=4 / (1 << made - 1))
    op = norm_of("y", "x", Grid(format=fmt, step=step), result, gamma, beta, 1e-5, powers)
    program = Program(ops=(Input(name="x", shape=(channels, 1, 1), format=fmt), op))

    found = run(program, values[:, :, None, None]).output[:, :, 0, 0]

    real = normalised(values * 2.0**powers * step, gamma, beta, 1e-5) / result.step
    assert np.abs(found - real.clip(result.format.lo, result.format.hi)).max() <= 1.5


def attention_error(step, seed, tokens=197, width=64):
    """Relative error of an attention's output, softmaxes of 8-bit exponentials, scores on a grid of ``step``."""
    rng = np.random.default_rng(seed)
    scores, values = rng.normal(0, 1.5, (tokens, tokens)), rng.integers(-128, 128, (tokens, width))
    held = np.rint(scores / step).astype(np.int64)
    fmt = signed(16)
    ops = (
        Input(name="x", shape=(tokens + width, 1, tokens), format=fmt),
        *(_part(name, begin, end) for name, begin, end in (("s", 0, tokens), ("v", tokens, tokens + width))),
        Softmax(name="e", source="s", entries=decays(step, unsigned(8)), format=unsigned(8)),
        Reduce(name="den", source="e", how="sum"),
        MatMul(name="num", source="e", other="v", form="context"),
        quotient_of("y", "num", "den", np.full(width, 256.0), signed(16)),
    )
    # Scores of a token stand along its channels, its value behind them.
    image = np.concatenate([held.T, values.T])[None, :, None]
    found = run(Program(ops=ops), image).output[0, :, 0].T / 256
    weights = np.exp(scores - scores.max(1, keepdims=True))
    real = weights / weights.sum(1, keepdims=True) @ values
    return float(np.sqrt(((found - real) ** 2).mean() / (real**2).mean()))


def _part(name, begin, end):
    return Slice(name=name, source="x", axis="C", start=begin, stop=end)


@pytest.mark.parametrize("seed", range(3))
def test_attention_over_197_tokens_keeps_its_output_within_3_percent(seed):
    """With 8-bit exponentials and scores of steps of 1/32, which deferring the division makes enough."""
    assert attention_error(1 / 32, seed) <= 0.03


def test_coarser_scores_cost_more():
    """Else the step of scores would not be what decides, and a test of it would protect nothing."""
    errors = [attention_error(step, 0) for step in (1 / 32, 1 / 8, 1 / 4)]

    assert errors == sorted(errors) and errors[-1] > 0.05


@pytest.mark.parametrize("step", [1 / 64, 1 / 32, 1 / 8, 1.0, 100.0])
def test_table_of_exponentials_ends_where_nothing_changes_any_more(step):
    """Each entry is the nearest, and a distance behind the last means what the last one does."""
    for fmt in (unsigned(4), unsigned(8), unsigned(16)):
        table = decays(step, fmt)
        real = fmt.hi * np.exp(-np.arange(len(table)) * step)

        assert table[0] == fmt.hi and np.abs(table - real).max() <= 0.5
        assert len(table) == 4096 or fmt.hi * np.exp(-len(table) * step) <= 0.5
        assert len(table) & (len(table) - 1) == 0
    with pytest.raises(ValueError, match=r"^the step of scores must be positive, not 0$"):
        decays(0, unsigned(8))


@pytest.mark.parametrize("interval", [(-8, -5), (-5, -2), (-2, 0), (0, 2), (2, 8)])
@pytest.mark.parametrize("bits", [8, 12])
def test_gelu_is_exact_to_rounding_in_every_interval(interval, bits):
    """Below 0, too, where approximations are bad enough to block networks."""

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    read, made = (Grid(format=Format(bits=n, signed=True), step=8 / (1 << n - 1)) for n in (bits, 8))
    table = entries(gelu, read, made, even=False)
    x = np.arange(read.format.lo, read.format.hi + 1) * read.step
    inside = (x >= interval[0]) & (x <= interval[1])

    assert np.abs(table - gelu(x) / made.step)[inside & (x < 7.9)].max() <= 0.5 + 1e-9
