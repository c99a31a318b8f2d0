"""The types in which the golden model holds integers, and the error of one that leaves its format."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import Format
from ..ops.base import Ints

__all__ = ["Array", "WidthError", "in_narrowest", "narrowest_type"]

Array = NDArray[np.integer]
_TYPES = (np.uint8, np.int8, np.int16, np.int32, np.int64)


class WidthError(AssertionError):
    """A value left the width that the Program declares for it."""


def narrowest_type(fmt: Format) -> Any:
    """The narrowest type that holds ``fmt``."""
    return next(kind for kind in _TYPES if np.iinfo(kind).min <= fmt.lo and fmt.hi <= np.iinfo(kind).max)


def in_narrowest(values: Ints) -> Array:
    """``values`` in the narrowest type that holds them all."""
    kind = next(k for k in _TYPES if np.iinfo(k).min <= values.min() and values.max() <= np.iinfo(k).max)
    return values.astype(kind)
