"""A Program for C: a header with its integers, and a plain program that computes with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.templates import render
from ..program import (
    AveragePool,
    Concat,
    Convolution,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    Threshold,
    Upsample,
)  # fmt: skip

__all__ = ["c_header", "c_network"]

_HERE = Path(__file__).parent
_TERMS = {"adder": "ADDER", "mult": "MULT", "xnor": "XNOR", "shift": "SHIFT"}


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
            "type": _type(entry["bits"], entry["signed"]),
            "count": tensors[entry["name"]].size,
            "values": _values(tensors[entry["name"]]),
        }
        for entry in entries
    ]
    requantises = [op for op in program.ops if isinstance(op, Requantise)]
    output = None if program.classifies else program.shape(program.output)
    return render(
        _HERE / "weights.h.j2", arrays=arrays, requantises=requantises, program=program, shape=program.input.shape,
        output=output,
    )  # fmt: skip


def c_network(program: Program) -> str:
    """``network.c``, which includes ``weights.h``: pixels on standard input, scores and class, or the raw
    output, on standard output."""
    return render(_HERE / "network.c.j2", ops=_Numbers(program).operations(), classifies=program.classifies)


class _Numbers:
    """What the loops of an operation need; tensors are numbered in the order of the operations."""

    def __init__(self, program: Program):
        self.program = program
        self.index = {op.name: k for k, op in enumerate(program.ops)}

    def operations(self) -> list[dict[str, Any]]:
        """One entry per operation."""
        return [self._operation(op) for op in self.program.ops]

    def _operation(self, op: Op) -> dict[str, Any]:
        shape = self.program.shape(op.name)
        entry = {"name": op.name, "kind": type(op).__name__, "shape": shape, "size": int(np.prod(shape))}
        if not op.source:
            return entry
        _, height, width = self.program.shape(op.source)
        entry |= {"source": self.index[op.source], "height": height, "width": width, "plane": height * width}
        match op:
            case Convolution():
                outputs, inputs, kh, kw = op.weight.shape
                sign = op.kernel == "mult" and op.weight_format.bits == 1
                entry |= {"term": "SIGN" if sign else _TERMS[op.kernel], "inputs": inputs}
                entry |= {"filters": outputs // op.groups, "kernel_height": kh, "kernel_width": kw}
                entry |= {"stride": op.stride, "padding": op.padding}
            case Requantise():
                entry["residual"] = None if op.residual is None else self.index[op.residual]
                entry["even"] = op.ties == "even"
                for name in ("shift", "residual_multiplier"):
                    one = isinstance(getattr(op, name), int)
                    entry[name] = f"{op.name}_{name}".upper() if one else f"{op.name}_{name}[c]"
            case Threshold():
                entry["levels"] = op.thresholds.shape[1]
            case Concat():
                entry["parts"] = self._parts(op)
            case PixelShuffle() | Upsample():
                entry["factor"] = op.factor
            case MaxPool() | AveragePool():
                padding = op.padding if isinstance(op, MaxPool) else 0
                entry |= {"window": op.size, "stride": op.stride, "padding": padding}
        return entry

    def _parts(self, op: Concat) -> list[dict[str, int]]:
        parts, begin = [], 0
        for name in self.program.sources(op):
            size = int(np.prod(self.program.shape(name)))
            parts.append({"source": self.index[name], "begin": begin, "size": size})
            begin += size
        return parts


def _type(bits: int, is_signed: bool) -> str:
    width = next(w for w in (8, 16, 32, 64) if bits <= w)
    return f"{'' if is_signed else 'u'}int{width}_t"


def _values(value: NDArray[np.int64], per_line: int = 16) -> list[str]:
    flat = [str(v) if v != -(1 << 63) else "INT64_MIN" for v in value.reshape(-1).tolist()]
    return [", ".join(flat[k : k + per_line]) for k in range(0, len(flat), per_line)]
