"""What every kind of operation is in C: its loops, and the macros that they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....common.templates import render
from ...ops.base import Op
from ...ops.channels import ArgMax, Reduce, Select
from ...ops.constant import Constant
from ...ops.convolution import Convolution
from ...ops.ends import Input
from ...ops.move import AXES, PixelShuffle, Slice, SpatialShift, Upsample
from ...ops.pool import AveragePool, MaxPool
from ...ops.product import Product
from ...ops.register import Register
from ...ops.requantise import Requantise
from ...ops.shape import Concat, Flatten
from ...ops.table import Table
from ...ops.threshold import Threshold
from ...program import Program
from .tokens import TOKEN_TEMPLATES, window_facts

__all__ = ["LOOPS", "CLoops", "Numbers"]

_HERE = Path(__file__).parent
_TERMS = {"adder": "ADDER", "mult": "MULT", "xnor": "XNOR", "shift": "SHIFT"}


class Numbers:
    """A Program whose tensors are C arrays of 64-bit integers, numbered in the order of the operations: t0, t1, .."""

    def __init__(self, program: Program):
        self.program = program
        self.index = {op.name: k for k, op in enumerate(program.ops)}

    def array(self, name: str) -> str:
        """The C array that holds the result of operation ``name``."""
        return f"t{self.index[name]}"

    def size(self, name: str) -> int:
        """Number of values of the result of operation ``name``."""
        return int(np.prod(self.program.shape(name)))

    def facts(self, op: Op) -> dict[str, Any]:
        """What templates read of any operation; ``height``, ``width`` and ``plane`` are of what it reads."""
        facts: dict[str, Any] = {"name": op.name, "kind": type(op).__name__, "shape": self.program.shape(op.name)}
        facts["size"] = self.size(op.name)
        if not op.source:
            return facts
        _, height, width = self.program.shape(op.source)
        return facts | {"source": self.index[op.source], "height": height, "width": width, "plane": height * width}


@dataclass(frozen=True, kw_only=True)
class CLoops:
    """A kind of operation in C.

    Attributes
    ----------
    text : the statements, indented by four, that compute the result of an operation; without a line end at the end
    macros : lines of ``weights.h`` beside its arrays
    """

    text: Callable[[Numbers, Any], str]
    macros: Callable[[Any], list[str]] = lambda op: []


LOOPS: Register[CLoops] = Register("the C export")
"""The C of each kind of operation."""


def _nothing(numbers: Numbers, op: Any) -> dict[str, Any]:
    return {}


def _template(
    name: str, facts: Callable[[Numbers, Any], Mapping[str, Any]] = _nothing
) -> Callable[[Numbers, Any], str]:
    """The text of the template ``name``, which reads `Numbers.facts` and ``facts`` as ``op``, its array as ``out``."""

    def text(numbers: Numbers, op: Op) -> str:
        known = {**numbers.facts(op), **facts(numbers, op)}
        return render(_HERE / f"{name}.c.j2", op=known, out=numbers.array(op.name)).strip("\n")

    return text


def _convolution(numbers: Numbers, op: Convolution) -> dict[str, Any]:
    outputs, inputs = op.weight.shape[:2]
    sign = op.kernel == "mult" and op.weight_format.bits == 1
    return {
        "term": "SIGN" if sign else _TERMS[op.kernel], "inputs": inputs, "filters": outputs // op.groups,
        **window_facts(op.window),
    }  # fmt: skip


def _requantise(numbers: Numbers, op: Requantise) -> dict[str, Any]:
    facts: dict[str, Any] = {"residual": op.residual and numbers.index[op.residual], "even": op.ties == "even"}
    facts |= {"bends": op.bends, "lower": "offset" if op.second_offset is None else "second_offset"}
    for name in ("shift", "residual_multiplier", "knee"):
        one = isinstance(getattr(op, name), int)
        facts[name] = f"{op.name}_{name}".upper() if one else f"{op.name}_{name}[c]"
    return facts


def _requantise_macros(op: Requantise) -> list[str]:
    name = op.name.upper()
    lines = [f"#define {name}_SHIFT {op.shift}"] if isinstance(op.shift, int) else []
    lines += [f"#define {name}_LO ({op.lo})", f"#define {name}_HI {op.hi}"]
    if op.bends and isinstance(op.knee, int):
        lines.append(f"#define {name}_KNEE ({op.knee})")
    if op.residual and isinstance(op.residual_multiplier, int):
        lines.append(f"#define {name}_RESIDUAL_MULTIPLIER ({op.residual_multiplier})")
    return lines


def _threshold(numbers: Numbers, op: Threshold) -> dict[str, Any]:
    return {"levels": op.thresholds.shape[1]}


def _table(numbers: Numbers, op: Table) -> dict[str, Any]:
    lowest = numbers.program.format(op.source).lo
    return {"entries": op.rows.shape[1], "rows": op.rows.shape[0], "lowest": lowest}


def _product(numbers: Numbers, op: Product) -> dict[str, Any]:
    whole = numbers.program.shape(op.other) == numbers.program.shape(op.name)
    return {"other": numbers.index[op.other], "whole": whole}


def _of_numbers(
    facts: Callable[[Program, Any, Mapping[str, int]], Mapping[str, Any]],
) -> Callable[[Numbers, Any], Mapping[str, Any]]:
    return lambda numbers, op: facts(numbers.program, op, numbers.index)


def _argmax(numbers: Numbers, op: ArgMax) -> dict[str, Any]:
    return {"decides": op is numbers.program.decision, "channels": numbers.program.shape(op.source)[0]}


def _select(numbers: Numbers, op: Select) -> dict[str, Any]:
    return {"branches": [numbers.index[name] for name in op.branches]}


def _reduce(numbers: Numbers, op: Reduce) -> dict[str, Any]:
    return {"how": op.how, "channels": numbers.program.shape(op.source)[0] // op.parts}


def _concat(numbers: Numbers, op: Concat) -> dict[str, Any]:
    # What lies behind one place of the axis stands together: a whole channel, a row or a single pixel.
    behind, parts, begin = AXES.index(op.axis) + 1, [], 0
    plane = int(np.prod(numbers.program.shape(op.name)[behind:]))
    every = plane * numbers.program.shape(op.name)[behind - 1]
    for name in op.sources:
        size = numbers.program.shape(name)[behind - 1] * plane
        parts.append({"source": numbers.index[name], "begin": begin, "size": numbers.size(name), "each": size})
        begin += size
    return {"parts": parts, "every": every, "whole": op.axis == "C"}


def _slice(numbers: Numbers, op: Slice) -> dict[str, Any]:
    places = dict.fromkeys(AXES, (0, 1)) | {op.axis: (op.start, op.step)}
    return {"places": [places[axis] for axis in AXES]}


def _factor(numbers: Numbers, op: PixelShuffle | Upsample) -> dict[str, Any]:
    return {"factor": op.factor}


def _pool(numbers: Numbers, op: MaxPool | AveragePool) -> dict[str, Any]:
    return window_facts(op.window)


LOOPS.register(Input, CLoops(text=_template("input")))
LOOPS.register(Constant, CLoops(text=_template("constant")))
LOOPS.register(Slice, CLoops(text=_template("slice", _slice)))
LOOPS.register(Convolution, CLoops(text=_template("convolution", _convolution)))
LOOPS.register(Requantise, CLoops(text=_template("requantise", _requantise), macros=_requantise_macros))
LOOPS.register(Threshold, CLoops(text=_template("threshold", _threshold)))
LOOPS.register(Table, CLoops(text=_template("table", _table)))
LOOPS.register(Product, CLoops(text=_template("product", _product)))
LOOPS.register(Concat, CLoops(text=_template("concat", _concat)))
LOOPS.register(MaxPool, CLoops(text=_template("pool", _pool)))
LOOPS.register(AveragePool, CLoops(text=_template("pool", _pool)))
LOOPS.register(SpatialShift, CLoops(text=_template("spatial_shift")))
LOOPS.register(PixelShuffle, CLoops(text=_template("enlarge", _factor)))
LOOPS.register(Upsample, CLoops(text=_template("enlarge", _factor)))
LOOPS.register(Flatten, CLoops(text=_template("flatten")))
LOOPS.register(Select, CLoops(text=_template("select", _select)))
LOOPS.register(Reduce, CLoops(text=_template("reduce", _reduce)))
LOOPS.register(ArgMax, CLoops(text=_template("argmax", _argmax)))
for _kind, (_file, _facts) in TOKEN_TEMPLATES.items():
    LOOPS.register(_kind, CLoops(text=_template(_file, _of_numbers(_facts))))
