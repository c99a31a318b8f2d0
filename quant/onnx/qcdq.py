"""A Program as QCDQ: QuantizeLinear, Clip, DequantizeLinear and other standard ONNX operations, for int8 tools.

All scales are 1: tensors hold the Program's integers, and the factors of a requantise are applied in 64-bit integers,
so that the results are the golden model's, bit by bit. Real steps stand in the metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, inliner

from ...common.errors import UserError
from ..files.archive import describe
from ..formats import Format
from ..ops.base import Op
from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.move import PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.register import Register
from ..ops.requantise import Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold
from ..ops.tokens.matmul import MatMul
from ..ops.tokens.norm import Norm
from ..ops.tokens.rearrange import Rearrange, Unfold
from ..ops.tokens.softmax import Divide, Softmax
from ..program import Program
from . import write  # noqa: F401  it fills the register of writers
from .build import FLOAT, INT64, PIXELS, WRITERS, Graph

__all__ = ["FORMS", "Form", "QcdqGraph", "qcdq_model"]

_MOST_BITS = 8
_EXACT_MEAN = 1 << 22
"""The mean of a window whose sum is below this gives that sum back when it is multiplied and rounded."""


def qcdq_model(program: Program, *, images: int | None = None) -> ModelProto:
    """``program`` in standard operations, with inputs and outputs as those of `qonnx_model`.

    Raises
    ------
    UserError
        for what has no QCDQ form, by the name of the operation: kernels other than mult, weights or features of 1 bit
        or more than 8, thresholds, sums that a float does not hold.
    """
    return QcdqGraph(program, images).model()


class QcdqGraph(Graph):
    """A graph of standard operations only: tensors of few bits go through a pair of quantiser and dequantiser."""

    def __init__(self, program: Program, images: int | None):
        for op in program.ops:
            if reason := _unfit(program, op):
                raise UserError(f"{op.name} has no QCDQ form: {reason}; export qonnx instead")
        self.paired: set[str] = set()
        super().__init__(program, images)

    def model(self) -> ModelProto:
        """The finished model, of standard operations only."""
        model = inliner.inline_local_functions(super().model())
        standard = [item for item in model.opset_import if not item.domain]
        del model.opset_import[:]
        model.opset_import.extend(standard)
        return model

    def tensor(self, name: str) -> str:
        """Name of the tensor that holds the result of operation ``name``: behind its pair, where it has one."""
        return f"{name}.features" if name in self.paired else super().tensor(name)

    def header(self) -> dict[str, Any]:
        """All that is no tensor: from standard operations alone nobody could tell what they were."""
        return {**super().header(), "graph": describe(self.program)[1]["graph"]}

    def weights(self, op: Convolution) -> str:
        """The weights of ``op`` as bytes behind their scale."""
        fmt, shape, out = op.weight_format, op.weight.shape, f"{op.name}.weight_values"
        held = self.constant(f"{op.name}.weight", op.weight, _byte(fmt))
        clipped = self._clipped(held, fmt, f"{op.name}.weight_clipped", shape)
        self.node("DequantizeLinear", [clipped, self.number(1), self._zero(fmt)], out, shape, FLOAT)
        return out

    def write(self, op: Op) -> None:
        """Add the nodes of ``op``."""
        FORMS.of(op).write(self, op)

    def pair(self, op: Op, source: str) -> None:
        """Make ``source`` bytes and numbers again: the result of ``op``."""
        fmt, shape = self.program.format(op.name), [self.images, *self.program.shape(op.name)]
        scale, zero = self.number(1), self._zero(fmt)
        self.node("QuantizeLinear", [source, scale, zero], f"{op.name}.quantised", shape, _element(fmt))
        clipped = self._clipped(f"{op.name}.quantised", fmt, f"{op.name}.clipped", shape)
        self.paired.add(op.name)
        self.node("DequantizeLinear", [clipped, scale, zero], self.tensor(op.name), shape, FLOAT)

    def _clipped(self, source: str, fmt: Format, out: str, shape: Any) -> str:
        """``source`` within ``fmt``, where that has fewer bits than a byte."""
        if fmt.bits == _MOST_BITS:
            return source
        ends = [self.constant(f"{end}_of_{fmt}", getattr(fmt, end), _byte(fmt)) for end in ("lo", "hi")]
        self.node("Clip", [source, *ends], out, shape, _element(fmt))
        return out

    def _zero(self, fmt: Format) -> str:
        return self.constant("signed_zero" if fmt.signed else "unsigned_zero", 0, _byte(fmt))


def _as_qonnx(graph: QcdqGraph, op: Op) -> None:
    WRITERS.of(op)(graph, op)


def _never_unfit(program: Program, op: Op) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a kind of operation is written in QCDQ.

    Attributes
    ----------
    write : adds the nodes to a graph; as in QONNX unless given
    unfit : says why an operation of this kind has no QCDQ form, or None
    """

    write: Callable[[QcdqGraph, Any], None] = _as_qonnx
    unfit: Callable[[Program, Any], str | None] = _never_unfit


