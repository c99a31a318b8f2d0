"""From the operations of a Program to the stages of a pipeline: what is computed, before how it is folded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..quant.formats import Format
from ..quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    MaxPool,
    Op,
    Program,
    Requantise,
    Shape,
    Threshold,
    weight_values,
)  # fmt: skip
from .lanes import sum_format

__all__ = ["Stage", "stages_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One stage: a window, an array or a pool behind it, and a requantise behind that where sums need one.

    Attributes
    ----------
    name : of its first operation
    x : format of the features it reads
    source, result : shape it reads and shape it makes
    weight : (O, I, Kh, Kw) in the order of the pixel stream, None for a pool
    window : kernel height and width
    total : format of the sums in the array
    requantise, threshold : what makes features of sums, one of them; both None for a max pool
    offset : format of B in the array's terms
    levels : thresholds per channel
    """

    SHAPE = (
        "name", "kind", "x", "source", "result", "window", "stride", "padding", "weight_format", "total", "offset",
        "levels", "y",
    )  # fmt: skip
    """What the RTL of a reloadable build depends on; the rest is data."""

    name: str
    kind: str
    x: Format
    source: Shape
    result: Shape
    window: tuple[int, int]
    stride: int
    padding: int
    pad: NDArray[np.int64]
    weight: NDArray[np.int64] | None
    weight_format: Format | None
    total: Format
    requantise: Requantise | None
    threshold: Threshold | None
    offset: Format | None
    levels: int
    y: Format

    @property
    def macs(self) -> int:
        """Products per image; a pool has none."""
        if self.weight is None:
            return 0
        return int(np.prod(self.weight.shape[1:])) * int(np.prod(self.result))


def stages_of(program: Program, *, fixed_weights: bool = False) -> tuple[Stage, ...]:
    """Group the operations of ``program`` into stages.

    Parameters
    ----------
    fixed_weights : size the accumulators for the weights of this Program, not for any of its formats

    Raises
    ------
    UserError
        for what the dataflow family cannot build, by name.
    """
    consumers: dict[str, list[Op]] = {op.name: [] for op in program.ops}
    for reader in program.ops:
        for source in program.sources(reader):
            consumers[source].append(reader)
    stages: list[Stage] = []
    op: Op = program.input
    flattened: Shape | None = None
    while not isinstance(op, ArgMax):
        following = consumers[op.name]
        if len(following) != 1:
            raise _fork(op, len(following))
        op = following[0]
        match op:
            case Requantise() | Threshold() if op is program.ops[1]:
                pass  # the input operation, see `entry`
            case Flatten():
                flattened = program.shape(op.source)
            case Convolution() | AveragePool():
                readers = consumers[op.name]
                if len(readers) > 1:
                    raise _fork(op, len(readers))
                activation = readers[0] if readers else None
                if not isinstance(activation, Requantise | Threshold):
                    raise UserError(f"{op.name} must be followed by a requantise or thresholds in the dataflow family")
                if isinstance(activation, Requantise) and activation.residual is not None:
                    raise UserError(f"{activation.name} joins a residual, which the dataflow family cannot build")
                stages.append(_accumulating(program, op, activation, flattened, fixed_weights))
                flattened = None
                op = activation
            case MaxPool():
                stages.append(_pooling(program, op))
            case ArgMax():
                if flattened is not None and flattened[1:] != (1, 1):
                    raise UserError(f"{op.name} reads a flattened map; the dataflow family needs a dense layer before")
            case _:
                raise UserError(f"{op.name}: the dataflow family cannot build {type(op).__name__}")
    if not stages:
        raise UserError("the program has nothing to compute")
    return tuple(stages)


def _fork(op: Op, readers: int) -> UserError:
    return UserError(f"{op.name} is read by {readers} operations; the dataflow family builds chains only")


def _accumulating(
    program: Program, op: Convolution | AveragePool, activation: Requantise | Threshold, flattened: Shape | None,
    fixed: bool,
) -> Stage:  # fmt: skip
    x = program.format(op.source)
    source = program.shape(op.source)
    lo, hi = program.sum_range(op.name)
    if isinstance(op, AveragePool):
        window, stride, padding, weight, weight_format = (op.size, op.size), op.stride, 0, None, None
        kind, pad = "average", np.zeros(source[0], np.int64)
    else:
        if op.groups != 1:
            raise UserError(f"{op.name} has {op.groups} groups; the dataflow family builds convolutions of one group")
        stride, padding, pad, kind = op.stride, op.padding, op.pad, op.kernel
        weight, weight_format = op.weight, op.weight_format
        # A dense layer behind a flatten is a convolution whose window is the whole map: the stream brings that map
        # pixel by pixel, so (O, C*H*W, 1, 1) read as (O, C, H, W) is all the permutation there is.
        if flattened is not None and flattened[1:] != (1, 1):
            if weight.shape[2:] != (1, 1) or padding or stride != 1:
                raise UserError(f"{op.name} reads a flattened map; there it must be a dense layer, without padding")
            weight, source = weight.reshape(len(weight), *flattened), flattened
            pad = np.zeros(source[0], np.int64)
        window = (weight.shape[2], weight.shape[3])
        if fixed:
            lo, hi = _actual_range(op, x)
        if op.kernel == "xnor":
            lo, hi = 0, op.taps  # the array counts the pairs that are equal
    requantise = activation if isinstance(activation, Requantise) else None
    threshold = activation if isinstance(activation, Threshold) else None
    return Stage(
        name=op.name, kind=kind, x=x, source=source, result=program.shape(activation.name), window=window,
        stride=stride, padding=padding, pad=pad, weight=weight, weight_format=weight_format,
        total=sum_format(kind, lo, hi), requantise=requantise, threshold=threshold,
        offset=_offset(program, requantise, kind), levels=0 if threshold is None else threshold.thresholds.shape[1],
        y=activation.format,
    )  # fmt: skip


def _offset(program: Program, op: Requantise | None, kind: str) -> Format | None:
    """Format of B. A binary array counts, ``acc = 2 * count - K``: there B takes ``-M * K`` as well."""
    if op is None:
        return None
    own = program.offset_format(op)
    return Format(bits=own.bits + 1, signed=True) if kind == "xnor" else own


def _actual_range(op: Convolution, x: Format) -> tuple[int, int]:
    """Range of the sums of these weights for any features."""
    filters = weight_values(op).reshape(len(op.weight), -1)
    if op.kernel == "adder":
        return -int(np.maximum(np.abs(filters - x.lo), np.abs(x.hi - filters)).sum(1).max()), 0
    ends = np.stack([filters * x.lo, filters * x.hi])
    return min(0, int(ends.min(0).sum(1).min())), max(0, int(ends.max(0).sum(1).max()))


def _pooling(program: Program, op: MaxPool) -> Stage:
    fmt = program.format(op.source)
    source = program.shape(op.source)
    return Stage(
        name=op.name, kind="max", x=fmt, source=source, result=program.shape(op.name), window=(op.size, op.size),
        stride=op.stride, padding=op.padding, pad=np.full(source[0], fmt.lo, np.int64), weight=None,
        weight_format=None, total=fmt, requantise=None, threshold=None, offset=None, levels=0, y=fmt,
    )  # fmt: skip
