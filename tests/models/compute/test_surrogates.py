"""Gradients of the sign as values: their closed forms against the series that they are said to be."""

import math

import numpy as np
import pytest
import torch
from addax.models.compute.surrogates import Fourier, PassThrough, StraightThrough
from addax.models.layers.binary import sign
from hypothesis import given
from hypothesis import strategies as st


def series(x, n, omega):
    """The derived series, term by term, in double precision."""
    return sum(4 * omega / math.pi * np.cos((2 * i + 1) * omega * x) for i in range(n + 1))


@given(n=st.integers(0, 30), omega=st.floats(0.01, 3), x=st.floats(-400, 400))
def test_closed_form_is_the_sum_of_cosines(n, omega, x):
    """At any place, whole periods and their halves included, where the closed form is 0 by 0."""
    for at in (x, 0.0, round(x) * math.pi / omega):
        found = Fourier(first=n, last=n, omega=omega, mask=None).slope(torch.tensor([at], dtype=torch.float64), 0.5)
        assert abs(float(found) - series(at, n, omega)) < 1e-9 * (n + 1) ** 3 * (1 + abs(omega * at))


def test_single_precision_is_near_enough_for_training():
    x = torch.linspace(-1, 1, 4001)

    found = Fourier(first=18).slope(x, 0.0)

    assert np.abs(found.numpy() - series(x.double().numpy(), 18, 0.1)).max() < 1e-5


@pytest.mark.parametrize(("n", "slope"), [(0, 1.273), (1, 2.546), (9, 12.732), (10, 14.006), (18, 24.192)])
def test_slope_at_zero_is_the_published_one(n, slope):
    """In units of omega; n gives n + 1 terms."""
    found = Fourier(first=n, last=n, omega=1.0).slope(torch.zeros(1).double(), 0.0)

    assert float(found) == pytest.approx(slope, abs=5e-4)


def test_terms_grow_evenly_from_the_first_to_the_last_number():
    """9 at the begin and 18 only when all is over, as int(9 * epoch / epochs) has it."""
    surrogate = Fourier()

    assert [surrogate.n(epoch / 18) for epoch in range(19)] == [9 + epoch // 2 for epoch in range(19)]
    assert (surrogate.n(-1.0), surrogate.n(2.0)) == (9, 18)


def test_mask_and_first_zero_bound_the_gradient():
    """With 19 terms the series is negative from 0.83 to the mask; ``zero`` leaves that out, and nothing else."""
    x = torch.linspace(-1.5, 1.5, 3001).double()
    keep, zero = (Fourier(first=18, beyond=beyond).slope(x, 1.0).numpy() for beyond in ("keep", "zero"))
    first = math.pi / (2 * 0.1 * 19)
    inside = np.abs(x.numpy()) <= first

    assert Fourier(first=18).first_zero(1.0) == pytest.approx(0.8267, abs=1e-4)
    assert (keep[np.abs(x.numpy()) > 1] == 0).all()
    assert (keep[~inside & (np.abs(x.numpy()) <= 1)] < 0).all()
    assert (zero[~inside] == 0).all()
    assert np.array_equal(zero[inside], keep[inside])
    assert (zero >= 0).all()


def test_straight_through_passes_inside_its_limit_and_dorefa_everywhere():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 1.0])

    assert StraightThrough().slope(x, 0.0).tolist() == [0, 1, 1, 1, 1]
    assert StraightThrough(limit=0.5).slope(x, 0.0).tolist() == [0, 1, 1, 1, 0]
    assert PassThrough().slope(x, 0.0).tolist() == [1] * 5


@pytest.mark.parametrize("surrogate", [StraightThrough(limit=0.7), PassThrough(), Fourier()])
def test_sign_takes_the_gradient_that_it_is_given(surrogate):
    """At the share of the training that it is told, for weights and features alike."""
    x = torch.linspace(-1.2, 1.2, 25).requires_grad_()
    upstream = torch.arange(1.0, 26.0)

    (sign(x, surrogate=surrogate, progress=0.6) * upstream).sum().backward()

    assert torch.equal(x.grad, upstream * surrogate.slope(x.detach(), 0.6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StraightThrough(limit=0.0), "limit must be positive"),
        (lambda: Fourier(first=10, last=9), "numbers of terms that grow"),
        (lambda: Fourier(omega=0.0), "omega must be positive"),
        (lambda: Fourier(omega=1.0, mask=4.0), r"mask must be in 0\.\.3\.142, half a period"),
        (lambda: Fourier(beyond="clip"), "beyond must be keep or zero"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
