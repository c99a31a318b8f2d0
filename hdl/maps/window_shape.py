"""The geometry of a sliding window, its fold and its ring of rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quant.ops.window import Pair, Sides, merged, pair, sides

__all__ = ["WindowShape", "ring_rows"]

SLACK_CYCLES = 16
"""Cycles that the way from a freed row to the next written one may take in handshakes."""


def ring_rows(extent: int, stride: int, row_cycles: int, unit: int = 1) -> int:
    """Rows of the ring with which an array never waits for pixels if the stream in front is as fast as it.

    While an image's last output row is read, the ``extent`` rows from its first to its last one stay, and the next
    image needs as many at once. ``stride`` more are written meanwhile. Rows are given back and written in a loop; what
    its handshakes take must be covered by rows, too, ``row_cycles`` each. The rows are a multiple of ``unit``, see
    `WindowShape.row_unit`.
    """
    rows = 2 * extent + stride + -(-SLACK_CYCLES // row_cycles)
    return -(-rows // unit) * unit


@dataclass(frozen=True, kw_only=True)
class WindowShape:
    """Geometry of a window and its fold.

    Attributes
    ----------
    channels, height, width : of the image, before padding
    kernel : height and width of the window, without what dilation puts between its taps
    stride, dilation : one number, or (vertical, horizontal)
    padding : one number, or (top, left, bottom, right)
    simd : channels of one tap that are read at once; divides the channels of a segment
    taps : taps of a window row that are read at once: 1, or all of them (the width of the window)
    lines : rows of a window that are read at once: 1, or all of them (the height of the window)
    groups : how often the window of a pixel is read, once per group of output channels; a multiple of ``segments``
    segments : parts of the channels of which a group reads only its own: 1 for a plain convolution, the groups of a
        grouped one, ``channels / simd`` for a pool
    rows : of the ring, a multiple of `row_unit`
    """

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: Pair
    padding: Sides
    bits: int
    simd: int
    taps: int
    lines: int = 1
    groups: int
    segments: int = 1
    rows: int
    dilation: Pair = 1

    def __post_init__(self) -> None:
        for name, count in (("stride", 2), ("dilation", 2), ("padding", 4)):
            object.__setattr__(self, name, merged(getattr(self, name), count))
        if self.simd < 1 or self.channels % (self.simd * self.segments):
            raise ValueError(f"simd must divide {self.channels // self.segments} channels, not be {self.simd}")
        if self.groups % self.segments:
            raise ValueError(f"groups must be a multiple of {self.segments} segments, not {self.groups}")
        for what, count, side, extent, axis in (
            ("taps", self.taps, self.kernel[1], "width", 1), ("lines", self.lines, self.kernel[0], "height", 0),
        ):  # fmt: skip
            if count not in (1, side):
                raise ValueError(f"{what} must be 1 or {side}, the {extent} of the window, not {count}")
            reach = side * self.dilations[axis]
            if count > 1 and self.strides[axis] > reach:
                raise ValueError(f"{what} in parallel need a stride of at most the window's {extent}, {reach}")
        unit = self.row_unit
        least = -(-max(self.extent[0] + 1, self.strides[0]) // unit) * unit
        if self.rows < least or self.rows % unit:
            raise ValueError(f"rows must be at least {least} and a multiple of {unit}, not {self.rows}")

    @property
    def strides(self) -> tuple[int, int]:
        """Rows and columns from one window to the next."""
        return pair(self.stride)

    @property
    def dilations(self) -> tuple[int, int]:
        """Rows and columns from one tap to the next, 1 along a side that has only one."""
        down, right = (d if k > 1 else 1 for d, k in zip(pair(self.dilation), self.kernel, strict=True))
        return down, right

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Rows and columns of padding at the top, on the left, at the bottom, on the right."""
        return sides(self.padding)

    @property
    def corner(self) -> tuple[int, int]:
        """Rows and columns of padding that are written before the first pixel of an image and of a row."""
        return self.pads[:2]

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the window from its first to its last tap."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @property
    def spacing(self) -> tuple[int, int]:
        """Rows and columns that lie beside each other in one bank, so that taps that are read at once never do."""
        (dh, dw) = self.dilations
        return dh if self.lines > 1 else 1, dw if self.taps > 1 else 1

    @property
    def row_unit(self) -> int:
        """Rows in which the ring repeats: as many from each bank."""
        return self.lines * self.spacing[0]

    @property
    def padded_height(self) -> int:
        """Rows per image, padding included."""
        return self.height + self.pads[0] + self.pads[2]

    @property
    def used_height(self) -> int:
        """Rows of the padded image that any window reads; a stride may leave some over, which are dropped."""
        return (self.out_height - 1) * self.strides[0] + self.extent[0]

    @property
    def padded_width(self) -> int:
        """Pixels per row in the ring."""
        return self.width + self.pads[1] + self.pads[3]

    @property
    def out_height(self) -> int:
        """Rows of output pixels."""
        return (self.padded_height - self.extent[0]) // self.strides[0] + 1

    @property
    def out_width(self) -> int:
        """Output pixels per row."""
        return (self.padded_width - self.extent[1]) // self.strides[1] + 1

    @property
    def needed_rows(self) -> NDArray[np.int64]:
        """For each row of output pixels how many rows of the padded image must be complete before it is read."""
        rows = np.arange(self.out_height) * self.strides[0] + max(self.extent[0], self.strides[0])
        rows[-1] = self.used_height
        return rows

    @property
    def freed_rows(self) -> NDArray[np.int64]:
        """For each row of output pixels how many rows are no longer needed when it has been read."""
        rows = np.full(self.out_height, self.strides[0])
        rows[-1] = self.extent[0]
        return rows

    @property
    def row_reads(self) -> int:
        """Groups that are read for each row of output pixels."""
        return self.out_width * self.groups

    @property
    def chunks(self) -> int:
        """Beats per pixel in the ring."""
        return self.channels // self.simd

    @property
    def bank_row(self) -> int:
        """Words per image row in one bank."""
        spacing = self.spacing[1]
        return -(-self.padded_width // (self.taps * spacing)) * spacing * self.chunks

    @property
    def ring_bits(self) -> int:
        """Bits of memory in all banks."""
        return self.taps * self.rows * self.bank_row * self.simd * self.bits

    @property
    def segment_chunks(self) -> int:
        """Beats per pixel of which a group reads."""
        return self.chunks // self.segments

    @property
    def row_steps(self) -> int:
        """Steps per row of a window."""
        return self.kernel[1] // self.taps * self.segment_chunks

    @property
    def steps(self) -> int:
        """Steps of a group: the fold of the inner product."""
        return self.kernel[0] // self.lines * self.row_steps

    @property
    def write_cycles(self) -> int:
        """Cycles per image that the write side needs."""
        return self.padded_height * self.padded_width * self.chunks

    @property
    def longest_pause(self) -> int:
        """Longest run of padding, in which no input is taken: from one image's last pixel to the next one's first."""
        top, left, bottom, right = self.pads
        return ((top + bottom) * self.padded_width + left + right) * self.chunks

    @property
    def read_cycles(self) -> int:
        """Cycles per image that the read side needs."""
        return self.out_height * self.out_width * self.groups * self.steps

    @property
    def latency(self) -> int:
        """Cycles from a step that begins to its operands: address, word, and a rank for each rotation."""
        return 2 + (self.taps > 1) + (self.lines > 1)

    @property
    def overlaps(self) -> bool:
        """Whether a row may be written over in the cycle in which its last word is read: a window as wide as all of its
        row, which is one word of each bank."""
        return self.out_width == 1 and self.chunks == 1 and self.taps == self.kernel[1]
