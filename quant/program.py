"""The integer Program: the one thing that the golden model, the RTL, the exports and the estimates read.

A Program is a list of operations in order of execution. Each names the operation whose result it reads. Tensors are
``(C, H, W)`` integers with a `Format`. No operation holds a float; real steps ride along as metadata that no integer
result depends on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

import numpy as np

from ..common.errors import UserError
from .formats import Format, format_for, signed, unsigned
from .ops.base import LATER, Ints, Op, Shape
from .ops.moves import Move, PixelShuffle, SpatialShift, Upsample, infer_move

__all__ = [
    "KERNELS", "OPERAND_BITS", "SHIFT_MAX", "TIES", "ArgMax", "AveragePool", "Concat", "Convolution", "Flatten",
    "Input", "Kernel", "MaxPool", "Op", "PixelShuffle", "Program", "Requantise", "Shape", "SpatialShift", "Threshold",
    "Upsample", "check_operands", "factor_bound", "infer", "offset_format", "per_channel", "powers_of_two",
    "score_format", "sum_bounds", "term_range", "threshold_format", "weight_values",
]  # fmt: skip

Kernel = str

KERNELS: tuple[Kernel, ...] = ("adder", "mult", "xnor", "shift")
OPERAND_BITS: dict[Kernel, tuple[tuple[int, int], tuple[int, int]]] = {
    "adder": ((2, 16), (2, 16)),
    "mult": ((2, 16), (1, 16)),
    "xnor": ((1, 1), (1, 1)),
    "shift": ((2, 16), (4, 4)),
}
"""Fewest and most bits of features and of weights. A weight of one bit is +1 or, as 0, -1."""
SHIFT_MAX = 64
"""Largest factor of the shift kernel: a weight is a sign above a code of three bits, 0 for zero, ``c`` for 2**(c-1)."""
MULTIPLIER_BITS = 16
"""Width of the factor M of a requantise, sign included, unless it says more. The most negative number is excluded, so
that -M fits as well."""
MOST_MULTIPLIER_BITS = 32
RESIDUAL_MULTIPLIER_BITS = 32
"""Width of the factor R. M and R share one shift; with 16 bits, an R of about 1 would leave a small M few digits."""
MAX_SHIFT = 47
"""Sums of 16-bit products have some 40 bits: to bring them to 16 bits with a factor of as many digits takes so much."""
MAX_PRODUCT_BITS = 61
"""Of a sum and its factor M together, and of a residual and R: acc * M + r * R + B then stays within 63 bits."""
MAX_RESIDUAL_BITS = MAX_PRODUCT_BITS - RESIDUAL_MULTIPLIER_BITS
TIES = ("up", "even")
"""Where a requantise rounds what lies in the middle of two integers: to the larger one, or to the even one."""
MAX_THRESHOLDS = 255
"""Per channel: results of up to 8 bits. Wider ones are cheaper to make with a factor."""
MAX_STEP = 1e100
"""Squares of 64-bit integers times a step still fit a float."""
SCORE_BYTE = 8
"""Scores are whole bytes, so that they can stand in a packet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Op):
    """Unsigned 8-bit pixels, as they are."""

    source: str = ""
    shape: Shape

    @property
    def format(self) -> Format:
        """Pixels are unsigned bytes."""
        return unsigned(8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Op):
    """``acc[o,y,x] = sum over taps f(x[i, y*s+ky-p, x*s+kx-p], w[o,i,ky,kx])``, exact.

    ``f`` is ``-abs(x - w)`` for the kernel ``adder``, ``x * w`` for ``mult`` and ``shift``, and for ``xnor`` +1 where
    both bits are equal, else -1. A tap outside the image reads ``pad[i]``. Dense layers are the 1x1 case on a
    ``(C, 1, 1)`` tensor.

    Attributes
    ----------
    weight : (O, I / groups, Kh, Kw), words of ``weight_format`` as the hardware stores them: a single bit is +1 or, as
        0, -1; a word of ``shift`` is a sign above a code, see `weight_values`
    weight_format : for ``adder`` the format of the tensor it reads: one grid for both operands
    pad : (I,) in the format of the tensor it reads
    groups : filters and channels are cut into so many parts; a filter reads the channels of its own part
    """

    kernel: Kernel
    weight: Ints
    weight_format: Format
    stride: int = 1
    padding: int = 0
    pad: Ints
    groups: int = 1

    @property
    def taps(self) -> int:
        """Number of products in one output: I / groups * Kh * Kw."""
        return int(np.prod(self.weight.shape[1:]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise(Op):
    """``y[o] = clamp((acc[o] * M[o] + r * R[o] + B[o]) >> S[o], lo, hi)``; ``>>`` floors.

    Batch norm, ReLU, rescaling and a residual in one operation. It reads sums, or a tensor that changes its grid, such
    as pixels that are normalised. B holds half a step, so that the floor rounds to the nearest integer, and ties up.

    Attributes
    ----------
    multiplier, offset : M and B, (O,)
    shift : S, 0..47: one number, or (O,) where channels differ
    lo, hi : within ``format``
    residual : name of the operation whose result is ``r``, or None
    residual_multiplier : R: one number, or (O,) where channels differ
    terms : M and R are sums of at most so many signed powers of two, so that no multiplier is needed; 0: any
    ties : one of `TIES`. ``even``: where all S[o] bits that are shifted out are 0, the sum was a tie before B's half
        came to it, and the lowest bit of what remains is cleared: 2.5 becomes 3, then 2. S is at least 1 then.
    factor_bits : width of M, sign included: an even number up to 32
    """

    multiplier: Ints
    offset: Ints
    shift: int | Ints
    format: Format
    lo: int
    hi: int
    residual: str | None = None
    residual_multiplier: int | Ints = 0
    terms: int = 0
    ties: str = field(default="up", metadata=LATER)
    factor_bits: int = field(default=MULTIPLIER_BITS, metadata=LATER)

    def __post_init__(self) -> None:
        # One number is said as one number, so that equal operations are equal files.
        for name in ("shift", "residual_multiplier"):
            value = getattr(self, name)
            if (
                isinstance(value, np.ndarray)
                and value.size
                and value.dtype == np.int64
                and (value == value.flat[0]).all()
            ):
                object.__setattr__(self, name, int(value.flat[0]))

    @property
    def shifts(self) -> Ints:
        """S of every channel, (O,)."""
        return per_channel(self.shift, len(self.multiplier))

    @property
    def residual_multipliers(self) -> Ints:
        """R of every channel, (O,)."""
        return per_channel(self.residual_multiplier, len(self.multiplier))

    @property
    def channelwise(self) -> bool:
        """Whether S or R differ from channel to channel."""
        return isinstance(self.shift, np.ndarray) or isinstance(self.residual_multiplier, np.ndarray)


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold(Op):
    """``y[o]`` = how many of ``thresholds[o]`` ``acc[o]`` reaches; where ``falling[o]``, how many it does not.

    Batch norm and an activation of few bits in one operation, without a factor. It reads sums or a tensor. The
    thresholds are for ``>=``; a source that fires on ``>`` brings them one higher.

    Attributes
    ----------
    thresholds : (O, n), ascending, within `threshold_format` of the tensor it reads
    falling : (O,), 0 or 1
    format : unsigned, holds n
    """

    thresholds: Ints
    falling: Ints
    format: Format


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Op):
    """The channels of ``source`` followed by those of ``others``, which have its format, height and width."""

    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Op):
    """The largest of a ``size`` x ``size`` window; a padded tap never wins."""

    size: int
    stride: int
    padding: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Op):
    """The *sum* of a ``size`` x ``size`` window, without padding; the requantise that reads it divides."""

    size: int
    stride: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Op):
    """``(C, H, W)`` to ``(C*H*W, 1, 1)`` in that order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Op):
    """The lowest index of the largest score; the end of a classifier."""


def per_channel(value: int | Ints, channels: int) -> Ints:
    """A number for all channels, or one for each, as (O,)."""
    return value if isinstance(value, np.ndarray) else np.full(channels, value, np.int64)


def check_operands(kernel: Kernel, x: Format, w: Format) -> None:
    """Raise ``ValueError`` when ``kernel`` has no term for features ``x`` and weights ``w``."""
    if kernel not in OPERAND_BITS:
        raise ValueError(f"kernel must be one of {', '.join(OPERAND_BITS)}, not {kernel!r}")
    for what, fmt, (least, most) in zip(("features", "weights"), (x, w), OPERAND_BITS[kernel], strict=True):
        if not least <= fmt.bits <= most:
            bits = f"{least} to {most} bits" if least < most else f"{least} bit{'s' * (least > 1)}"
            raise ValueError(f"{what} of the {kernel} kernel have {bits}, not {fmt.bits}")


def term_range(kernel: Kernel, x: Format, w: Format) -> tuple[int, int]:
    """Range of one product for any operands of the formats."""
    if kernel == "adder":
        return -max(x.hi - w.lo, w.hi - x.lo), 0
    if kernel == "xnor":
        return -1, 1
    largest = SHIFT_MAX if kernel == "shift" else 1
    lo, hi = (-largest, largest) if kernel == "shift" or w.bits == 1 else (w.lo, w.hi)
    products = [a * b for a in (x.lo, x.hi) for b in (lo, hi)]
    return min(products), max(products)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A checked sequence of operations from one `Input` to one `ArgMax`, or to raw outputs without one.

    Attributes
    ----------
    ops : an arg-max can only be the last; where there is none, the result of the last operation is the output
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
            for source in self.sources(op):
                if source not in seen:
                    raise ValueError(f"{op.name} reads {source!r}, which is not an earlier operation")
            if isinstance(op, Input) != (op is self.ops[0]):
                raise ValueError(f"{op.name}: a program has exactly one input, its first operation")
            if isinstance(op, ArgMax) and op is not self.ops[-1]:
                raise ValueError(f"{op.name}: a program has at most one arg-max, its last operation")
            seen.add(op.name)
        _ = self._inferred  # infer now, so that a Program that exists is a Program that fits

    @staticmethod
    def sources(op: Op) -> tuple[str, ...]:
        """Names of the operations that ``op`` reads."""
        if isinstance(op, Input):
            return ()
        if isinstance(op, Requantise) and op.residual is not None:
            return op.source, op.residual
        if isinstance(op, Concat):
            return op.source, *op.others
        return (op.source,)

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
    def classifies(self) -> bool:
        """Whether the Program ends in an arg-max of class scores; else it has raw outputs."""
        return isinstance(self.ops[-1], ArgMax)

    @property
    def output(self) -> str:
        """Name of the operation whose result the Program is run for: of a classifier its scores, else the last."""
        last = self.ops[-1]
        return last.source if isinstance(last, ArgMax) else last.name

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
                f"class scores are needed, of a program that ends in an arg-max; this one gives the raw result of "
                f"{self.output!r}, {shape} of {self.format(self.output)}"
            )
        return self.output

    def shape(self, name: str) -> Shape:
        """(C, H, W) of an operation's result."""
        return self._inferred[name][0]

    def format(self, name: str) -> Format:
        """Format of an operation's result; of a convolution or average pool: its accumulator for any weights."""
        return self._inferred[name][1]

    def sum_range(self, name: str) -> tuple[int, int]:
        """Exact range of the sums of a convolution or average pool, for any weights of the format."""
        op = self.by_name[name]
        x = self.format(op.source)
        if isinstance(op, AveragePool):
            return x.lo * op.size**2, x.hi * op.size**2
        assert isinstance(op, Convolution)
        lo, hi = term_range(op.kernel, x, op.weight_format)
        return lo * op.taps, hi * op.taps

    def offset_format(self, op: Requantise) -> Format:
        """Format of B."""
        return offset_format(self.format(op.source), op.factor_bits)

    @cached_property
    def _inferred(self) -> dict[str, tuple[Shape, Format]]:
        result: dict[str, tuple[Shape, Format]] = {}
        for op in self.ops:
            try:
                result[op.name] = infer(op, result, self.by_name)
            except ValueError as error:
                raise ValueError(f"{op.name}: {error}") from error
        return result

    def macs(self) -> int:
        """Products per image, all convolutions."""
        return sum(op.taps * int(np.prod(self.shape(op.name))) for op in self.ops if isinstance(op, Convolution))

    def parameters(self) -> int:
        """Number of integer weights."""
        return sum(op.weight.size for op in self.ops if isinstance(op, Convolution))


