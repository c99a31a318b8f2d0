"""The integer Program: the one thing that the golden model, the RTL, the exports and the estimates read.

A Program is a list of operations in order of execution. Each names the operations whose results it reads. Tensors are
``(C, H, W)`` integers with a `Format`. No operation holds a float; real steps ride along as metadata that no integer
result depends on. The operations themselves stand in ``ops``, and can be imported from here as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from ..common.errors import UserError
from .formats import Format
from .ops.base import Ints, Op, Shape, Tensor, per_channel
from .ops.channels import ArgMax, Reduce, Select
from .ops.constant import Constant
from .ops.convolution import Convolution, sum_bounds, weight_values
from .ops.ends import PIXEL, SCORE_BYTE, Input, score_format
from .ops.kernels import KERNELS, OPERAND_BITS, SHIFT_MAX, Kernel, check_operands, term_range
from .ops.move import PixelShuffle, Slice, SpatialShift, Upsample
from .ops.pool import AveragePool, MaxPool
from .ops.product import Product
from .ops.requantise import (
    MAX_PRODUCT_BITS,
    MAX_SHIFT,
    MULTIPLIER_BITS,
    RESIDUAL_MULTIPLIER_BITS,
    TIES,
    Requantise,
    factor_bound,
    offset_format,
    powers_of_two,
)  # fmt: skip
from .ops.shape import Concat, Flatten
from .ops.table import Table
from .ops.threshold import MAX_THRESHOLDS, Threshold, threshold_format
from .ops.tokens.matmul import MatMul
from .ops.tokens.norm import Norm
from .ops.tokens.rearrange import Rearrange, Unfold
from .ops.tokens.softmax import Divide, Softmax

__all__ = [
    "KERNELS", "MAX_PRODUCT_BITS", "MAX_SHIFT", "MAX_THRESHOLDS", "MULTIPLIER_BITS", "OPERAND_BITS",
    "RESIDUAL_MULTIPLIER_BITS", "SCORE_BYTE", "SHIFT_MAX", "TASK_NAME", "TIES", "ArgMax", "AveragePool", "Concat",
    "Constant", "Convolution", "Divide", "Flatten", "Input", "Ints", "Kernel", "MatMul", "MaxPool", "Norm", "Op",
    "PixelShuffle", "Product", "Program", "Rearrange", "Reduce", "Requantise", "Select", "Shape", "Slice",
    "Softmax", "SpatialShift", "Table", "Threshold", "Unfold", "Upsample", "check_operands", "factor_bound",
    "infer", "offset_format", "per_channel", "powers_of_two", "score_format", "sum_bounds", "term_range",
    "threshold_format", "weight_values",
]  # fmt: skip

TASK_NAME = "task"
"""Key of a Program's metadata: which of several things it does to pictures, a name of `PICTURE_TASKS`."""
MAX_STEP = 1e100
"""Squares of 64-bit integers times a step still fit a float."""
_SHOWN = 20
"""Operations that the text of a Program names."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Program:
    """A checked sequence of operations from one `Input` to class scores and their `ArgMax`, or to raw outputs.

    Attributes
    ----------
    ops : the result of the last is the output; of a classifier, whose last is its `decision`, the scores are
    steps : real value of one unit of an operation's result, where known
    metadata : where the Program comes from (network, kernel, bits, data, float accuracy, ..), as text

    Raises
    ------
    ValueError
        from the constructor: an operation that does not fit its source, by name.
    """

    ops: tuple[Op, ...]
    steps: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(isinstance(step, float | int) and abs(step) <= MAX_STEP for step in self.steps.values()):
            raise ValueError(f"steps must be numbers of at most {MAX_STEP:g}")
        if not all(isinstance(text, str) for text in self.metadata.values()):
            raise ValueError("metadata must be text")
        object.__setattr__(self, "steps", MappingProxyType(dict(self.steps)))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        if len(self.ops) < 2 or not isinstance(self.ops[0], Input):
            raise ValueError("a program must begin with an input and compute something of it")
        seen: set[str] = set()
        for op in self.ops:
            if not isinstance(op, Op) or not isinstance(op.name, str):
                raise ValueError(f"a program holds operations whose names are text, not {op!r}")
            if op.name in seen or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", op.name):
                raise ValueError(f"operation name must be a unique identifier, not {op.name!r}")
            for source in op.sources:
                if source not in seen:
                    raise ValueError(f"{op.name} reads {source!r}, which is not an earlier operation")
            if isinstance(op, Input) != (op is self.ops[0]):
                raise ValueError(f"{op.name}: a program has exactly one input, its first operation")
            seen.add(op.name)
        _ = self._inferred  # infer now, so that a Program that exists is a Program that fits
        self._check_scores()

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only view of a dictionary does not pickle.
        return partial(Program, ops=self.ops, steps=dict(self.steps), metadata=dict(self.metadata)), ()

    def __repr__(self) -> str:
        shown = [f"{op.name}: {type(op).__name__}" for op in self.ops[:_SHOWN]]
        more = [f"{len(self.ops) - _SHOWN} more"] if len(self.ops) > _SHOWN else []
        network = self.metadata.get("network", "")
        return f"Program({network!r}, {', '.join(shown + more)})"

    @staticmethod
    def sources(op: Op) -> tuple[str, ...]:
        """Names of the operations that ``op`` reads."""
        return op.sources

    @cached_property
    def by_name(self) -> dict[str, Op]:
        """Operations by name."""
        return {op.name: op for op in self.ops}

    @property
    def input(self) -> Input:
        """The first operation."""
        first = self.ops[0]
        assert isinstance(first, Input)
        return first

    @property
    def decision(self) -> ArgMax | None:
        """The last operation, if it is an arg-max of one pixel, whose channels then are class scores."""
        last = self.ops[-1]
        return last if isinstance(last, ArgMax) and self.shape(last.source)[1:] == (1, 1) else None

    @property
    def classifies(self) -> bool:
        """Whether the Program ends in the arg-max of class scores, its `decision`; else it has raw outputs."""
        return self.decision is not None

    @property
    def output(self) -> str:
        """Name of the operation whose result the Program is run for: of a classifier its scores, else the last."""
        return self.ops[-1].name if self.decision is None else self.decision.source

    @property
    def classes(self) -> int:
        """Number of class scores; raises `UserError` where the Program is no classifier."""
        return self.shape(self._scores())[0]

    @property
    def score_format(self) -> Format:
        """Format of the scores; raises `UserError` where the Program is no classifier."""
        return self.format(self._scores())

    def _scores(self) -> str:
        if not self.classifies:
            shape = "x".join(map(str, self.shape(self.output)))
            raise UserError(
                f"class scores are needed, of a program that ends in their arg-max; this one gives the raw result of "
                f"{self.output!r}, {shape} of {self.format(self.output)}"
            )
        return self.output

    def shape(self, name: str) -> Shape:
        """(C, H, W) of an operation's result."""
        return self._inferred[name][0]

    def format(self, name: str) -> Format:
        """Format of an operation's result; of a convolution, average pool or product: its sums for any operands."""
        return self._inferred[name][1]

    def sum_range(self, name: str) -> tuple[int, int]:
        """Exact range of the sums of a convolution or average pool, for any weights of the format."""
        op = self.by_name[name]
        return op.sum_range(self.format(op.source))

    def offset_format(self, op: Requantise) -> Format:
        """Format of B."""
        return offset_format(self.format(op.source), op.factor_bits)

    @cached_property
    def _inferred(self) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for op in self.ops:
            try:
                result[op.name] = infer(op, result)
            except ValueError as error:
                raise ValueError(f"{op.name}: {error}") from error
        return result

    def _check_scores(self) -> None:
        """Raise ``ValueError`` where class scores could saturate: look at whatever makes their values, which moves and
        maxima only pass on."""
        if self.decision is None:
            return
        follow, seen = [self.output], set()
        while follow:
            name = follow.pop()
            if name in seen:
                continue
            seen.add(name)
            op = self.by_name[name]
            follow.extend(op.passed_on)
            if not op.passed_on:
                try:
                    op.check_scores([self._inferred[source] for source in op.sources])
                except ValueError as error:
                    raise ValueError(f"{self.decision.name}: {error}") from error

    @property
    def enlargement(self) -> int | None:
        """How many times the images that it makes are as large as its own, in both directions, 2 at least, or 1 where
        it has a task; None where it makes none."""
        if self.classifies or self.input.format != PIXEL or self.output not in self.steps:
            return None
        channels, height, width = self.input.shape
        shape = self.shape(self.output)
        scale = shape[1] // height
        known = scale > 1 or (scale == 1 and TASK_NAME in self.metadata)
        return scale if known and shape == (channels, scale * height, scale * width) else None

    def resized(self, height: int, width: int) -> "Program":
        """The same integers for an input of ``height`` by ``width``; raises `UserError` where an operation is of one
        size: a dense layer, a constant map, more pixels than a mean was made for."""
        channels, *own = self.input.shape
        if own == [height, width]:
            return self
        sized = replace(self.input, shape=(channels, height, width))
        try:
            return Program(ops=(sized, *self.ops[1:]), steps=self.steps, metadata=self.metadata)
        except ValueError as error:
            raise UserError(f"the network does not take images of {height}x{width}: {error}") from error

    def macs(self) -> int:
        """Terms of sums per image: those of all convolutions and products of tokens, of whatever kernel."""
        return sum(self.macs_of(op.name) for op in self.ops)

    def macs_of(self, name: str) -> int:
        """Terms of the sums of one operation per image; 0 where it makes none."""
        op = self.by_name[name]
        return op.macs(self.shape(name), [self._inferred[source] for source in op.sources])

    def parameters(self) -> int:
        """Number of integer weights."""
        return sum(op.parameters for op in self.ops)


def infer(op: Op, before: Mapping[str, tuple[Shape, Format]]) -> Tensor:
    """Shape and format of the result of ``op``, given those of the operations before it.

    Raises
    ------
    ValueError
        when ``op`` does not fit what it reads.
    """
    op.check_fields()
    return op.infer([Tensor(*before[name]) for name in op.sources])
