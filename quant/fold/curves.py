"""Functions of one value as tables: SiLU, GELU, sigmoid and whatever else is computed value by value."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .grid import Grid

__all__ = ["RealFunction", "entries", "numbers"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RealFunction = Callable[[Floats], Floats]
"""Real values of any shape, each to that of the function, in double precision."""


def numbers(grid: Grid) -> Floats:
    """All real values of ``grid``, from the lowest to the highest, (2**bits,)."""
    return np.arange(grid.format.lo, grid.format.hi + 1, dtype=np.float64) * grid.step


def entries(function: RealFunction, read: Grid, made: Grid, *, even: bool) -> Ints:
    """What ``function`` makes of every value of the grid that is ``read``, on the grid that is ``made``, (2**bits,).

    Parameters
    ----------
    even : ties go to the even number, else up

    Raises
    ------
    ValueError
        where the function has no value, by the number that it reads.
    """
    read_values = numbers(read)
    with np.errstate(all="ignore"):
        found = function(read_values) / made.step
    if np.isnan(found).any():
        raise ValueError(f"the function has no value for {read_values[int(np.isnan(found).argmax())]:g}")
    found = found.clip(made.format.lo, made.format.hi)
    return (np.rint(found) if even else np.floor(found + 0.5)).astype(np.int64)
