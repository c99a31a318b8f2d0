"""One scale for features and weights, the clamp that loses nothing, and the ranges that set the scale."""

import itertools
import math

import numpy as np
import pytest
import torch
from addax.models.layers.adder import AdderConv2d
from addax.quant.fold.calibrate import (
    Patches,
    Ranges,
    Statistics,
    group_steps,
    observe,
    per_channel_symmetric,
    shared_scale,
)
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import Format, signed, unsigned
from addax.quant.lower.graph.export import trace
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import fx, nn

GRIDS = st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())
STEPS = st.floats(1e-4, 1e3)


def clamp(value, grid):
    return min(max(value, grid.lo), grid.hi)


@given(grid=GRIDS, step=STEPS, data=st.data())
def test_lossless_clamp_gives_back_what_it_takes(grid, step, data):
    """|x - w/s| = |x - clamp(w/s)| + C for every integer x of the grid and every real w, inside and far outside it."""
    span = grid.hi - grid.lo
    scaled = data.draw(st.floats(grid.lo - 3 * span, grid.hi + 3 * span) | st.sampled_from([grid.lo, grid.hi, 0.5]))
    x = data.draw(st.sampled_from([grid.lo, grid.hi]) | st.integers(grid.lo, grid.hi))
    weight = scaled * step

    _, correction = shared_scale(np.array([[weight]]), step, grid)

    distance = abs(x - weight / step)
    assert abs(x - clamp(weight / step, grid)) + correction[0] == pytest.approx(distance, rel=1e-12, abs=1e-9)


@given(grid=GRIDS, data=st.data())
def test_a_filter_of_whole_steps_keeps_its_distances_exactly(grid, data):
    """Only rounding costs: where w/s is an integer, however large, the sum over all taps is exact."""
    span = grid.hi - grid.lo
    weight = data.draw(arrays(np.int64, (3, 2, 2), elements=st.integers(grid.lo - 2 * span, grid.hi + 2 * span)))
    x = data.draw(arrays(np.int64, (2, 2), elements=st.integers(grid.lo, grid.hi)))

    integers, correction = shared_scale(weight * 0.25, 0.25, grid)

    assert grid.allows(integers)
    for o in range(3):
        assert -abs(x - integers[o]).sum() - correction[o] == -abs(x - weight[o]).sum()


@given(grid=GRIDS, step=STEPS, data=st.data())
def test_rounding_costs_half_a_step_per_tap_at_most(grid, step, data):
    span = grid.hi - grid.lo
    scaled = data.draw(arrays(float, (2, 5), elements=st.floats(grid.lo - span, grid.hi + span)))
    x = data.draw(arrays(np.int64, 5, elements=st.integers(grid.lo, grid.hi)))

    integers, correction = shared_scale(scaled * step, step, grid)

    assert integers.dtype == np.int64 and grid.allows(integers)
    error = abs(x - integers).sum(1) + correction - abs(x - scaled * step / step).sum(1)
    assert abs(error).max() <= 5 * 0.5 + 1e-6


def test_the_authors_example():
    """Weights clamped at 1.6 give the bias -126.2; the grid -2**15..2**15-1 is symmetric to 5e-5."""
    weight = np.array([16.8, 12.3, -15.4, 11.3, 21.0, -19.2, -10.0, 18.4, 16.2])
    step = 1.6 / 32767

    integers, correction = shared_scale(weight.reshape(1, 1, 3, 3), step, signed(16))

    assert set(integers.ravel().tolist()) == {-32768, 32767}
    assert integers.shape == (1, 1, 3, 3) and correction.shape == (1,)
    assert -correction[0] * step == pytest.approx(-126.2, abs=3e-4)


def test_correction_is_taken_from_the_weight_before_rounding():
    """From the rounded weight it would be 0 here; at 4 bits that costs points of agreement."""
    integers, correction = shared_scale(np.array([[7.4, 7.4], [-8.3, 3.0]]), 1.0, signed(4))

    assert integers.tolist() == [[7, 7], [-8, 3]]
    assert correction == pytest.approx([0.8, 0.3])


