"""What an export says of the arrays of every kind of operation: their format, and what their axes are."""

from collections.abc import Callable
from typing import Any

from ..formats import Format, format_for, signed, unsigned
from ..ops.base import Op
from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.move import MAX_OFFSET, PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.register import Register
from ..ops.requantise import MAX_SHIFT, MULTIPLIER_BITS, RESIDUAL_MULTIPLIER_BITS, Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold, threshold_format
from ..ops.tokens.matmul import MatMul
from ..ops.tokens.norm import MAX_POWER, Norm
from ..ops.tokens.rearrange import Rearrange, Unfold
from ..ops.tokens.softmax import Divide, Softmax
from ..ops.tokens.width import quotient_offset_format
from ..program import Program

__all__ = ["TENSORS"]

TENSORS: Register[Callable[[Program, Any, str], tuple[Format, str]]] = Register("the description of an export")
"""For each kind of operation how an array is described: a function of Program, operation and name of the field."""


@TENSORS.handles(Constant)
def _constant(program: Program, op: Constant, role: str) -> tuple[Format, str]:
    return op.format, "channel, row, column"


@TENSORS.handles(Convolution)
def _convolution(program: Program, op: Convolution, role: str) -> tuple[Format, str]:
    if role == "weight":
        return op.weight_format, "output, input, kernel row, kernel column"
    return program.format(op.source), "input"


@TENSORS.handles(Requantise)
def _requantise(program: Program, op: Requantise, role: str) -> tuple[Format, str]:
    formats = {
        "multiplier": signed(op.factor_bits),
        "residual_multiplier": signed(RESIDUAL_MULTIPLIER_BITS),
        "shift": format_for(0, MAX_SHIFT),
        "offset": program.offset_format(op),
        "second": signed(op.factor_bits),
        "second_offset": program.offset_format(op),
        "knee": threshold_format(program.format(op.source)),
    }
    return formats[role], "output"


@TENSORS.handles(Threshold)
def _threshold(program: Program, op: Threshold, role: str) -> tuple[Format, str]:
    if role == "thresholds":
        return threshold_format(program.format(op.source)), "output, level"
    return unsigned(1), "output"


@TENSORS.handles(SpatialShift)
def _spatial_shift(program: Program, op: SpatialShift, role: str) -> tuple[Format, str]:
    if role == "offsets":
        return format_for(-MAX_OFFSET, MAX_OFFSET), "channel, rows and columns"
    return program.format(op.source), "channel"


@TENSORS.handles(Table)
def _table(program: Program, op: Table, role: str) -> tuple[Format, str]:
    return op.format, "value" if op.entries.ndim == 1 else "channel, value"


@TENSORS.handles(Softmax)
def _softmax(program: Program, op: Softmax, role: str) -> tuple[Format, str]:
    return (op.format, "distance to the largest") if role == "entries" else (unsigned(1), "token, token that it sees")


@TENSORS.handles(Divide, Norm)
def _scaled(program: Program, op: Divide | Norm, role: str) -> tuple[Format, str]:
    formats = {
        "multiplier": signed(MULTIPLIER_BITS),
        "offset": quotient_offset_format(op.shift, op.format),
        "powers": format_for(0, MAX_POWER),
    }
    return formats[role], "channel"


@TENSORS.handles(Unfold)
def _unfold(program: Program, op: Unfold, role: str) -> tuple[Format, str]:
    return program.format(op.source), "channel"


@TENSORS.handles(
    Input, Concat, MaxPool, AveragePool, PixelShuffle, Upsample, Slice, Flatten, Product, Select, Reduce, ArgMax,
    MatMul, Rearrange,
)  # fmt: skip
def _no_arrays(program: Program, op: Op, role: str) -> tuple[Format, str]:
    raise TypeError(f"{op.name} is a {type(op).__name__}, which has no array {role!r}")
