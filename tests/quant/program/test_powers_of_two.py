"""Factors as sums of signed powers of two: exact, none adjacent, and the fewest."""

import itertools

import pytest
from addax.quant.program import (
    powers_of_two,
)
from hypothesis import given
from hypothesis import strategies as st


def places(value):
    """Exponents of what `powers_of_two` gives, which must be signed powers of two."""
    found = []
    for term in powers_of_two(value):
        assert term and abs(term) & (abs(term) - 1) == 0, f"{term} is no power of two"
        found.append(abs(term).bit_length() - 1)
    return found


@given(st.integers(-(2**40), 2**40) | st.integers(-40, 40).map(lambda n: 3 << n if n > 0 else -(3 << -n)))
def test_powers_of_two_sum_to_the_value_and_no_two_are_adjacent(value):
    """The non-adjacent form, which is unique; smallest first."""
    exponents = places(value)

    assert sum(powers_of_two(value)) == value
    assert all(b - a > 1 for a, b in itertools.pairwise(exponents))


def test_powers_of_two_are_the_fewest():
    """Against a search over all sums, for every number to 700: one term more reaches what a term fewer did not."""
    single = [sign << k for k in range(12) for sign in (1, -1)]
    fewest = {0: 0}
    reached = {0}
    for count in range(1, 7):
        reached = {a + b for a in reached for b in single}
        for value in reached:
            fewest.setdefault(value, count)

    for value in range(-700, 701):
        assert len(powers_of_two(value)) == fewest[value], value


@pytest.mark.parametrize(
    ("value", "expected"), [(0, ()), (1, (1,)), (-1, (-1,)), (3, (-1, 4)), (-6, (2, -8)), (11, (-1, -4, 16)),
                            (32767, (-1, 32768)), (-(2**31) + 1, (1, -(2**31)))],
)  # fmt: skip
def test_powers_of_two_by_hand(value, expected):
    assert powers_of_two(value) == expected