def test_after_a_relu_negative_weights_become_zero_and_a_constant():
    integers, correction = shared_scale(np.array([[-2.5, -0.1, 0.0, 3.6, 20.0]]), 1.0, unsigned(4))

    assert integers.tolist() == [[0, 0, 0, 4, 15]]
    assert correction == pytest.approx([2.5 + 0.1 + 5.0])


@given(bits=st.integers(2, 16), data=st.data())
def test_per_channel_symmetric(bits, data):
    """Every channel reaches the end of its own grid, zero stays zero, nothing is off by more than half a step."""
    fmt = signed(bits)
    magnitude = st.floats(1e-3, 1e3)
    weight = data.draw(arrays(float, (3, 2, 2), elements=st.just(0.0) | magnitude | magnitude.map(lambda v: -v)))

    integers, steps = per_channel_symmetric(weight, fmt)

    assert integers.dtype == np.int64 and integers.shape == weight.shape and steps.shape == (3,)
    for channel in range(3):
        largest = abs(weight[channel]).max()
        assert abs(integers[channel]).max() == (fmt.hi if largest else 0)
        assert steps[channel] > 0
        assert abs(integers[channel] * steps[channel] - weight[channel]).max() <= steps[channel] * (0.5 + 1e-9)
        assert (integers[channel][weight[channel] == 0] == 0).all()
        assert (np.sign(integers[channel]) * np.sign(weight[channel]) >= 0).all()


def test_per_channel_symmetric_by_hand():
    integers, steps = per_channel_symmetric(
        np.array([[1.0, -0.5, 0.26], [0.0, 0.0, 0.0], [-70.0, 35.0, 7.0]]), signed(4)
    )

    assert integers.tolist() == [[7, -4, 2], [0, 0, 0], [-7, 4, 1]]
    assert steps == pytest.approx([1 / 7, 1 / 7, 10.0])