def infer(op: Op, before: Mapping[str, tuple[Shape, Format]], ops: Mapping[str, Op]) -> tuple[Shape, Format]:
    """Shape and format of the result of ``op``, given those of the operations before it.

    Raises
    ------
    ValueError
        when ``op`` does not fit what it reads.
    """
    for item in fields(op):
        value = getattr(op, item.name)
        if item.type is int and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"{item.name} must be an integer, not {value!r}")
        if item.type == int | Ints and (not isinstance(value, int | np.ndarray) or isinstance(value, bool)):
            raise ValueError(f"{item.name} must be an integer or one for each channel, not {value!r}")
        if item.type is str and not isinstance(value, str):
            raise ValueError(f"{item.name} must be text, not {value!r}")
        if item.type is Format and not isinstance(value, Format):
            raise ValueError(f"{item.name} must be a Format, not {value!r}")
        if item.type == Ints and not isinstance(value, np.ndarray):
            raise ValueError(f"{item.name} must be a numpy array of 64-bit integers, not {type(value).__name__}")
        if isinstance(value, np.ndarray) and value.dtype != np.int64:
            raise ValueError(f"{item.name} must be 64-bit integers, not {value.dtype}")
        if isinstance(value, Format) and value.hi >= 1 << 63:
            raise ValueError(f"{item.name} must fit signed 64-bit integers, in which tensors are held, not {value}")
    shape, fmt = before[op.source] if op.source else ((0, 0, 0), unsigned(1))
    channels, height, width = shape
    match op:
        case Input():
            whole = isinstance(op.shape, tuple) and all(type(n) is int and n > 0 for n in op.shape)
            if not whole or len(op.shape) != 3:
                raise ValueError(f"shape must be three positive integers, not {op.shape}")
            return op.shape, op.format
        case Convolution():
            return _infer_convolution(op, shape, fmt)
        case Requantise():
            _check_requantise(op, shape, fmt, before)
            return shape, op.format
        case Threshold():
            _check_threshold(op, shape, fmt)
            return shape, op.format
        case Concat():
            if not isinstance(op.others, tuple):
                raise ValueError(f"others must be a tuple of names, not {op.others!r}")
            for name in op.others:
                if before[name][1] != fmt or before[name][0][1:] != shape[1:]:
                    other = f"{name} ({before[name][1]}, {before[name][0]})"
                    raise ValueError(f"{other} cannot stand beside {op.source} ({fmt}, {shape})")
            return (channels + sum(before[name][0][0] for name in op.others), height, width), fmt
        case MaxPool():
            rows, columns = _windows(height, width, op.size, op.size, op.stride, op.padding)
            if op.padding >= op.size:
                raise ValueError(f"padding {op.padding} would make windows of {op.size}x{op.size} that see no pixel")
            return (channels, rows, columns), fmt
        case AveragePool():
            window = op.size**2
            return (channels, *_windows(height, width, op.size, op.size, op.stride, 0)), format_for(
                fmt.lo * window, fmt.hi * window
            )
        case SpatialShift() | PixelShuffle() | Upsample():
            return infer_move(op, shape, fmt)
        case Flatten():
            return (channels * height * width, 1, 1), fmt
        case ArgMax():
            if (height, width) != (1, 1):
                raise ValueError(f"arg-max reads one score per class, not a map of {height}x{width}")
            _check_never_saturates(op.source, ops, before)
            return (1, 1, 1), format_for(0, max(channels - 1, 1))
    raise ValueError(f"unknown operation {type(op).__name__}")


