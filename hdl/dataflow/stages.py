"""From the operations of a Program to the stages of a pipeline: what is computed, before how it is folded.

Every kind of operation has an entry in `STAGES`, which makes the stage that ends with it. An operation from outside of
the package registers its own, with a kind of stage of its own where none of ours will do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...common.errors import UserError
from ...quant.formats import Format
from ...quant.ops.register import Register
from ...quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Constant,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    Shape,
    Slice,
    SpatialShift,
    Threshold,
    Upsample,
    sum_bounds,
)  # fmt: skip
from ..lanes.shape import sum_format
from ..maps.move import MOVES
from .kinds.activation import Activation, Requantised, Thresholded
from .kinds.cut import CutStage
from .kinds.join import JoinStage
from .kinds.layer import LayerStage
from .kinds.move import MoveStage
from .kinds.pool import AVERAGE, MAX, PoolStage
from .kinds.stage import Stage

__all__ = ["INPUT_STAGE", "STAGES", "Grouping", "Stage", "stages_of"]

INPUT_STAGE = ""
"""What stands for the input where the name of a stage is asked for."""
_KINDS = dict(zip((SpatialShift, PixelShuffle, Upsample), MOVES, strict=True))


def stages_of(program: Program, *, fixed_weights: bool = False) -> tuple[Stage, ...]:
    """Group the operations of ``program`` into stages, each behind those that it reads.

    Parameters
    ----------
    fixed_weights : size the accumulators for the weights of this Program, not for any of its formats

    Raises
    ------
    UserError
        for what the dataflow family cannot build, by name.
    """
    return Grouping(program, fixed_weights).stages()


class Grouping:
    """Walks over the operations once and remembers which stage makes which result.

    Attributes
    ----------
    fixed : accumulators are sized for the weights of this Program
    readers : operations that read each result
    """

    def __init__(self, program: Program, fixed: bool):
        self.program = program
        self.fixed = fixed
        self.readers: dict[str, list[Op]] = {op.name: [] for op in program.ops}
        for reader in program.ops:
            for source in program.sources(reader):
                self.readers[source].append(reader)
        self._maker: dict[str, str] = {}  # of an operation's result: a stage, or the pixels

    def stages(self) -> tuple[Stage, ...]:
        """All stages, in the order of the Program."""
        found = []
        for op in self.program.ops:
            if not self.readers[op.name] and op is not self.program.ops[-1]:
                raise UserError(f"{op.name} is read by no operation; leave it out")
            if (stage := self._stage(op)) is not None:
                found.append(stage)
                self._maker[op.name] = stage.name
        if self.made(self.program.output) == INPUT_STAGE:
            raise UserError("the program has nothing to compute")
        return tuple(found)

    def made(self, name: str) -> str:
        """The stage that makes the result of the operation ``name``, or `INPUT_STAGE`; a `UserError` where those are
        sums."""
        if name not in self._maker:
            raise UserError(f"{name} gives sums; the dataflow family needs a requantise or thresholds behind it")
        return self._maker[name]

    def features(self, op: Op, verb: str) -> str:
        """The stage, or `INPUT_STAGE`, whose features ``op`` reads; a `UserError` where it ``verb`` sums."""
        if op.source not in self._maker:
            raise UserError(f"{op.name} {verb} sums; the dataflow family {verb} features, behind a requantise")
        return self.made(op.source)

    def passes(self, op: Op, maker: str) -> None:
        """Remember that the result of ``op`` is what ``maker`` makes: a stage, or `INPUT_STAGE`."""
        self._maker[op.name] = maker

    def _stage(self, op: Op) -> Stage | None:
        """The stage that ends with ``op``, if one does."""
        self._check_order(op)
        entry = STAGES.find(op)
        if entry is None:
            known = ", ".join(sorted(kind.__name__ for kind in STAGES))
            raise UserError(f"{op.name}: the dataflow family cannot build {type(op).__name__}; it builds {known}")
        return entry(self, op)

    def _check_order(self, op: Op) -> None:
        """A stream brings a flattened map pixel by pixel, not channel by channel: only a dense layer's weights can
        follow."""
        flattened = any(_flattened_map(self.program, name) for name in self.program.sources(op))
        if flattened and not isinstance(op, Convolution | Flatten):
            raise UserError(f"{op.name} reads a flattened map; the dataflow family needs a dense layer before")
        if op is self.program.ops[-1] and _flattened_map(self.program, op.name):
            raise UserError(f"{op.name} gives a flattened map; the dataflow family gives the map, leave {op.name} out")


STAGES: Register[Callable[[Grouping, Any], Stage | None]] = Register("the dataflow family")
"""For each kind of operation the stage that ends with it; None where none does: its result then is one that another
stage makes, see `Grouping.passes`, or sums that the next operation takes."""


@STAGES.handles(Input)
def _input(grouping: Grouping, op: Input) -> None:
    grouping.passes(op, INPUT_STAGE)


@STAGES.handles(Flatten)
def _flatten(grouping: Grouping, op: Flatten) -> None:
    grouping.passes(op, grouping.made(op.source))


@STAGES.handles(ArgMax)
def _arg_max(grouping: Grouping, op: ArgMax) -> None:
    if op is not grouping.program.decision:
        raise UserError(f"{op.name}: the dataflow family cannot build ArgMax but behind class scores, at the end")
    grouping.made(op.source)


@STAGES.handles(Convolution, AveragePool)
def _check_sums(grouping: Grouping, op: Convolution | AveragePool) -> None:
    readers = grouping.readers[op.name]
    if not readers:
        raise UserError(f"{op.name} gives sums; the dataflow family needs a requantise or thresholds behind it")
    if len(readers) > 1:
        raise UserError(f"{op.name} is read by {len(readers)} operations; sums go into one requantise or thresholds")
    reader = readers[0]
    if not isinstance(reader, Requantise | Threshold) or reader.source != op.name:
        raise UserError(f"{op.name} must be followed by a requantise or thresholds in the dataflow family")


@STAGES.handles(Requantise, Threshold)
def _activated(grouping: Grouping, op: Requantise | Threshold) -> Stage | None:
    """A layer or a pool of sums, and what makes features of them; or the input operation, see `activation.entry`."""
    program = grouping.program
    if op is program.ops[1]:
        if len(grouping.readers[op.source]) > 1:
            raise UserError(f"{op.source} is read besides {op.name}; the dataflow family takes pixels in once")
        grouping.passes(op, INPUT_STAGE)
        return None
    layer = program.by_name[op.source]
    joined = (op.residual,) if isinstance(op, Requantise) and op.residual is not None else ()
    if isinstance(layer, Convolution):
        return _layer(grouping, layer, op, (layer.source, *joined))
    return _averaged(grouping, layer if isinstance(layer, AveragePool) else None, op, joined)


def _layer(grouping: Grouping, op: Convolution, made: Requantise | Threshold, reads: tuple[str, ...]) -> Stage:
    program = grouping.program
    x = program.format(op.source)
    lo, hi = program.sum_range(op.name)
    weight = op.weight
    flattened = _flattened_map(program, op.source)
    if flattened is not None:
        if weight.shape[2:] != (1, 1) or op.padding or op.stride != 1 or op.groups != 1:
            raise UserError(f"{op.name} reads a flattened map; there it must be a dense layer, without padding")
        # The stream brings the map pixel by pixel: its elements in their order are one pixel of many channels.
        weight = weight.reshape(-1, *flattened).transpose(0, 2, 3, 1).reshape(weight.shape)
    if grouping.fixed:
        least, most = sum_bounds(op, x)
        lo, hi = min(0, int(least.min())), max(0, int(most.max()))
    if op.kernel == "xnor":
        lo, hi = 0, op.taps  # the array counts the pairs that are equal
    return LayerStage(
        name=op.name, tensor=made.name, reads=tuple(grouping.made(name) for name in reads), kind=op.kernel, x=x,
        source=program.shape(op.source), result=program.shape(made.name), y=made.format,
        window=op.window.kernel, stride=op.stride, padding=op.padding, dilation=op.dilation, pad=op.pad,
        total=sum_format(op.kernel, lo, hi), activation=_activation(program, made, op.kernel), weight=weight,
        weight_format=op.weight_format, flattened=flattened, groups=op.groups, fixed=grouping.fixed,
    )  # fmt: skip


def _averaged(
    grouping: Grouping, op: AveragePool | None, made: Requantise | Threshold, joined: tuple[str, ...]
) -> Stage:  # fmt: skip
    """A pool whose sums become features; without one, a tensor that changes its grid: sums of one value."""
    program = grouping.program
    read = made.source if op is None else op.source
    x, source = program.format(read), program.shape(read)
    lo, hi = (x.lo, x.hi) if op is None else program.sum_range(op.name)
    size, stride = ((1, 1), 1) if op is None else (op.window.kernel, op.stride)
    return PoolStage(
        name=made.name if op is None else op.name, tensor=made.name,
        reads=tuple(grouping.made(name) for name in (read, *joined)), kind=AVERAGE, x=x, source=source,
        result=program.shape(made.name), y=made.format, window=size, stride=stride, padding=0,
        pad=np.zeros(source[0], np.int64), total=sum_format(AVERAGE, lo, hi),
        activation=_activation(program, made, AVERAGE),
    )  # fmt: skip


def _activation(program: Program, op: Requantise | Threshold, kind: str) -> Activation:
    """A binary array counts, ``acc = 2 * count - K``: there B takes ``-M * K`` as well."""
    if isinstance(op, Threshold):
        return Thresholded(op=op)
    own = program.offset_format(op)
    return Requantised(
        op=op, offset=Format(bits=own.bits + 1, signed=True) if kind == "xnor" else own,
        residual=None if op.residual is None else program.format(op.residual),
    )  # fmt: skip


def _flattened_map(program: Program, name: str) -> Shape | None:
    """Shape of the map, of several pixels, that the operation ``name`` flattens; None where it does not."""
    op = program.by_name[name]
    if not isinstance(op, Flatten):
        return None
    shape = program.shape(op.source)
    return _flattened_map(program, op.source) if shape[1:] == (1, 1) else shape


@STAGES.handles(MaxPool)
def _pooling(grouping: Grouping, op: MaxPool) -> Stage:
    program = grouping.program
    fmt = program.format(op.source)
    source = program.shape(op.source)
    return PoolStage(
        name=op.name, tensor=op.name, reads=(grouping.features(op, "pools"),), kind=MAX, x=fmt, source=source,
        result=program.shape(op.name), y=fmt, window=op.window.kernel, stride=op.stride, padding=op.padding,
        pad=np.full(source[0], fmt.lo, np.int64), total=fmt, activation=None,
    )  # fmt: skip


@STAGES.handles(SpatialShift, PixelShuffle, Upsample)
def _moving(grouping: Grouping, op: SpatialShift | PixelShuffle | Upsample) -> Stage:
    program = grouping.program
    fmt = program.format(op.source)
    source = program.shape(op.source)
    return MoveStage(
        name=op.name, tensor=op.name, reads=(grouping.features(op, "moves"),), kind=_KINDS[type(op)], x=fmt,
        source=source, result=program.shape(op.name), y=fmt,
        offsets=tuple((int(down), int(right)) for down, right in op.offsets) if isinstance(op, SpatialShift) else (),
        pad=op.pad if isinstance(op, SpatialShift) else np.zeros(source[0], np.int64),
        factor=1 if isinstance(op, SpatialShift) else op.factor,
    )  # fmt: skip


@STAGES.handles(Slice)
def _cutting(grouping: Grouping, op: Slice) -> Stage:
    program, fmt = grouping.program, grouping.program.format(op.source)
    return CutStage(
        name=op.name, tensor=op.name, reads=(grouping.features(op, "cuts"),), x=fmt, source=program.shape(op.source),
        result=program.shape(op.name), y=fmt, axis=op.axis, kept=op.kept,
    )  # fmt: skip


@STAGES.handles(Constant)
def _constant(grouping: Grouping, op: Constant) -> None:
    """Put in by the joins that read it."""
    for reader in grouping.readers[op.name]:
        if not isinstance(reader, Concat):
            raise UserError(f"{reader.name} reads the constant {op.name}; the dataflow family only joins constants")
    if (op.value != op.value[:, :1, :1]).any():
        raise UserError(
            f"{op.name} differs from pixel to pixel; the dataflow family joins constants that are equal for all pixels"
        )


@STAGES.handles(Concat)
def _joining(grouping: Grouping, op: Concat) -> Stage:
    if op.axis != "C":
        raise UserError(f"{op.name}: the dataflow family cannot build Concat along {op.axis}; it joins channels")
    program = grouping.program
    sources, fmt = program.sources(op), program.format(op.source)
    parts = [program.by_name[name] for name in sources]
    constants = {k: tuple(part.value[:, 0, 0].tolist()) for k, part in enumerate(parts) if isinstance(part, Constant)}
    streams = [name for k, name in enumerate(sources) if k not in constants]
    if not streams:
        raise UserError(f"{op.name} joins constants alone; make one constant of them")
    return JoinStage(
        name=op.name, tensor=op.name, reads=tuple(grouping.made(name) for name in streams), x=fmt,
        source=program.shape(streams[0]), result=program.shape(op.name), y=fmt,
        parts=tuple(program.shape(name)[0] for name in sources), constants=constants,
    )  # fmt: skip