class Twice(nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2.0


def statistics(*batches, quantile=0.9997):
    traced = fx.symbolic_trace(Twice())
    ranges = observe(traced, iter(batches), quantile=quantile)
    x, relu, mul = (node.name for node in list(traced.graph.nodes)[:3])
    return tuple(ranges.statistics[name] for name in (x, relu, mul))


def test_every_node_of_the_network_is_observed():
    found = statistics(torch.tensor([[-5.0, 1.0, 3.0]]))

    assert [s.quantile for s in found] == [s.most for s in found] == [5.0, 3.0, 6.0]
    assert set(found[0].sample.tolist()) <= {-5.0, 1.0, 3.0}, "signs included"


def test_the_largest_batch_decides():
    found = statistics(torch.ones(1, 4), torch.full((1, 4), 7.0), torch.zeros(1, 4))[0]

    assert (found.quantile, found.most, found.count) == (7.0, 7.0, 12)
    assert found.largest.tolist() == [0.0] * 4 + [1.0] * 4 + [7.0] * 4, "of all batches, ascending"
    assert set(found.sample.tolist()) == {0.0, 1.0, 7.0}, "the sample is of all batches"


@pytest.mark.parametrize("quantile", [0.5, 0.99, 0.9997, 1.0])
def test_outliers_beyond_the_quantile_do_not_set_the_grid(quantile):
    """Of 10,000 values the largest are clipped: three of them at 0.9997."""
    values = torch.arange(10_000, dtype=torch.float32) + 1
    values[-1] = 1e9
    shuffled = values[torch.randperm(10_000, generator=torch.Generator().manual_seed(0))]

    found = statistics(shuffled.view(10, 1000), quantile=quantile)[0]

    assert found.quantile == (math.ceil(quantile * 10_000) if quantile < 1 else 1e9)
    assert found.most == 1e9


def test_observing_leaves_no_gradient_behind():
    parameter = torch.ones(2, requires_grad=True)
    observe(fx.symbolic_trace(Twice()), iter([parameter]), quantile=1.0)

    assert parameter.grad is None


def test_observing_repeats_itself():
    """The samples on which ranges are chosen must not change a Program from run to run."""
    batches = [torch.randn(50, 400, generator=torch.Generator().manual_seed(k)) for k in range(2)]

    first, second = (statistics(*batches)[0] for _ in range(2))

    assert np.array_equal(first.sample, second.sample) and len(first.sample) < 2 * 20_000


# Ranges


def known(values, quantile=None):
    values = np.asarray(values, float)
    largest = np.sort(abs(values))[-3:]
    found = Statistics(
        quantile=largest[-1] if quantile is None else quantile, largest=largest, sample=values, count=len(values)
    )  # fmt: skip
    return Ranges(statistics={"a": found})


@pytest.mark.parametrize(("name", "magnitude"), [("quantile", 6.0), ("max", 9.0)])
def test_step_maps_the_magnitude_to_the_end_of_the_format(name, magnitude):
    ranges = known([9.0, -1.0], quantile=6.0)

    assert ranges.step("a", unsigned(4), Scheme(ranges=name)) * 15 == pytest.approx(magnitude)
    assert ranges.step("a", signed(4), Scheme(ranges=name)) * 7 == pytest.approx(magnitude)


@pytest.mark.parametrize("name", ["quantile", "max", "mse", "sums"])
def test_feature_that_is_always_zero_does_not_divide_by_zero(name):
    assert known([0.0, 0.0]).step("a", unsigned(8), Scheme(ranges=name)) > 0


def squared_error(values, step, fmt):
    """Of values on the grid, by Python's own rounding."""
    return sum((step * min(round(abs(v) / step), fmt.hi) - abs(v)) ** 2 for v in values)


@pytest.mark.parametrize("fmt", [unsigned(2), signed(3), unsigned(4), signed(4), unsigned(8)])
@pytest.mark.parametrize("shape", ["uniform", "normal", "laplace", "outlier"])
def test_range_of_least_error_is_the_best_of_a_fine_search(fmt, shape):
    """Candidates are a twelfth root of two apart at most; a search eight times finer must not beat them by much."""
    rng = np.random.default_rng(0)
    values = {
        "uniform": rng.uniform(0, 3, 150),
        "normal": rng.normal(0, 3, 150),
        "laplace": rng.laplace(0, 3, 150),
        "outlier": np.append(rng.uniform(0, 3, 150), 20.0),
    }[shape]

    step = known(values).step("a", fmt, Scheme(ranges="mse"))

    largest = abs(values).max()
    finest = min(squared_error(values, share * largest / fmt.hi, fmt) for share in np.geomspace(1 / 16, 1, 300))
    assert squared_error(values, step, fmt) <= 1.1 * finest
    assert largest / 16 <= step * fmt.hi * (1 + 1e-9) <= largest * (1 + 2e-9)


def test_range_of_least_error_leaves_out_outliers_where_bits_are_few():
    """Ten thousand small values and one large: with 16 bits all are kept, with 3 the large one is clipped."""
    values = np.append(np.random.default_rng(0).uniform(0, 1, 4000), 10.0)
    ranges = known(values)

    narrow, wide = (ranges.step("a", fmt, Scheme()) * fmt.hi for fmt in (unsigned(3), unsigned(16)))

    assert narrow < 2.5 and wide == pytest.approx(10.0)


@pytest.mark.parametrize("name", ["quantile", "max", "mse"])
@given(largest=st.floats(1e-3, 1e6))
def test_steps_that_are_powers_of_two(name, largest):
    """The nearest power in the exponent: within half an octave of the step that would have been."""
    ranges = known([largest, largest / 3])

    step = ranges.step("a", unsigned(5), Scheme(ranges=name, pow2_steps=True))

    assert math.frexp(step)[0] == 0.5, "a power of two"
    assert abs(math.log2(step / ranges.step("a", unsigned(5), Scheme(ranges=name)))) <= 0.5 + 1e-9


# What an adder layer meets, and groups of its filters


class Adders(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = AdderConv2d(2, 3, 3, stride=2, padding=1)

    def forward(self, x):
        return self.layer(torch.relu(x))


def sums_of(x, weight):
    """(P, K), (O, K) -> (P, O) by the definition."""
    return np.array([[-sum(abs(a - b) for a, b in zip(row, w, strict=True)) for w in weight] for row in x])


def test_patches_are_what_the_layer_read_and_made():
    torch.manual_seed(0)
    net = Adders().eval()
    traced = trace(net, (2, 5, 5))
    batches = [torch.randn(3, 2, 5, 5) for _ in range(2)]

    ranges = observe(traced, iter(batches), quantile=1.0)

    patches = ranges.patches["layer"]
    assert patches.x.shape == (2 * 3 * 9, 18) and patches.sums.shape == (54, 3)
    weight = net.layer.weight.detach().double().flatten(1).numpy()
    assert np.abs(patches.sums - sums_of(patches.x, weight)).max() < 1e-4
    with torch.no_grad():
        made = torch.cat([net(batch) for batch in batches]).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    order, other = (np.lexsort(sums.T) for sums in (patches.sums, made))
    assert np.abs(patches.sums[order] - made[other]).max() < 1e-3, "every output pixel once, in any order"


@pytest.mark.parametrize("grid", [unsigned(4), signed(4), unsigned(8), signed(10)])
def test_error_on_a_grid_by_hand(grid):
    """Mean and variance of (integer sums - C - float sums), every tap added one by one."""
    rng = np.random.default_rng(0)
    low = -3.0 if grid.signed else 0.0
    x, weight, step = rng.uniform(low, 4, (20, 6)), rng.normal(0, 4, (3, 6)), 4.0 / grid.hi
    patches = Patches(x=x, sums=sums_of(x, weight))

    mean, variance = patches.on_grid(weight.reshape(3, 6, 1, 1), step, grid)

    for o in range(3):
        errors = []
        for row in x:
            total = 0.0
            for value, w in zip(row, weight[o], strict=True):
                scaled = w / step
                held = clamp(scaled, grid)
                total -= abs(clamp(round(value / step), grid) - round(held)) + abs(scaled - held)
                total += abs(value - w) / step
            errors.append(total)
        assert mean[o] == pytest.approx(np.mean(errors), abs=1e-9)
        assert variance[o] == pytest.approx(np.var(errors), abs=1e-9)


def test_groups_take_the_step_with_the_least_variance():
    """Filters amid the features and filters beyond them want different steps: each group has the best candidate."""
    rng = np.random.default_rng(0)
    grid, step = unsigned(4), 0.2
    weight = np.concatenate([rng.uniform(1, 1.1, (4, 12)), rng.uniform(6, 12, (4, 12))])
    x = rng.exponential(1.0, (200, 12))
    patches = Patches(x=x, sums=sums_of(x, weight))

    groups = group_steps(weight, patches, step, grid, 2)

    assert [count for count, _ in groups] == [4, 4]
    candidates = [step * 2 ** (k / 4) for k in range(-8, 5)]
    for part, (_, chosen) in zip((slice(0, 4), slice(4, 8)), groups, strict=True):
        found = {
            s: Patches(x=x, sums=patches.sums[:, part]).on_grid(weight[part], s, grid)[1].sum() * s**2
            for s in candidates
        }
        assert chosen == pytest.approx(min(found, key=found.get))


@pytest.mark.parametrize("groups", [1, 2, 3, 8, 99])
def test_groups_cover_every_filter_once_and_neighbours_differ(groups):
    rng = np.random.default_rng(2)
    weight, x = rng.normal(0, 2, (8, 12)), rng.exponential(1.0, (100, 12))
    found = group_steps(weight, Patches(x=x, sums=sums_of(x, weight)), 0.2, unsigned(4), groups)

    assert sum(count for count, _ in found) == 8 and 1 <= len(found) <= min(groups, 8)
    assert all(a[1] != b[1] for a, b in itertools.pairwise(found)), "equal neighbours are one group"


@given(grid=GRIDS, step=STEPS, data=st.data())
def test_without_the_lossless_clamp_nothing_is_given_back(grid, step, data):
    weight = data.draw(arrays(float, (2, 5), elements=st.floats(-1e4, 1e4)))

    kept, plain = (shared_scale(weight, step, grid, lossless=lossless) for lossless in (True, False))

    assert np.array_equal(kept[0], plain[0])
    assert not plain[1].any()