def _windows(height: int, width: int, kh: int, kw: int, stride: int, padding: int) -> tuple[int, int]:
    if min(kh, kw, stride) < 1 or padding < 0 or padding >= max(kh, kw, 2):
        raise ValueError(f"window {kh}x{kw}, stride {stride}, padding {padding} is not a window")
    rows, columns = height + 2 * padding - kh, width + 2 * padding - kw
    if rows < 0 or columns < 0:
        raise ValueError(f"window {kh}x{kw} is larger than the padded image {height}x{width}")
    return rows // stride + 1, columns // stride + 1


def _infer_convolution(op: Convolution, shape: Shape, fmt: Format) -> tuple[Shape, Format]:
    check_operands(op.kernel, fmt, op.weight_format)
    if op.groups < 1 or shape[0] % op.groups:
        raise ValueError(f"groups must divide {shape[0]} channels, not be {op.groups}")
    if op.weight.ndim != 4 or op.weight.shape[1] * op.groups != shape[0] or op.weight.size == 0:
        raise ValueError(f"weight of shape {op.weight.shape} does not fit a tensor of shape {shape}")
    outputs, _, kh, kw = op.weight.shape
    if outputs % op.groups:
        raise ValueError(f"groups must divide {outputs} filters, not be {op.groups}")
    if op.kernel == "adder" and op.weight_format != fmt:
        raise ValueError(f"an adder kernel needs one grid for both operands, not {fmt} and {op.weight_format}")
    if (op.weight_format.bits == 1 or op.kernel == "shift") and op.weight_format.signed:
        raise ValueError(
            f"weights of {op.kernel} are words whose sign has a meaning of its own, not {op.weight_format}"
        )
    if op.kernel == "xnor" and fmt.signed:
        raise ValueError("features of the xnor kernel are single unsigned bits, 0 for -1")
    if not op.weight_format.allows(op.weight):
        raise ValueError(f"weights leave {op.weight_format}: {op.weight.min()}..{op.weight.max()}")
    if op.pad.shape != (shape[0],) or not fmt.allows(op.pad):
        raise ValueError(f"pad must be {shape[0]} values of {fmt}")
    lo, hi = term_range(op.kernel, fmt, op.weight_format)
    rows, columns = _windows(shape[1], shape[2], kh, kw, op.stride, op.padding)
    return (outputs, rows, columns), format_for(lo * op.taps, hi * op.taps)


