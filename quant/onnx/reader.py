"""A foreign ONNX graph half read: its constants, and each of its tensors as what a Program holds of it.

The file sees a tensor of any number of axes, which it flattens and transposes at will; a Program holds a map (C, H, W).
`Tensor` keeps both, so that a flatten or a transposition costs nothing until a dense layer or a constant asks for it.
What lies between two quantisers waits in a `Pending`, max pools of sums too: they move behind the quantiser.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ..fold.assembly import Assembly, Bits, Pending, Stored
from ..formats import Format, format_for, signed, unsigned
from ..program import (
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    MaxPool,
    Op,
    PixelShuffle,
    Requantise,
    Shape,
    Threshold,
    Upsample,
)  # fmt: skip
from .attributes import Window
from .graph import constants_of, datatypes

__all__ = ["Constant", "Floats", "Given", "Grid", "Handler", "Ints", "Joined", "Reader", "Tensor", "one_number"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Given = dict[str, Any]
_NEEDS_QUANTISER = "needs a quantiser in front, so that it is integers"
_CLOSE = 1e-6
"""How far a pixel may be from a whole number that stands for 0: no more than float32 makes of it."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the network.

    Attributes
    ----------
    value : integers, bits, or sums that wait for a quantiser
    shape : its axes in the file, without the batch
    order : for each element its place in the map, channel by channel and row by row, in ``shape``; None: that order
    low, high : limits of the real value, of a ReLU or a Clip behind ``value``
    pools : max pools behind all of that, to be done behind the quantiser; (C, H, W) of ``value`` is before them
    falls : (C,), channels whose value was multiplied by a negative number behind the pools; None: none
    flattened : node that made one axis of all
    ended : kind of the operation, such as Softmax, behind class scores, which was left out
    """

    value: Stored | Bits | Pending
    shape: tuple[int, ...]
    order: Ints | None = None
    low: float = -math.inf
    high: float = math.inf
    pools: tuple[tuple[str, Window], ...] = ()
    falls: NDArray[np.bool_] | None = None
    flattened: str = ""
    ended: str = ""

    @property
    def op(self) -> str:
        """Operation of the Program whose result it is made of."""
        return self.value.op

    @property
    def limited(self) -> bool:
        """Whether a ReLU or a Clip waits for a quantiser."""
        return self.low > -math.inf or self.high < math.inf


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Channels side by side that have no common grid yet: a quantiser behind them gives it."""

    parts: tuple[Tensor, ...]
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What QuantizeLinear makes, before DequantizeLinear reads it: integers ``lo..hi``, of which ``zero`` is 0."""

    tensor: Tensor | Joined
    scale: float
    zero: int
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A quantised constant: ``integers * scale``, signs where ``format`` has one bit; both of one shape."""

    integers: Ints
    scale: Floats
    format: Format

    @property
    def real(self) -> Floats:
        """Its values."""
        return np.asarray(self.integers * self.scale, np.float64)

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "Constant":
        """The same, transposed or reshaped."""
        return replace(self, integers=change(self.integers), scale=change(self.scale))

    def per_output(self) -> Floats:
        """One scale for every output, the first axis."""
        rows = self.scale.reshape(len(self.scale), -1)
        if np.any(rows != rows[:, :1]):
            raise ValueError(f"weights {self.integers.shape} must have one scale, or one per output")
        return np.asarray(rows[:, 0], np.float64)


Handler = Callable[["Reader", NodeProto, Given], None]


def one_number(values: NDArray[Any], what: str) -> float:
    """The one number in ``values``, which may repeat it; raises ``ValueError`` for several."""
    found = np.unique(np.asarray(values, np.float64))
    if len(found) != 1:
        raise ValueError(f"{what} must have one value, not {found[:4].tolist()}")
    return float(found[0])


@dataclass
class _Names:
    """What the file calls things."""

    constants: dict[str, NDArray[Any]]
    quantised: dict[str, Constant] = field(default_factory=dict)
    tensors: dict[str, Tensor | Joined | Grid] = field(default_factory=dict)