FORMS: Register[Form] = Register("the qcdq export")
"""The QCDQ form of each kind of operation."""


def _write_input(graph: QcdqGraph, op: Input) -> None:
    if _fits(op.format):
        graph.pair(op, PIXELS)
        return
    ends = [graph.constant(f"{op.name}.{end}", getattr(op.format, end), np.float32) for end in ("lo", "hi")]
    graph.main("Clip", [PIXELS, *ends], op)


def _write_paired(graph: QcdqGraph, op: Requantise | Constant | Table) -> None:
    _as_qonnx(graph, op)
    if _fits(op.format):
        graph.pair(op, graph.tensor(op.name))


def _write_mean(graph: QcdqGraph, op: AveragePool) -> None:
    """The sum of a window as its mean times its size, rounded, which is exact."""
    shape = [graph.images, *graph.program.shape(op.name)]
    mean, product = f"{op.name}.mean", f"{op.name}.product"
    window = {"kernel_shape": list(op.window.kernel), "strides": list(op.window.strides)}
    graph.node("AveragePool", [graph.tensor(op.source)], mean, shape, FLOAT, **window)
    graph.node("Mul", [mean, graph.number(op.taps)], product, shape, FLOAT)
    graph.main("Round", [product], op)


def _unfit_convolution(program: Program, op: Convolution) -> str | None:
    if op.kernel != "mult":
        return f"its kernel is {op.kernel}, and standard quantised operations only multiply"
    for what, operand in (("weights", op.weight_format), ("features", program.format(op.source))):
        if not _fits(operand):
            return f"its {what} are {operand}, and QuantizeLinear makes 2 to {_MOST_BITS} bits"
    if not Graph.exact(program, op):
        return "its sums may exceed 2**24, up to which floats hold every integer"
    return None


def _unfit_threshold(program: Program, op: Threshold) -> str | None:
    return "it counts thresholds, which no standard quantised operation does"


def _unfit_product(program: Program, op: Product) -> str | None:
    fmt = program.format(op.name)
    return f"its products are {fmt}, which floats do not hold" if Graph.carrier_of(fmt) == INT64 else None


def _unfit_matmul(program: Program, op: MatMul) -> str | None:
    if op.kernel != "mult":
        return f"its kernel is {op.kernel}, and standard quantised operations only multiply"
    return None


def _unfit_of(reason: str) -> Callable[[Program, Any], str | None]:
    return lambda program, op: reason


def _unfit_sum(program: Program, op: AveragePool) -> str | None:
    fmt = program.format(op.name)
    if max(-fmt.lo, fmt.hi) < _EXACT_MEAN:
        return None
    return f"its sums are {fmt}, and a mean of floats only holds them below 2**22"


def _unfit_maximum(program: Program, op: MaxPool) -> str | None:
    fmt = program.format(op.name)
    return f"it pools {fmt}, which floats do not hold" if Graph.carrier_of(fmt) == INT64 else None


FORMS.register(Input, Form(write=_write_input))
FORMS.register(Convolution, Form(unfit=_unfit_convolution))
FORMS.register(Requantise, Form(write=_write_paired))
FORMS.register(Constant, Form(write=_write_paired))
FORMS.register(Table, Form(write=_write_paired))
FORMS.register(Product, Form(unfit=_unfit_product))
FORMS.register(MatMul, Form(unfit=_unfit_matmul))
for _odd, _lack in ((Softmax, "exponentials of integers"), (Divide, "quotients"), (Norm, "integer roots")):
    FORMS.register(_odd, Form(unfit=_unfit_of(f"it needs {_lack}, which no standard quantised operation makes")))
FORMS.register(Threshold, Form(unfit=_unfit_threshold))
FORMS.register(MaxPool, Form(unfit=_unfit_maximum))
FORMS.register(AveragePool, Form(write=_write_mean, unfit=_unfit_sum))
for _kind in (Concat, SpatialShift, PixelShuffle, Upsample, Slice, Flatten, Select, Reduce, ArgMax, Rearrange, Unfold):
    FORMS.register(_kind, Form())


def _unfit(program: Program, op: Op) -> str | None:
    """Why ``op`` has no QCDQ form."""
    form = FORMS.find(op)
    if form is None:
        return f"no standard quantised operation is registered for {type(op).__name__}"
    return form.unfit(program, op)


def _fits(fmt: Format) -> bool:
    return 2 <= fmt.bits <= _MOST_BITS


def _element(fmt: Format) -> int:
    return int(TensorProto.INT8 if fmt.signed else TensorProto.UINT8)


def _byte(fmt: Format) -> type[np.int8] | type[np.uint8]:
    return np.int8 if fmt.signed else np.uint8