def sum_bounds(op: Convolution, x: Format) -> tuple[Ints, Ints]:
    """Smallest and largest sum of every filter of ``op``, each (O,), for any features of ``x``."""
    filters = weight_values(op).reshape(len(op.weight), -1)
    if op.kernel == "adder":
        outside = np.maximum(np.maximum(filters - x.hi, x.lo - filters), 0)
        return -np.maximum(np.abs(filters - x.lo), np.abs(x.hi - filters)).sum(1), -outside.sum(1)
    if op.kernel == "xnor":
        return np.full(len(filters), -op.taps), np.full(len(filters), op.taps)
    ends = np.stack([filters * x.lo, filters * x.hi])
    return ends.min(0).sum(1), ends.max(0).sum(1)


def weight_values(op: Convolution) -> Ints:
    """What the words of ``op.weight`` stand for, in the same shape: for ``shift`` 0, ±1, ±2, .. ±64, for words of a
    single bit ±1, else themselves."""
    if op.kernel == "shift":
        code, sign = op.weight & 7, op.weight >> 3
        return np.where(code == 0, 0, (1 - 2 * sign) << np.maximum(code - 1, 0))
    return 2 * op.weight - 1 if op.weight_format.bits == 1 else op.weight


def _check_requantise(op: Requantise, shape: Shape, fmt: Format, before: Mapping[str, tuple[Shape, Format]]) -> None:
    if op.ties not in TIES:
        raise ValueError(f"ties must be {' or '.join(TIES)}, not {op.ties!r}")
    if not MULTIPLIER_BITS <= op.factor_bits <= MOST_MULTIPLIER_BITS or op.factor_bits % 2:
        raise ValueError(
            f"factor_bits must be an even number in {MULTIPLIER_BITS}..{MOST_MULTIPLIER_BITS}, not {op.factor_bits}"
        )
    offset = offset_format(fmt, op.factor_bits)
    if op.multiplier.shape != (shape[0],) or op.offset.shape != (shape[0],):
        raise ValueError(f"M and B must be {shape[0]} values, not {op.multiplier.shape} and {op.offset.shape}")
    for what, values in (("S", op.shifts), ("R", op.residual_multipliers)):
        if values.shape != (shape[0],):
            raise ValueError(f"{what} must be one value, or {shape[0]}, not {values.shape}")
    bound, residual_bound = factor_bound(op.factor_bits), factor_bound(RESIDUAL_MULTIPLIER_BITS)
    if int(op.multiplier.min()) < -bound or int(op.multiplier.max()) > bound:
        raise ValueError(f"M must be in {-bound}..{bound}")
    if int(op.residual_multipliers.min()) < -residual_bound or int(op.residual_multipliers.max()) > residual_bound:
        raise ValueError(f"R must be in {-residual_bound}..{residual_bound}")
    if not offset.allows(op.offset):
        raise ValueError(f"B must fit {offset}, not {op.offset.min()}..{op.offset.max()}")
    least = 1 if op.ties == "even" else 0
    if not least <= int(op.shifts.min()) <= int(op.shifts.max()) <= MAX_SHIFT:
        raise ValueError(f"shift must be in {least}..{MAX_SHIFT}, not {op.shift}")
    if not op.format.lo <= op.lo <= op.hi <= op.format.hi:
        raise ValueError(f"clamp {op.lo}..{op.hi} leaves {op.format}")
    if op.residual is not None and before[op.residual][1].bits > MAX_RESIDUAL_BITS:
        raise ValueError(f"a residual of {before[op.residual][1]} is too wide; the limit is {MAX_RESIDUAL_BITS} bits")
    if op.residual is not None and before[op.residual][0] != shape:
        raise ValueError(f"residual of shape {before[op.residual][0]} does not fit {shape}")
    if op.terms:
        if op.terms < 0:
            raise ValueError(f"terms must be 0 or more, not {op.terms}")
        for value in (*op.multiplier.tolist(), *op.residual_multipliers.tolist()):
            if len(powers_of_two(value)) > op.terms:
                raise ValueError(f"factor {value} is no sum of {op.terms} signed powers of two")


