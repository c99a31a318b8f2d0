"""Operations of a Program that several nodes of a foreign graph make.

Quantisers make integers of real values that wait, with the pools that waited behind them; windows, concatenations and
convolutions read integers.
"""

import math
import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...fold.assembly import Assembly, Bits, Pending, Stored
from ...fold.slopes import Bend
from ...formats import Format, format_for, signed, unsigned
from ...ops.window import Window
from ...program import Concat, Convolution, Flatten, MaxPool, Op, PixelShuffle, Requantise, Shape, Threshold, Upsample
from .attributes import settled
from .tensors import NEEDS_QUANTIZER, Ints, Joined, Tensor

__all__ = ["Operations"]

_CLOSE = 1e-6
"""How far a pixel may be from a whole number that stands for 0: no more than float32 makes of it."""


class Operations(Assembly):
    """A Program in the making, and what is made of its tensors."""

    def named(self, text: str) -> str:
        """A name for an operation, without what exporters put before it."""
        # A name that is no UTF-8 comes as bytes.
        return self.unique(re.sub(r"^(node)?[_/]*", "", str(text)) or "layer")

    def map_of(self, tensor: Tensor) -> Shape:
        """(C, H, W) of a tensor, its pools done."""
        channels, *size = self.shape(tensor.op)
        height, width = size
        for _, window in tensor.pools:
            height, width = window.result((height, width))
        return channels, height, width

    def pending(self, tensor: Tensor) -> Pending:
        """The value of ``tensor`` as something that can be requantised."""
        return tensor.value if isinstance(tensor.value, Pending) else self.pending_of(tensor.value)

    # From real values to integers

    def quantize(
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
                self.quantize(part, step=step, lo=lo, hi=hi, format=format, ties=ties, lift=lift)
                for part in tensor.parts
            ]
            return self.beside(parts, tensor.shape, tensor.name)
        value = tensor.value
        if isinstance(value, Stored) and value.step == step and not tensor.limited and not tensor.pools:
            least, most = self._range(value.op)
            if lo <= least and most <= hi:
                return tensor  # it is on that grid already
        waiting = self.pending(tensor)
        if tensor.slope is not None:
            waiting = replace(waiting, bend=Bend.of(tensor.slope))
        if lift and tensor.slope is not None:
            raise ValueError(f"what rounds a LeakyRelu or PRelu down {NEEDS_QUANTIZER}")
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
        found = replace(tensor, value=made, low=-math.inf, high=math.inf, slope=None, pools=(), falls=None)
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

    # From integers to integers

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
        window = settled(window, self.shape(value.op)[1:])
        op = MaxPool(
            name=self.named(name), source=value.op, size=window.kernel, stride=window.strides, padding=window.pads
        )
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

    def convolve(
        self, name: str, source: str, weights: Ints, fmt: Format, window: Window, *, groups: int = 1, fill: int = 0,
        kernel: str = "mult",
    ) -> str:  # fmt: skip
        """A convolution; zeros around the weights say what no window of a Program is."""
        size = self.shape(source)[1:]
        window = settled(window, size)
        reach = max(2, *window.extent)
        if max(window.pads) >= reach:
            # A window must reach into the image from its padding: zeros around the weights make it larger.
            weights, window = _within_reach(weights, window)
            fmt = signed(2) if fmt.bits == 1 else fmt
        words = (weights + 1) // 2 if fmt.bits == 1 else weights
        channels = self.shape(source)[0]
        return self.emit(
            Convolution(
                name=self.named(name), source=source, kernel=kernel, weight=words, weight_format=fmt,
                stride=window.strides, padding=window.pads, dilation=window.dilations,
                pad=np.full(channels, fill, np.int64), groups=groups,
            )
        )  # fmt: skip

    def zero_of(self, value: Stored, offset: float, name: str, *, outside: bool = False) -> int:
        """The integer whose real value is 0, for what stands around an image; ``outside`` the format, too."""
        place = -offset / value.step
        whole, fmt = round(place), self.format(value.op)
        if abs(place - whole) > _CLOSE * max(1, abs(place)) or not (outside or fmt.lo <= whole <= fmt.hi):
            raise ValueError(f"no integer of {name!r} stands for 0, as padding has it; it {NEEDS_QUANTIZER}")
        return whole


def _within_reach(weights: Ints, window: Window) -> tuple[Ints, Window]:
    """A convolution with a frame of zeros around its weights, so large that every window reaches into the image."""
    grown = max(window.pads) - max(window.extent) + 1
    (height, width), (dh, dw) = window.extent, window.dilations
    wide = np.zeros((*weights.shape[:2], height + 2 * grown, width + 2 * grown), np.int64)
    wide[:, :, grown : grown + height : dh, grown : grown + width : dw] = weights
    top, left, bottom, right = (pad + grown for pad in window.pads)
    return wide, Window(kernel=wide.shape[2:], strides=window.strides, pads=(top, left, bottom, right))
