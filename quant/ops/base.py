"""What every operation of a Program is."""

from dataclasses import Field, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LATER", "Ints", "Op", "Shape", "left_out"]

Shape = tuple[int, int, int]
Ints = NDArray[np.int64]
LATER = {"later": True}
"""Metadata of a field that came after files had been written: where it has its default, no file says it, so that old
and new files of one Program are the same bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """An operation called ``name`` that reads the result of ``source``."""

    name: str
    source: str


def left_out(op: Op, item: "Field[Any]") -> bool:
    """Whether a file of ``op`` leaves its field ``item`` out."""
    return bool(item.metadata.get("later")) and getattr(op, item.name) == item.default
