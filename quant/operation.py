"""What every operation of a Program is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ints", "Op", "Shape"]

Shape = tuple[int, int, int]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """An operation called ``name`` that reads the result of ``source``."""

    name: str
    source: str