class Reader(Assembly):
    """A Program in the making, and the names of the file for what it holds so far.

    Attributes
    ----------
    batch : images that the file says it takes at once
    input_said : whether scale or offset of the pixels are known
    annotated : datatypes that qonnx notes beside tensors
    """

    def __init__(self, model: ModelProto, path: Path):
        super().__init__(ties="even", exact=True)
        self.model = model
        self.path = path
        self.batch = 1
        self.input_said = False
        self.annotated = datatypes(model)
        names = _Names(constants=constants_of(model))
        self.constants, self.quantised, self.tensors = names.constants, names.quantised, names.tensors

    def named(self, text: str) -> str:
        """A name for an operation, without what exporters put before it."""
        # A name that is no UTF-8 comes as bytes.
        return self.unique(re.sub(r"^(node)?[_/]*", "", str(text)) or "layer")

    # What nodes read

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` is known without an image."""
        return name in self.constants or name in self.quantised

    def constant(self, name: str) -> NDArray[Any]:
        """A constant's real values, quantised or not."""
        if name in self.quantised:
            return self.quantised[name].real
        if name not in self.constants:
            raise ValueError(f"input {name!r} must be a constant")
        values = self.constants[name]
        if values.dtype.kind not in "fiub" and values.dtype.name not in ("bfloat16", "int4", "uint4"):
            raise ValueError(f"constant {name!r} must hold numbers, not {values.dtype}")
        return values

    def optional(self, node: NodeProto, position: int) -> NDArray[Any] | None:
        """A constant that a node may leave out."""
        given = len(node.input) > position and node.input[position]
        return self.constant(node.input[position]) if given else None

    def any_tensor(self, name: str) -> Tensor | Joined:
        """A tensor of the network that a quantiser reads, which may be several side by side."""
        if name not in self.tensors:
            raise ValueError(f"input {name!r} must be a tensor of the network")
        found = self.tensors[name]
        if isinstance(found, Grid):
            raise ValueError(f"input {name!r} is what QuantizeLinear makes; only a DequantizeLinear can read it")
        if isinstance(found, Tensor) and found.ended:
            raise ValueError(f"input {name!r} comes from a {found.ended}, which can only stand behind the class scores")
        return found

    def tensor(self, name: str) -> Tensor:
        """A tensor of the network."""
        found = self.any_tensor(name)
        if isinstance(found, Joined):
            steps = [part.value.step if isinstance(part.value, Stored) else None for part in found.parts]
            shown = ", ".join("none yet" if step is None else f"{step:g}" for step in steps)
            raise ValueError(f"what it joins must have one scale, not {shown}")
        return found

    def map_of(self, tensor: Tensor) -> Shape:
        """(C, H, W) of a tensor, its pools done."""
        channels, *size = self.shape(tensor.op)
        height, width = size
        for _, window in tensor.pools:
            height, width = window.result((height, width))
        return channels, height, width

    def is_map(self, tensor: Tensor) -> bool:
        """Whether the file sees channels, then rows and columns, or one line of them."""
        channels, height, width = self.map_of(tensor)
        line = tensor.shape == (channels, width) and height == 1
        return tensor.order is None and (line or tensor.shape == (channels, height, width))

    def image(self, name: str) -> Tensor:
        """A tensor that the file sees as a map."""
        tensor = self.tensor(name)
        if len(tensor.shape) < 2 or not self.is_map(tensor):
            raise ValueError(f"input {name!r} must be images (N, C, H, W), not {('N', *tensor.shape)}")
        return tensor

    def pending(self, tensor: Tensor) -> Pending:
        """Its value as something that can be requantised."""
        return tensor.value if isinstance(tensor.value, Pending) else self.pending_of(tensor.value)

    def is_sums(self, tensor: Tensor) -> bool:
        """Whether it is made of sums, which no operation but a requantise should read."""
        return isinstance(self.ops[tensor.op], Convolution | AveragePool)

    def features(self, tensor: Tensor, name: str) -> tuple[Tensor, float]:
        """``tensor``, called ``name``, as integers: ``step * integer + offset`` is its value. Bits stay bits."""
        if isinstance(tensor.value, Stored | Bits):
            return tensor, 0.0
        value = tensor.value
        gain, offset = value.gain, value.bias - value.gain * value.centre
        plain = value.residual is None and not self.is_sums(tensor) and not tensor.pools
        if not plain or np.any(gain != gain[0]) or np.any(offset != offset[0]) or gain[0] == 0:
            raise ValueError(f"input {name!r} {_NEEDS_QUANTISER}")
        step, moved = float(gain[0]), float(offset[0])
        if self.format(value.op).bits == 1:
            # Bits b are read as the numbers 2 * b - 1.
            numbers = self.numbers_of(Bits(op=value.op, step=step / 2))
            found, moved = replace(tensor, value=numbers), moved + step / 2
        else:
            found = replace(tensor, value=Stored(op=value.op, step=step))
        if not tensor.limited:
            return found, moved
        if (tensor.low, tensor.high, moved) != (0, math.inf, 0) or step < 0:
            raise ValueError(f"input {name!r} {_NEEDS_QUANTISER}")
        return self._positive(found), 0.0

    def _positive(self, tensor: Tensor) -> Tensor:
        """The integers of a tensor behind its ReLU."""
        fmt, ones = self.format(tensor.op), np.ones(self.shape(tensor.op)[0], np.int64)
        held = fmt if not fmt.signed else unsigned(max(fmt.bits - 1, 2))
        op = Requantise(
            name=self.unique(f"{tensor.op}_relu"), source=tensor.op, multiplier=ones, offset=0 * ones, shift=0, lo=0,
            hi=min(max(fmt.hi, 0), held.hi), format=held,
        )  # fmt: skip
        assert isinstance(tensor.value, Stored)
        step = tensor.value.step
        return replace(tensor, value=Stored(op=self.emit(op, step), step=step), low=-math.inf)

    def shifted(self, tensor: Tensor, name: str) -> Stored | Bits:
        """The integers of a tensor whose offset is a whole number of steps, offset included."""
        read, offset = self.features(tensor, name)
        value = read.value
        if not offset or not isinstance(value, Stored):
            assert not isinstance(value, Pending)
            return value
        added, fmt = -self.zero_of(value, offset, name, outside=True), self.format(value.op)
        held, ones = format_for(fmt.lo + added, fmt.hi + added), np.ones(self.shape(value.op)[0], np.int64)
        op = Requantise(
            name=self.unique(f"{value.op}_moved"), source=value.op, multiplier=ones, offset=added * ones, shift=0,
            lo=held.lo, hi=held.hi, format=held,
        )  # fmt: skip
        return replace(value, op=self.emit(op, value.step))

    # Constants along axes

    def along(self, tensor: Tensor, values: NDArray[Any], axis: int = 0) -> tuple[Tensor, Floats]:
        """`spread` of (n,) values that belong to one axis, of those behind the batch."""
        values = np.asarray(values).reshape(-1)
        if axis >= len(tensor.shape):
            raise ValueError(f"a tensor of shape {('N', *tensor.shape)} has no channels")
        if values.size not in (1, tensor.shape[axis]):
            raise ValueError(f"{values.size} values do not fit the {tensor.shape[axis]} channels of its input")
        return self.spread(tensor, values.reshape((1,) * (axis + 1) + (-1,) + (1,) * (len(tensor.shape) - axis - 1)))

    def spread(self, tensor: Tensor, values: NDArray[Any]) -> tuple[Tensor, Floats]:
        """A constant that is broadcast over a tensor, last axes aligned, as one number per channel of the map.

        Returns
        -------
        the tensor, flattened in the Program where each element has a number of its own; (C,)
        """
        target = (1, *tensor.shape)
        channels = self.map_of(tensor)[0]
        if values.ndim <= len(target) and values.size == 1:
            return tensor, np.full(channels, float(values.reshape(-1)[0]))
        try:
            fits = values.ndim <= len(target) and np.broadcast_shapes(values.shape, target) == target
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"a constant of shape {values.shape} cannot be spread over a tensor of shape {('N', *tensor.shape)}; "
                f"its last axes must be those of the tensor"
            )
        placed = np.broadcast_to(values, target).reshape(-1).astype(np.float64)
        if tensor.order is not None:
            there = np.empty_like(placed)
            there[tensor.order.reshape(-1)] = placed
            placed = there
        rows = placed.reshape(channels, -1)
        if np.all(rows == rows[:, :1]):
            return tensor, rows[:, 0].copy()
        if max(tensor.shape) != math.prod(tensor.shape):
            raise ValueError(f"a constant of shape {values.shape} is neither one number nor one per channel")
        return self.flat(tensor), placed

    def flat(self, tensor: Tensor) -> Tensor:
        """A tensor whose map is (C * H * W, 1, 1) in the Program as well."""
        value = tensor.value
        if self.map_of(tensor)[1:] == (1, 1) and not tensor.pools:
            return tensor
        if tensor.pools:
            tensor = self.pooled_sums(tensor)
            value = tensor.value
        _, height, width = self.shape(value.op)
        if isinstance(value, Pending):
            if value.residual is not None:
                raise ValueError("an addition needs a quantiser before it is flattened")
            gain, centre, bias = (np.repeat(part, height * width) for part in (value.gain, value.centre, value.bias))
            value = replace(value, gain=gain, centre=centre, bias=bias)
        name = self.named(tensor.flattened or f"{value.op}_flat")
        self.emit(Flatten(name=name, source=value.op), value.step if isinstance(value, Stored) else None)
        return replace(tensor, value=replace(value, op=name))

    # From real values to integers

    def quantise(
        self, tensor: Tensor | Joined, *, step: float, lo: int, hi: int, format: Format, ties: str = "even",
        lift: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """``tensor`` on the grid of ``step``, as integers ``lo..hi``, with its pools behind.

        Parameters
        ----------
        ties : which way a half is rounded, ``even`` or ``up``
        lift : in steps, added before it is rounded: -1/2, with ties up, rounds down
        """
        if isinstance(tensor, Joined):
            parts = [
                self.quantise(part, step=step, lo=lo, hi=hi, format=format, ties=ties, lift=lift)
                for part in tensor.parts
            ]
            return self.beside(parts, tensor.shape, tensor.name)
        value = tensor.value
        if isinstance(value, Stored) and value.step == step and not tensor.limited and not tensor.pools:
            least, most = self._range(value.op)
            if lo <= least and most <= hi:
                return tensor  # it is on that grid already
        waiting = self.pending(tensor)
        if lift:
            waiting = replace(waiting, bias=waiting.bias + lift * step)
        limits = np.clip(np.array([tensor.low, tensor.high]) / step, lo - 1, hi + 1)
        rounded = np.floor(limits + lift + 0.5) if ties == "up" else np.rint(limits)
        ends = [int(end) for end in np.clip(rounded, lo, hi)]
        self.ties = ties
        name = self.named(f"{value.op}_out")
        made = self.requantise(name, waiting, step, format, lo=ends[0], hi=max(ends))
        self.ties = "even"
        return self._behind_pools(tensor, made, max(ends) + ends[0])

    def _range(self, name: str) -> tuple[int, int]:
        """Least and greatest of a tensor, as far as the operations that clamp it say."""
        op = self.ops[name]
        if isinstance(op, Requantise):
            return op.lo, op.hi
        if isinstance(op, MaxPool | Flatten | PixelShuffle | Upsample):
            return self._range(op.source)
        return self.format(name).lo, self.format(name).hi

    def signs(self, tensor: Tensor, thresholds: Ints, falling: Ints, step: float) -> Tensor:
        """``tensor`` as bits, +1 where its integers reach ``thresholds`` (C, 1), or do not where ``falling``."""
        op = Threshold(
            name=self.named(f"{tensor.op}_sign"), source=tensor.op, thresholds=thresholds, falling=falling,
            format=unsigned(1),
        )  # fmt: skip
        return self._behind_pools(tensor, Bits(op=self.emit(op), step=step), 1)

    def counts(self, tensor: Tensor, thresholds: Ints, falling: Ints, step: float) -> Tensor:
        """``tensor`` as how many of its channel's ``thresholds`` (C, n) it reaches."""
        most = thresholds.shape[1]
        op = Threshold(
            name=self.named(f"{tensor.op}_out"), source=tensor.op, thresholds=thresholds, falling=falling,
            format=unsigned(max(most.bit_length(), 2)),
        )  # fmt: skip
        return self._behind_pools(tensor, Stored(op=self.emit(op, step), step=step), most)

    def _behind_pools(self, tensor: Tensor, made: Stored | Bits, both_ends: int) -> Tensor:
        """The pools that waited, of what a quantiser made of the tensor before them; ``both_ends`` is lo + hi."""
        found = replace(tensor, value=made, low=-math.inf, high=math.inf, pools=(), falls=None)
        turned, were_bits = tensor.pools and tensor.falls is not None, isinstance(made, Bits)
        # The largest before a falling channel is the smallest behind it: lo + hi - max(lo + hi - y).
        if turned:
            made = self._turned(made, tensor.falls, both_ends)
        for name, window in tensor.pools:
            made = self.max_pool(name, made, window)
        if turned:
            numbers = were_bits and isinstance(made, Stored)  # -1 and +1, no longer 0 and 1
            made = self._turned(made, tensor.falls, 0 if numbers else both_ends)
        return replace(found, value=made)

    def _turned(self, value: Stored | Bits, falls: NDArray[np.bool_] | None, both_ends: int) -> Stored | Bits:
        """``both_ends - y`` for the channels that fall."""
        assert falls is not None
        name, fmt = self.unique(f"{value.op}_turned"), self.format(value.op)
        if isinstance(value, Bits):
            ones = np.ones((len(falls), 1), np.int64)
            op: Op = Threshold(
                name=name, source=value.op, thresholds=ones, falling=falls.astype(np.int64), format=unsigned(1)
            )
            return replace(value, op=self.emit(op))
        op = Requantise(
            name=name, source=value.op, multiplier=np.where(falls, -1, 1), offset=np.where(falls, both_ends, 0),
            shift=0, lo=fmt.lo, hi=fmt.hi, format=fmt,
        )  # fmt: skip
        return replace(value, op=self.emit(op, value.step))

    # Operations that several nodes make

    def beside(self, parts: list[Tensor], shape: tuple[int, ...], name: str) -> Tensor:
        """Channels of tensors on one grid side by side, in one format."""
        values = [part.value for part in parts]
        bits = all(isinstance(value, Bits) for value in values)
        if not bits:
            values = [self.numbers_of(value) if isinstance(value, Bits) else value for value in values]
        first = values[0]
        assert isinstance(first, Stored | Bits)
        formats = [self.format(value.op) for value in values]
        wide = format_for(min(fmt.lo for fmt in formats), max(fmt.hi for fmt in formats))
        sources = [value.op if fmt == wide else self._widened(value.op, wide, first.step)
                   for value, fmt in zip(values, formats, strict=True)]  # fmt: skip
        op = Concat(name=self.named(name), source=sources[0], others=tuple(sources[1:]))
        made = replace(first, op=self.emit(op, None if bits else first.step))
        return Tensor(value=made, shape=shape)

    def _widened(self, source: str, fmt: Format, step: float) -> str:
        ones = np.ones(self.shape(source)[0], np.int64)
        return self.emit(
            Requantise(
                name=self.unique(f"{source}_wide"), source=source, multiplier=ones, offset=0 * ones, shift=0,
                lo=fmt.lo, hi=fmt.hi, format=fmt,
            ),
            step,
        )  # fmt: skip

    def max_pool(self, name: str, value: Stored | Bits, window: Window) -> Stored | Bits:
        """The largest of windows of integers or bits."""
        _, height, width = self.shape(value.op)
        rows, columns = window.result((height, width))
        stride, (kh, kw), size = window.stride((height, width)), window.kernel, max(window.kernel)
        pads = list(window.evenly((height, width)).pads)
        if kh != kw:
            # A window over all of an axis may see more of what never wins.
            short = 0 if kh < kw else 1
            if (rows, columns)[short] != 1:
                raise ValueError(f"it needs equal kernel_shape in all directions, not {[kh, kw]}")
            pads[short + 2] += size - min(kh, kw)
        if len(set(pads)) > 1 or pads[0] >= size:
            if isinstance(value, Bits):
                value = self.numbers_of(value)  # a convolution that copies reads no single bits
            value = self.framed(name, value, (pads[0], pads[1], pads[2], pads[3]), self.format(value.op).lo)
            pads = [0]
        op = MaxPool(name=self.named(name), source=value.op, size=size, stride=stride, padding=pads[0])
        return replace(value, op=self.emit(op, value.step if isinstance(value, Stored) else None))

    def pooled_sums(self, tensor: Tensor) -> Tensor:
        """``tensor`` with its pools done on the sums, which rise with it."""
        value = self.pending(tensor)
        if not np.all(value.gain > 0) or value.residual is not None or tensor.falls is not None:
            raise ValueError("a max pool of sums needs a quantiser in front")
        op = value.op
        for name, window in tensor.pools:
            op = self.max_pool(name, Stored(op=op, step=1.0), window).op
            self.steps.pop(op, None)
        return replace(tensor, value=replace(value, op=op), pools=())

    def framed(self, name: str, value: Stored, pads: tuple[int, int, int, int], fill: int) -> Stored:
        """A map with rows and columns of ``fill`` around it, by a convolution that copies."""
        channels, fmt = self.shape(value.op)[0], self.format(value.op)
        copied = self.convolve(
            f"{name}_copy", value.op, np.ones((channels, 1, 1, 1), np.int64), signed(2),
            Window(kernel=(1, 1), pads=pads), groups=channels, fill=fill,
        )  # fmt: skip
        ones = np.ones(channels, np.int64)
        op = Requantise(
            name=self.unique(f"{name}_framed"), source=copied, multiplier=ones, offset=0 * ones, shift=0, lo=fmt.lo,
            hi=fmt.hi, format=fmt,
        )  # fmt: skip
        self.note("unequal pads of a pool are made by a convolution that copies")
        return replace(value, op=self.emit(op, value.step))

    def convolve(
        self, name: str, source: str, weights: Ints, fmt: Format, window: Window, *, groups: int = 1, fill: int = 0,
        kernel: str = "mult",
    ) -> str:  # fmt: skip
        """A convolution of one stride and one padding: zeros among the weights say all else."""
        size = self.shape(source)[1:]
        window = window.evenly(size)
        stride, padding = window.stride(size), max(window.pads)
        height, width = window.extent
        # A window must reach into the image from its padding: zeros around the weights make it larger.
        while padding >= max(2, *(n + 2 * padding - window.pads[k] - window.pads[k + 2]
                                  for k, n in enumerate((height, width)))):  # fmt: skip
            padding += 1
        top, left, bottom, right = (padding - pad for pad in window.pads)
        (dh, dw), outputs = window.dilations, weights.shape[:2]
        if (height, width) != weights.shape[2:] or top + left + bottom + right:
            wide = np.zeros((*outputs, top + height + bottom, left + width + right), np.int64)
            wide[:, :, top : top + height : dh, left : left + width : dw] = weights
            weights, fmt = wide, signed(2) if fmt.bits == 1 else fmt
        words = (weights + 1) // 2 if fmt.bits == 1 else weights
        channels = self.shape(source)[0]
        return self.emit(
            Convolution(
                name=self.named(name), source=source, kernel=kernel, weight=words, weight_format=fmt, stride=stride,
                padding=padding, pad=np.full(channels, fill, np.int64), groups=groups,
            )
        )  # fmt: skip

    def zero_of(self, value: Stored, offset: float, name: str, *, outside: bool = False) -> int:
        """The integer whose real value is 0, for what stands around an image; ``outside`` the format, too."""
        place = -offset / value.step
        whole, fmt = round(place), self.format(value.op)
        if abs(place - whole) > _CLOSE * max(1, abs(place)) or not (outside or fmt.lo <= whole <= fmt.hi):
            raise ValueError(f"no integer of {name!r} stands for 0, as padding has it; it {_NEEDS_QUANTISER}")
        return whole
