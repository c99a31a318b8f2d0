"""``weights.h``: a Program's integers as C arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....common.errors import UserError
from ....common.templates import render
from ...program import Program
from .loops import LOOPS

__all__ = ["c_header", "c_type"]

_HERE = Path(__file__).parent


def c_header(program: Program, entries: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[np.int64]]) -> str:
    """``weights.h``: an array for every tensor of the manifest ``entries``, macros for the rest.

    Raises
    ------
    UserError
        for operations whose names differ only in capitals, which macros do not tell apart.
    """
    folded: dict[str, str] = {}
    for op in program.ops:
        if (other := folded.setdefault(op.name.upper(), op.name)) != op.name:
            raise UserError(
                f"operations {other} and {op.name} differ only in capitals, which C macros cannot tell apart"
            )
    arrays = [
        {
            **entry,
            "type": c_type(entry["bits"], entry["signed"]),
            "count": tensors[entry["name"]].size,
            "values": _values(tensors[entry["name"]]),
        }
        for entry in entries
    ]
    macros = [line for op in program.ops for line in LOOPS.of(op).macros(op)]
    output = None if program.classifies else program.shape(program.output)
    return render(
        _HERE / "weights.h.j2", arrays=arrays, macros=macros, program=program, shape=program.input.shape, output=output
    )  # fmt: skip


def c_type(bits: int, is_signed: bool) -> str:
    """The narrowest C type of fixed width that holds integers of ``bits`` bits."""
    width = next(w for w in (8, 16, 32, 64) if bits <= w)
    return f"{'' if is_signed else 'u'}int{width}_t"


def _values(value: NDArray[np.int64], per_line: int = 16) -> list[str]:
    flat = [str(v) if v != -(1 << 63) else "INT64_MIN" for v in value.reshape(-1).tolist()]
    return [", ".join(flat[k : k + per_line]) for k in range(0, len(flat), per_line)]