def _check_threshold(op: Threshold, shape: Shape, fmt: Format) -> None:
    if op.thresholds.ndim != 2 or op.thresholds.shape[0] != shape[0] or op.thresholds.shape[1] < 1:
        raise ValueError(f"thresholds must be a row for each of {shape[0]} channels, not {op.thresholds.shape}")
    if op.falling.shape != (shape[0],) or not unsigned(1).allows(op.falling):
        raise ValueError(f"falling must be {shape[0]} values, 0 or 1")
    if op.thresholds.shape[1] > MAX_THRESHOLDS:
        raise ValueError(f"{op.thresholds.shape[1]} thresholds per channel are too many; the limit is {MAX_THRESHOLDS}")
    if op.format.signed or op.thresholds.shape[1] > op.format.hi:
        raise ValueError(f"{op.thresholds.shape[1]} thresholds do not fit {op.format}")
    if np.any(np.diff(op.thresholds, axis=1) < 0):
        raise ValueError("thresholds of a channel must ascend")
    if int(op.thresholds.min()) < fmt.lo or int(op.thresholds.max()) > fmt.hi + 1:
        raise ValueError(f"thresholds must be in {fmt.lo}..{fmt.hi + 1}")


def _check_never_saturates(name: str, ops: Mapping[str, Op], before: Mapping[str, tuple[Shape, Format]]) -> None:
    follow, seen = [name], set()
    while follow:
        source = follow.pop()
        op = ops[source]
        if source in seen:
            continue
        seen.add(source)
        if isinstance(op, Flatten | MaxPool | Concat | Move):
            follow.extend(Program.sources(op))
        elif isinstance(op, Requantise):
            _check_in_range(op, before)


