"""From the operations of a Program to the stages of a pipeline: what is computed, before how it is folded."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...quant.formats import Format, unsigned
from ...quant.ops.move import Move
from ...quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    Shape,
    SpatialShift,
    Threshold,
    Upsample,
    sum_bounds,
)  # fmt: skip
from ..activation.requantise import shift_bits
from ..lanes.shape import sum_format
from ..maps.join import CONCAT
from ..maps.move import MOVES

__all__ = ["PIXELS", "Stage", "stages_of"]

PIXELS = ""
"""What stands for the input where the name of a stage is asked for."""
Activation = Requantise | Threshold
_BUILT = (
    ArgMax, AveragePool, Concat, Convolution, Flatten, Input, MaxPool, PixelShuffle, Requantise, SpatialShift,
    Threshold, Upsample,
)  # fmt: skip
_KINDS = dict(zip((SpatialShift, PixelShuffle, Upsample), MOVES, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One stage: a window, an array or a pool behind it, and a requantise behind that where sums need one; or a move
    of pixels, or a join of streams.

    Attributes
    ----------
    name : of its first operation
    tensor : operation whose result leaves the stage
    reads : stages whose results it reads, `PIXELS` for the input: what its window slides over, then a residual; of a
        join the streams in their order
    x : format of the features it reads
    source, result : shape it reads and shape it makes
    weight : (O, I / groups, Kh, Kw) in the order of the pixel stream, None for a pool
    flattened : shape of the map that a dense layer reads as one pixel of many channels, else None
    groups : of the convolution
    window : kernel height and width
    total : format of the sums in the array
    requantise, threshold : what makes features of sums, one of them; both None for a max pool
    residual : format of the residual that the requantise adds, or None
    offset : format of B in the array's terms
    levels : thresholds per channel
    offsets : of a spatial shift, rows and columns by which each channel moves
    factor : of a pixel shuffle or an upsampling
    parts : of a join, the channels of each stream
    """

    SHAPE = (
        "name", "kind", "reads", "x", "source", "result", "groups", "window", "stride", "padding", "weight_format",
        "total", "residual", "offset", "terms", "channelwise", "even", "factor_bits", "shift_format", "levels", "y",
        "offsets", "factor", "parts",
    )  # fmt: skip
    """What the RTL of a reloadable build depends on; the rest is data."""

    name: str
    tensor: str
    reads: tuple[str, ...]
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
    flattened: Shape | None
    groups: int
    total: Format
    requantise: Requantise | None
    threshold: Threshold | None
    residual: Format | None
    offset: Format | None
    levels: int
    y: Format
    offsets: tuple[tuple[int, int], ...] = ()
    factor: int = 1
    parts: tuple[int, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether it moves pixels and computes nothing."""
        return self.kind in MOVES

    @property
    def joins(self) -> bool:
        """Whether it puts streams side by side."""
        return self.kind == CONCAT

    @property
    def terms(self) -> int:
        """Most powers of two in a factor of its requantise; 0: any."""
        return 0 if self.requantise is None else self.requantise.terms

    @property
    def channelwise(self) -> bool:
        """Whether its requantise has an S and R for every channel."""
        return self.requantise is not None and self.requantise.channelwise

    @property
    def shift_format(self) -> Format:
        """Of S of its requantise."""
        most = 0 if self.requantise is None else int(self.requantise.shifts.max())
        return unsigned(shift_bits(most))

    @property
    def shared_shift(self) -> int | None:
        """S of its requantise, where all channels share one."""
        if self.requantise is None or self.channelwise:
            return None
        return int(self.requantise.shifts[0])

    @property
    def even(self) -> bool:
        """Whether its requantise rounds ties to the even number."""
        return self.requantise is not None and self.requantise.ties == "even"

    @property
    def factor_bits(self) -> int:
        """Width of M of its requantise; 0 without one."""
        return 0 if self.requantise is None else self.requantise.factor_bits

    @property
    def macs(self) -> int:
        """Products per image; a pool has none."""
        if self.weight is None:
            return 0
        return int(np.prod(self.weight.shape[1:])) * int(np.prod(self.result))

    def filters(self, weight: NDArray[np.int64]) -> NDArray[np.int64]:
        """The weights of this stage, in its order, as those of the operation: the inverse of what `stages_of` did."""
        if self.flattened is None:
            return weight
        channels, height, width = self.flattened
        return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1, 1, 1)


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
    return _Grouping(program, fixed_weights).stages()


class _Grouping:
    """Walks over the operations once and remembers which stage makes which result."""

    def __init__(self, program: Program, fixed: bool):
        self.program = program
        self.fixed = fixed
        self.readers: dict[str, list[Op]] = {op.name: [] for op in program.ops}
        for reader in program.ops:
            for source in program.sources(reader):
                self.readers[source].append(reader)
        self.maker: dict[str, str] = {}  # of an operation's result: a stage, or the pixels

    def stages(self) -> tuple[Stage, ...]:
        found = []
        for op in self.program.ops:
            if not self.readers[op.name] and op is not self.program.ops[-1]:
                raise UserError(f"{op.name} is read by no operation; leave it out")
            if (stage := self._stage(op)) is not None:
                found.append(stage)
                self.maker[op.name] = stage.name
        if self._made(self.program.output) == PIXELS:
            raise UserError("the program has nothing to compute")
        return tuple(found)

    def _stage(self, op: Op) -> Stage | None:
        """The stage that ends with ``op``, if one does."""
        program = self.program
        self._check_order(op)
        match op:
            case Input():
                self.maker[op.name] = PIXELS
            case Requantise() | Threshold() if op is program.ops[1]:
                if len(self.readers[op.source]) > 1:
                    raise UserError(f"{op.source} is read besides {op.name}; the dataflow family takes pixels in once")
                self.maker[op.name] = PIXELS  # the input operation, see `entry`
            case Flatten():
                self.maker[op.name] = self.maker[op.source]
            case Convolution() | AveragePool():
                self._check_sums(op)
            case MaxPool():
                if op.source not in self.maker:
                    raise UserError(f"{op.name} pools sums; the dataflow family pools features, behind a requantise")
                return replace(_pooling(program, op), reads=(self._made(op.source),))
            case SpatialShift() | PixelShuffle() | Upsample():
                if op.source not in self.maker:
                    raise UserError(f"{op.name} moves sums; the dataflow family moves features, behind a requantise")
                return replace(_moving(program, op), reads=(self._made(op.source),))
            case Concat():
                sources = program.sources(op)
                return replace(_joining(program, op), reads=tuple(self._made(name) for name in sources))
            case Requantise() | Threshold():
                layer = program.by_name[op.source]
                made = _sums(program, layer if isinstance(layer, Convolution | AveragePool) else None, op, self.fixed)
                main = layer.source if isinstance(layer, Convolution | AveragePool) else op.source
                joined = (op.residual,) if isinstance(op, Requantise) and op.residual is not None else ()
                return replace(made, reads=tuple(self._made(name) for name in (main, *joined)))
            case ArgMax():
                self._made(op.source)
            case _:
                known = ", ".join(sorted(kind.__name__ for kind in _BUILT))
                raise UserError(f"{op.name}: the dataflow family cannot build {type(op).__name__}; it builds {known}")
        return None

    def _check_order(self, op: Op) -> None:
        """A stream brings a flattened map pixel by pixel, not channel by channel: only a dense layer's weights can
        follow."""
        flattened = any(_flattened_map(self.program, name) for name in self.program.sources(op))
        if flattened and not isinstance(op, Convolution | Flatten):
            raise UserError(f"{op.name} reads a flattened map; the dataflow family needs a dense layer before")
        if op is self.program.ops[-1] and _flattened_map(self.program, op.name):
            raise UserError(f"{op.name} gives a flattened map; the dataflow family gives the map, leave {op.name} out")

    def _check_sums(self, op: Convolution | AveragePool) -> None:
        readers = self.readers[op.name]
        if not readers:
            raise UserError(f"{op.name} gives sums; the dataflow family needs a requantise or thresholds behind it")
        if len(readers) > 1:
            raise UserError(
                f"{op.name} is read by {len(readers)} operations; sums go into one requantise or thresholds"
            )
        reader = readers[0]
        if not isinstance(reader, Requantise | Threshold) or reader.source != op.name:
            raise UserError(f"{op.name} must be followed by a requantise or thresholds in the dataflow family")

    def _made(self, name: str) -> str:
        if name not in self.maker:
            raise UserError(f"{name} gives sums; the dataflow family needs a requantise or thresholds behind it")
        return self.maker[name]


def _sums(program: Program, op: Convolution | AveragePool | None, activation: Activation, fixed: bool) -> Stage:
    """A stage whose sums become features; without a layer, a tensor that changes its grid: sums of one value."""
    read = activation.source if op is None else op.source
    x, source = program.format(read), program.shape(read)
    weight: NDArray[np.int64] | None = None
    weight_format, flattened, groups = None, None, 1
    kind, stride, padding, pad = "average", 1, 0, np.zeros(source[0], np.int64)
    lo, hi = (x.lo, x.hi) if op is None else program.sum_range(op.name)
    window = (1, 1)
    if isinstance(op, AveragePool):
        window, stride = op.window.kernel, _one(op.name, op.window.strides)
    elif op is not None:
        kind, pad, groups = op.kernel, op.pad, op.groups
        stride, padding = _one(op.name, op.window.strides), _one(op.name, op.window.pads)
        _one(op.name, (*op.window.dilations, 1))
        weight, weight_format = op.weight, op.weight_format
        flattened = _flattened_map(program, op.source)
        if flattened is not None:
            if weight.shape[2:] != (1, 1) or padding or stride != 1 or groups != 1:
                raise UserError(f"{op.name} reads a flattened map; there it must be a dense layer, without padding")
            # The stream brings the map pixel by pixel: its elements in their order are one pixel of many channels.
            weight = weight.reshape(-1, *flattened).transpose(0, 2, 3, 1).reshape(weight.shape)
        window = (weight.shape[2], weight.shape[3])
        if fixed:
            least, most = sum_bounds(op, x)
            lo, hi = min(0, int(least.min())), max(0, int(most.max()))
        if op.kernel == "xnor":
            lo, hi = 0, op.taps  # the array counts the pairs that are equal
    requantise = activation if isinstance(activation, Requantise) else None
    threshold = activation if isinstance(activation, Threshold) else None
    joined = None if requantise is None or requantise.residual is None else program.format(requantise.residual)
    return Stage(
        name=activation.name if op is None else op.name, tensor=activation.name, reads=(), kind=kind, x=x,
        source=source, result=program.shape(activation.name), window=window, stride=stride, padding=padding, pad=pad,
        weight=weight, weight_format=weight_format, flattened=flattened, groups=groups,
        total=sum_format(kind, lo, hi), requantise=requantise, threshold=threshold, residual=joined,
        offset=_offset(program, requantise, kind), levels=0 if threshold is None else threshold.thresholds.shape[1],
        y=activation.format,
    )  # fmt: skip


def _one(name: str, numbers: tuple[int, ...]) -> int:
    """The one number that all of ``numbers`` are."""
    if len(set(numbers)) > 1:
        raise UserError(f"{name}: the dataflow family builds windows of one stride and one padding, without dilation")
    return numbers[0]


def _offset(program: Program, op: Requantise | None, kind: str) -> Format | None:
    """Format of B. A binary array counts, ``acc = 2 * count - K``: there B takes ``-M * K`` as well."""
    if op is None:
        return None
    own = program.offset_format(op)
    return Format(bits=own.bits + 1, signed=True) if kind == "xnor" else own


def _flattened_map(program: Program, name: str) -> Shape | None:
    """Shape of the map, of several pixels, that the operation ``name`` flattens; None where it does not."""
    op = program.by_name[name]
    if not isinstance(op, Flatten):
        return None
    shape = program.shape(op.source)
    return _flattened_map(program, op.source) if shape[1:] == (1, 1) else shape


def _pooling(program: Program, op: MaxPool) -> Stage:
    fmt = program.format(op.source)
    source = program.shape(op.source)
    return replace(
        _plain(op.name, fmt, source, program.shape(op.name)), kind="max", window=op.window.kernel,
        stride=_one(op.name, op.window.strides), padding=_one(op.name, op.window.pads),
        pad=np.full(source[0], fmt.lo, np.int64),
    )  # fmt: skip


def _moving(program: Program, op: Move) -> Stage:
    fmt = program.format(op.source)
    source = program.shape(op.source)
    offsets = [(int(down), int(right)) for down, right in op.offsets] if isinstance(op, SpatialShift) else ()
    return replace(
        _plain(op.name, fmt, source, program.shape(op.name)), kind=_KINDS[type(op)], offsets=tuple(offsets),
        pad=op.pad if isinstance(op, SpatialShift) else np.zeros(source[0], np.int64),
        factor=1 if isinstance(op, SpatialShift) else op.factor,
    )  # fmt: skip


def _joining(program: Program, op: Concat) -> Stage:
    parts = tuple(program.shape(name)[0] for name in program.sources(op))
    return replace(
        _plain(op.name, program.format(op.source), program.shape(op.source), program.shape(op.name)), kind=CONCAT,
        parts=parts,
    )  # fmt: skip


def _plain(name: str, fmt: Format, source: Shape, result: Shape) -> Stage:
    """A stage that hands on what it reads."""
    return Stage(
        name=name, tensor=name, reads=(), kind="", x=fmt, source=source, result=result, window=(1, 1), stride=1,
        padding=0, pad=np.zeros(source[0], np.int64), weight=None, weight_format=None, flattened=None, groups=1,
        total=fmt, requantise=None, threshold=None, residual=None, offset=None, levels=0, y=fmt,
    )  # fmt: skip
