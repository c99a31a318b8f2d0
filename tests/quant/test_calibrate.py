"""One scale for features and weights, and the clamp that loses nothing."""

import math

import numpy as np
import pytest
import torch
from addax.quant.calibrate import QUANTILE, Ranges, observe, per_channel_symmetric, shared_scale
from addax.quant.formats import Format, signed, unsigned
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


def magnitudes(*batches):
    traced = fx.symbolic_trace(Twice())
    ranges = observe(traced, iter(batches))
    x, relu, mul = (node.name for node in list(traced.graph.nodes)[:3])
    return ranges.magnitude[x], ranges.magnitude[relu], ranges.magnitude[mul]


def test_every_node_of_the_network_is_observed():
    assert magnitudes(torch.tensor([[-5.0, 1.0, 3.0]])) == (5.0, 3.0, 6.0)


def test_the_largest_batch_decides():
    assert magnitudes(torch.ones(1, 4), torch.full((1, 4), 7.0), torch.zeros(1, 4))[0] == 7.0


def test_outliers_beyond_the_quantile_do_not_set_the_grid():
    """Of 10,000 values the largest three are clipped."""
    values = torch.arange(10_000, dtype=torch.float32) + 1
    values[-3:] = 1e9
    shuffled = values[torch.randperm(10_000, generator=torch.Generator().manual_seed(0))]

    assert magnitudes(shuffled.view(10, 1000))[0] == math.ceil(QUANTILE * 10_000) == 9997


def test_observing_leaves_no_gradient_behind():
    parameter = torch.ones(2, requires_grad=True)
    observe(fx.symbolic_trace(Twice()), iter([parameter]))

    assert parameter.grad is None


def test_step_maps_the_magnitude_to_the_end_of_the_format():
    ranges = Ranges(magnitude={"a": 6.0, "dead": 0.0})

    assert ranges.step("a", unsigned(4)) * 15 == pytest.approx(6.0)
    assert ranges.step("a", signed(4)) * 7 == pytest.approx(6.0)
    assert ranges.step("dead", unsigned(8)) > 0, "a feature that is always 0 must not divide by 0"
