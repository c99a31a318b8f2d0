"""What of a list of parameters is left to `make guard` and `make check`."""

import pytest

GUARD = (pytest.mark.slow, pytest.mark.guard)
"""Takes long, but protects a main way."""


def guarded(values, *slow, marks=GUARD):
    """``values`` as parameters, those of ``slow`` with ``marks``."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks) if value in slow else value
        for value in values
    ]


def guarded_but(values, *fast):
    """``values`` as parameters, all but those of ``fast`` with the marks of `GUARD`."""
    return guarded(values, *(value for value in values if value not in fast))


def slow_but(values, *fast):
    """``values`` as parameters, all but those of ``fast`` left to `make check`."""
    values = list(values)
    return guarded(values, *(value for value in values if value not in fast), marks=pytest.mark.slow)
