"""The sliding window: a ring of image rows that is written as pixels come and read tap by tap.

Padding is written into the ring like pixels, so that the read side knows no borders. Rows are the unit of account: a
row can be written when one is free, an output row can be read when all rows it needs are complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..memory.loops import Counter, Pointer
from ..memory.ring import RowAccount
from ..streams.beats import elements
from ..streams.delay import later

__all__ = ["Window", "WindowShape", "ring_rows"]


SLACK_CYCLES = 16
"""Cycles that the way from a freed row to the next written one may take in handshakes."""


def ring_rows(kernel_height: int, stride: int, row_cycles: int, lines: int = 1) -> int:
    """Rows of the ring with which an array never waits for pixels if the stream in front is as fast as it.

    While an image's last output row is read, its ``kernel_height`` rows stay, and the next image needs as many at once.
    ``stride`` more are written meanwhile. Rows are given back and written in a loop; what its handshakes take must be
    covered by rows, too, ``row_cycles`` each. With several ``lines`` read at once, every bank holds as many rows.
    """
    rows = 2 * kernel_height + stride + -(-SLACK_CYCLES // row_cycles)
    return -(-rows // lines) * lines


@dataclass(frozen=True, kw_only=True)
class WindowShape:
    """Geometry of a window and its fold.

    Attributes
    ----------
    channels, height, width : of the image, before padding
    kernel : height and width of the window
    simd : channels of one tap that are read at once; divides the channels of a segment
    taps : taps of a window row that are read at once: 1, or all of them (the width of the window)
    lines : rows of a window that are read at once: 1, or all of them (the height of the window)
    groups : how often the window of a pixel is read, once per group of output channels; a multiple of ``segments``
    segments : parts of the channels of which a group reads only its own: 1 for a plain convolution, the groups of a
        grouped one, ``channels / simd`` for a pool
    rows : of the ring, a multiple of ``lines``
    """

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    bits: int
    simd: int
    taps: int
    lines: int = 1
    groups: int
    segments: int = 1
    rows: int

    def __post_init__(self) -> None:
        if self.simd < 1 or self.channels % (self.simd * self.segments):
            raise ValueError(f"simd must divide {self.channels // self.segments} channels, not be {self.simd}")
        if self.groups % self.segments:
            raise ValueError(f"groups must be a multiple of {self.segments} segments, not {self.groups}")
        for what, count, side, extent in (
            ("taps", self.taps, self.kernel[1], "width"), ("lines", self.lines, self.kernel[0], "height"),
        ):  # fmt: skip
            if count not in (1, side):
                raise ValueError(f"{what} must be 1 or {side}, the {extent} of the window, not {count}")
            if count > 1 and self.stride > side:
                raise ValueError(f"{what} in parallel need a stride of at most the window's {extent}, {side}")
        least = -(-max(self.kernel[0] + 1, self.stride) // self.lines) * self.lines
        if self.rows < least or self.rows % self.lines:
            raise ValueError(f"rows must be at least {least} and a multiple of {self.lines}, not {self.rows}")

    @property
    def padded_height(self) -> int:
        """Rows per image, padding included."""
        return self.height + 2 * self.padding

    @property
    def used_height(self) -> int:
        """Rows of the padded image that any window reads; a stride may leave some over, which are dropped."""
        return (self.out_height - 1) * self.stride + self.kernel[0]

    @property
    def padded_width(self) -> int:
        """Pixels per row in the ring."""
        return self.width + 2 * self.padding

    @property
    def out_height(self) -> int:
        """Rows of output pixels."""
        return (self.padded_height - self.kernel[0]) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Output pixels per row."""
        return (self.padded_width - self.kernel[1]) // self.stride + 1

    @property
    def needed_rows(self) -> NDArray[np.int64]:
        """For each row of output pixels how many rows of the padded image must be complete before it is read."""
        rows = np.arange(self.out_height) * self.stride + max(self.kernel[0], self.stride)
        rows[-1] = self.used_height
        return rows

    @property
    def freed_rows(self) -> NDArray[np.int64]:
        """For each row of output pixels how many rows are no longer needed when it has been read."""
        rows = np.full(self.out_height, self.stride)
        rows[-1] = self.kernel[0]
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
        return -(-self.padded_width // self.taps) * self.chunks

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
        return 2 * self.padding * (self.padded_width + 1) * self.chunks

    @property
    def read_cycles(self) -> int:
        """Cycles per image that the read side needs."""
        return self.out_height * self.out_width * self.groups * self.steps

    @property
    def latency(self) -> int:
        """Cycles from a step's address to its operands."""
        return 1 + (self.taps > 1) + (self.lines > 1)


class Window(wiring.Component):
    """Ring of rows in front of an array.

    A group begins when its rows are there and ``go`` is up; then one step leaves per cycle without pause, ``latency``
    cycles later, with ``valid``, ``first`` and ``last``. Steps of a group run over window rows, taps, channels, the
    last fastest. ``begin`` marks the cycle in which a group starts.

    Members
    -------
    i : In stream, simd elements; pixels row by row, all channels of a pixel before the next
    pad_address, pad : which channels the next beat of padding is for, and their values, combinational
    go : In
    begin, valid, first, last : Out
    x : Out, lines x taps x simd elements, lines slowest, channels fastest
    """

    def __init__(self, shape: WindowShape):
        self.shape = shape
        width = shape.simd * shape.bits
        super().__init__(
            {
                "i": In(stream.Signature(elements(shape.bits, shape.simd))),
                "pad_address": Out(range(max(2, shape.chunks))),
                "pad": In(width),
                "go": In(1),
                "begin": Out(1),
                "x": Out(shape.lines * shape.taps * width),
                "valid": Out(1),
                "first": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        rows = RowAccount(m, s.rows)

        # Bank (l, t) holds the columns t, t + taps, .. of the rows l, l + lines, .. of the ring.
        depth = s.rows // s.lines * s.bank_row
        banks = [
            [memory.Memory(shape=s.simd * s.bits, depth=depth, init=[]) for _ in range(s.taps)] for _ in range(s.lines)
        ]
        for line, row in enumerate(banks):
            for tap, bank in enumerate(row):
                m.submodules[f"bank{line * s.taps + tap}"] = bank
        self._write_side(m, [[bank.write_port() for bank in row] for row in banks], rows)
        self._read_side(m, [[bank.read_port() for bank in row] for row in banks], rows)
        return m

    def _write_side(self, m: Module, ports: list[list[Any]], rows: RowAccount) -> None:
        s = self.shape
        column, row, chunk, bank, line = (Counter(m, n, name) for n, name in (
            (s.padded_width, "write_column"), (s.padded_height, "write_row"), (s.chunks, "write_chunk"),
            (s.taps, "write_bank"), (s.lines, "write_line"),
        ))  # fmt: skip
        row_start = Pointer(m, s.rows // s.lines * s.bank_row, "write_row_start")
        base = Signal.like(row_start.value, name="write_base")

        inside = Signal()
        p = s.padding
        m.d.comb += inside.eq(
            (column.value >= p) & (column.value < p + s.width) & (row.value >= p) & (row.value < p + s.height)
            if p else 1
        )  # fmt: skip
        used = row.value < s.used_height if s.used_height < s.padded_height else Const(1)
        free = Signal()
        take = Signal()
        m.d.comb += [
            free.eq((rows.level != s.rows) | ~used),
            self.i.ready.eq(free & inside),
            take.eq(free & (self.i.valid | ~inside)),
            self.pad_address.eq(chunk.value),
        ]
        for number, row_ports in enumerate(ports):
            for k, port in enumerate(row_ports):
                m.d.comb += [
                    port.addr.eq(base + chunk.value),
                    port.data.eq(Mux(inside, self.i.payload.as_value(), self.pad) if p else self.i.payload.as_value()),
                    port.en.eq(take & used & (bank.value == k) & (line.value == number)),
                ]
        with m.If(take):
            chunk.step()
            with m.If(chunk.at_end):
                column.step()
                bank.step()
                with m.If(bank.at_end):
                    m.d.sync += base.eq(base + s.chunks)
                with m.If(column.at_end):
                    row.step()
                    bank.clear()
                    m.d.sync += base.eq(row_start.value)
                    with m.If(used):
                        m.d.comb += rows.row_done.eq(1)
                        line.step()
                        with m.If(line.at_end):
                            row_start.advance(s.bank_row)
                            m.d.sync += base.eq(row_start.after(s.bank_row))

    def _read_side(self, m: Module, ports: list[list[Any]], rows: RowAccount) -> None:
        s = self.shape
        chunk, tap, line, group, out_x, out_y = (Counter(m, n, name) for n, name in (
            (s.segment_chunks, "read_chunk"), (s.kernel[1] // s.taps, "read_tap"),
            (s.kernel[0] // s.lines, "read_line"), (s.groups, "read_group"), (s.out_width, "read_x"),
            (s.out_height, "read_y"),
        ))  # fmt: skip
        turn_row = _Turn(m, s.lines, "turn_row")  # bank of the window's first row
        window_row = Pointer(m, s.rows // s.lines * s.bank_row, "window_row")  # first row of the window in that bank
        line_row = Pointer(m, s.rows // s.lines * s.bank_row, "line_row")  # row of the window that is read now
        pixel = Signal(range(max(2, s.bank_row)), name="pixel")  # offset of the window's first column in its row
        offset = Signal(range(max(2, s.bank_row)), name="offset")  # from there to what is read now
        turn = _Turn(m, s.taps, "turn")  # bank of the window's first column
        segment = _Segment(m, s)

        at_start, at_last = Signal(), Signal()
        advance = Signal()
        # A stride beyond the window skips rows; they must be there to be freed, save after the last window.
        needed = Mux(out_y.at_end, s.kernel[0], max(s.kernel[0], s.stride))
        m.d.comb += [
            at_start.eq((chunk.value == 0) & (tap.value == 0) & (line.value == 0)),
            at_last.eq(chunk.at_end & tap.at_end & line.at_end),
            self.begin.eq(at_start & self.go & (rows.level >= needed)),
            advance.eq(self.begin | ~at_start),
        ]
        with m.If(advance):
            chunk.step()
            m.d.sync += offset.eq(offset + 1)
            with m.If(chunk.at_end):
                tap.step()
                m.d.sync += offset.eq(offset + 1 + s.chunks - s.segment_chunks)
                with m.If(tap.at_end):
                    line.step()
                    line_row.advance(s.bank_row)
                    m.d.sync += offset.eq(segment.base)
                    with m.If(line.at_end):
                        group.step()
                        segment.step(group)
                        line_row.set(window_row.value)
                        m.d.sync += offset.eq(segment.following(group))
                        with m.If(group.at_end):
                            out_x.step()
                            m.d.sync += pixel.eq(pixel + turn.advance(s.stride, s.chunks))
                            with m.If(out_x.at_end):
                                m.d.sync += pixel.eq(0)
                                turn.clear()
                                out_y.step()
                                m.d.comb += rows.rows_freed.eq(Mux(out_y.at_end, s.kernel[0], s.stride))
                                following = self._next_rows(m, window_row, turn_row, out_y.at_end)
                                window_row.set(following)
                                line_row.set(following)

        read = self._read_banks(m, ports, advance, [turn, turn_row], line_row, pixel, offset)
        self._give(m, read, Cat(advance, advance & at_start, advance & at_last), [turn, turn_row])

    def _read_banks(
        self, m: Module, ports: list[list[Any]], advance: Value, turns: Sequence["_Turn"], line_row: Pointer,
        pixel: Value, offset: Value,
    ) -> list[Value]:  # fmt: skip
        """For every row of banks its words, side by side: those ``pixel + offset`` words behind the begin of the row
        that is read now."""
        s, (turn, turn_row) = self.shape, turns
        read = []
        for number, row_ports in enumerate(ports):
            # Banks before the window's first one hold its later rows, one row of the bank further down.
            start = (
                Mux(turn_row.value > number, line_row.after(s.bank_row), line_row.value)
                if s.lines > 1
                else (line_row.value)
            )
            for k, port in enumerate(row_ports):
                beyond = Mux(turn.value > k, s.chunks, 0) if s.taps > 1 else 0
                m.d.comb += [port.addr.eq(start + pixel + offset + beyond), port.en.eq(advance)]
            read.append(Cat(port.data for port in row_ports))
        return read

    def _give(self, m: Module, read: list[Value], strobes: Value, turns: Sequence["_Turn"]) -> None:
        """The operands, and beside them the strobes that say which these are: ``valid``, ``first`` and ``last``."""
        s, (turn, turn_row) = self.shape, turns
        # Bank t holds the columns t, t + taps, ..; a window that begins in column c finds its first tap in bank
        # c mod taps. One rotation puts the taps in order, another one the rows.
        word = s.simd * s.bits
        row_turn = turn_row.value
        if s.taps > 1:
            read = [_rotated(m, row, word, s.taps, later(m, turn.value)) for row in read]
            strobes = later(m, strobes)
            row_turn = later(m, row_turn)
        operands: Value = Cat(*read)
        if s.lines > 1:
            operands = _rotated(m, operands, s.taps * word, s.lines, later(m, row_turn))
            strobes = later(m, strobes)
        m.d.sync += Cat(self.valid, self.first, self.last).eq(strobes)
        m.d.comb += self.x.eq(operands)

    def _next_rows(self, m: Module, first: Pointer, turn: "_Turn", at_end: Value) -> Value:
        """Where the next window's first row stands: ``stride`` rows further, behind all its rows after the last one."""
        s = self.shape
        if s.lines == 1:
            return Mux(at_end, first.after(s.kernel[0] * s.bank_row), first.after(s.stride * s.bank_row))
        down = Signal(name="down")
        with m.If(at_end):
            m.d.comb += down.eq(1)  # as many rows as there are banks
        with m.Else():
            m.d.comb += down.eq(turn.advance(s.stride, 1))
        return Mux(down, first.after(s.bank_row), first.value)


def _rotated(m: Module, parts: Value, width: int, count: int, first: Value) -> Signal:
    """``count`` parts of ``width`` bits with part ``first`` lowest, one cycle later."""
    result = Signal(len(parts), name="rotated")
    with m.Switch(first):
        for k in range(count):
            with m.Case(k):
                m.d.sync += result.eq(parts.rotate_right(k * width))
    return result


class _Turn:
    """Which of ``banks`` banks holds the window's first column, or row."""

    def __init__(self, m: Module, banks: int, name: str):
        self.m = m
        self.banks = banks
        self.value = Signal(range(banks), name=name) if banks > 1 else Const(0, 1)

    def advance(self, stride: int, words: int) -> Value:
        """Move by ``stride``, at most the banks where there are several; returns how far that is inside a bank, where
        its next column or row is ``words`` further."""
        if self.banks == 1:
            return Const(stride * words)
        further = self.value + stride
        wraps = further >= self.banks
        self.m.d.sync += self.value.eq(Mux(wraps, further - self.banks, further))
        return Mux(wraps, words, 0)

    def clear(self) -> None:
        if self.banks > 1:
            self.m.d.sync += self.value.eq(0)


class _Segment:
    """First word, inside a pixel, of the channels that a group reads."""

    def __init__(self, m: Module, shape: WindowShape):
        self.m = m
        self.words = shape.segment_chunks
        self.base: Value = Const(0)
        if shape.segments > 1:
            self.base = Signal(range(shape.chunks), name="segment_base")
            self.turn = Counter(m, shape.groups // shape.segments, "segment_group")

    def following(self, group: Counter) -> Value:
        """The same of the group after ``group``."""
        if isinstance(self.base, Const):
            return self.base
        return Mux(self.turn.at_end, Mux(group.at_end, 0, self.base + self.words), self.base)

    def step(self, group: Counter) -> None:
        if not isinstance(self.base, Const):
            self.m.d.sync += self.base.eq(self.following(group))
            self.turn.step()