def _check_in_range(op: Requantise, before: Mapping[str, tuple[Shape, Format]]) -> None:
    acc = before[op.source][1]
    residual = before[op.residual][1] if op.residual is not None else None
    joined = [bound * op.residual_multipliers for bound in (residual.lo, residual.hi)] if residual else [0]
    ends = [(bound * op.multiplier + op.offset + r) >> op.shifts for bound in (acc.lo, acc.hi) for r in joined]
    # A tie that goes to the even number may be one lower.
    if min(int(e.min()) for e in ends) - (op.ties == "even") < op.lo or max(int(e.max()) for e in ends) > op.hi:
        raise ValueError(f"scores could leave {op.lo}..{op.hi} and saturate")


def factor_bound(bits: int) -> int:
    """Largest magnitude of a factor of ``bits`` bits; the same on both sides of 0."""
    return (1 << (bits - 1)) - 1


def offset_format(accumulator: Format, factor_bits: int = MULTIPLIER_BITS) -> Format:
    """Format of B: as wide as the product that it is added to.

    Raises
    ------
    ValueError
        for sums so wide that their requantise would not fit 64-bit integers, in which the golden model computes.
    """
    most = MAX_PRODUCT_BITS - factor_bits
    if accumulator.bits > most:
        raise ValueError(f"sums of {accumulator.bits} bits are too wide to requantise; the limit is {most}")
    return signed(accumulator.bits + factor_bits)


def threshold_format(accumulator: Format) -> Format:
    """Format of a threshold: one more than the largest sum means never."""
    return format_for(accumulator.lo, accumulator.hi + 1)


def powers_of_two(value: int) -> tuple[int, ...]:
    """The fewest signed powers of two whose sum is ``value`` (its non-adjacent form), smallest first."""
    found = []
    place = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            found.append(digit << place)
            value -= digit
        value >>= 1
        place += 1
    return tuple(found)


def score_format(accumulator: Format) -> Format:
    """Format of class scores that can never saturate when no factor M / 2**S exceeds 1.

    ``|acc * M + B| >> S`` stays below twice the accumulator's range plus that of B, which is limited to the same.
    """
    return signed(-(-(accumulator.bits + 2) // SCORE_BYTE) * SCORE_BYTE)
