"""The sliding window: a ring of image rows that is written as pixels come and read tap by tap.

Padding is written into the ring like pixels, so that the read side knows no borders. Rows are the unit of account: a
row can be written when one is free, an output row can be read when all rows it needs are complete.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .streams import elements

__all__ = ["Window", "WindowShape", "ring_rows"]


SLACK_CYCLES = 16
"""Cycles that the way from a freed row to the next written one may take in handshakes."""


def ring_rows(kernel_height: int, stride: int, row_cycles: int) -> int:
    """Rows of the ring with which an array never waits for pixels if the stream in front is as fast as it.

    While an image's last output row is read, its ``kernel_height`` rows stay, and the next image needs as many at once.
    ``stride`` more are written meanwhile. Rows are given back and written in a loop; what its handshakes take must be
    covered by rows, too, ``row_cycles`` each.
    """
    return 2 * kernel_height + stride + -(-SLACK_CYCLES // row_cycles)


@dataclass(frozen=True, kw_only=True)
class WindowShape:
    """Geometry of a window and its fold.

    Attributes
    ----------
    channels, height, width : of the image, before padding
    kernel : height and width of the window
    simd : channels of one tap that are read at once; divides ``channels``
    taps : taps of a window row that are read at once: 1, or all of them (the width of the window)
    groups : how often the window of a pixel is read, once per group of output channels
    depthwise : a group reads only its own ``simd`` channels (pools)
    rows : of the ring
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
    groups: int
    depthwise: bool
    rows: int

    def __post_init__(self) -> None:
        if self.simd < 1 or self.channels % self.simd:
            raise ValueError(f"simd must divide {self.channels} channels, not be {self.simd}")
        if self.taps not in (1, self.kernel[1]):
            raise ValueError(f"taps must be 1 or {self.kernel[1]}, the width of the window, not {self.taps}")
        if self.taps > 1 and (self.stride > self.taps or self.depthwise):
            raise ValueError("taps in parallel need a stride of at most the window's width, and a convolution")
        least = max(self.kernel[0] + 1, self.stride)
        if self.rows < least:
            raise ValueError(f"rows must be at least {least}, not {self.rows}")

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
    def chunks(self) -> int:
        """Beats per pixel in the ring."""
        return self.channels // self.simd

    @property
    def bank_row(self) -> int:
        """Words per image row in one bank."""
        return -(-self.padded_width // self.taps) * self.chunks

    @property
    def row_steps(self) -> int:
        """Steps per row of a window."""
        return self.kernel[1] // self.taps * (1 if self.depthwise else self.chunks)

    @property
    def steps(self) -> int:
        """Steps of a group: the fold of the inner product."""
        return self.kernel[0] * self.row_steps

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
        return 1 if self.taps == 1 else 2


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
    x : Out, taps x simd elements, taps slowest
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
                "x": Out(shape.taps * width),
                "valid": Out(1),
                "first": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        level = Signal(range(s.rows + 1))  # complete rows that are still needed
        row_done = Signal()
        rows_freed = Signal(range(s.rows + 1))
        m.d.sync += level.eq(level + row_done - rows_freed)

        banks = [memory.Memory(shape=s.simd * s.bits, depth=s.rows * s.bank_row, init=[]) for _ in range(s.taps)]
        for k, bank in enumerate(banks):
            m.submodules[f"bank{k}"] = bank
        self._write_side(m, [bank.write_port() for bank in banks], level, row_done)
        self._read_side(m, [bank.read_port() for bank in banks], level, rows_freed)
        return m

    def _write_side(self, m: Module, ports: list[Any], level: Signal, row_done: Signal) -> None:
        s = self.shape
        column, row, chunk, bank = (_Counter(m, n, name) for n, name in (
            (s.padded_width, "write_column"), (s.padded_height, "write_row"), (s.chunks, "write_chunk"),
            (s.taps, "write_bank"),
        ))  # fmt: skip
        row_start = _Pointer(m, s.rows * s.bank_row, "write_row_start")
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
            free.eq((level != s.rows) | ~used),
            self.i.ready.eq(free & inside),
            take.eq(free & (self.i.valid | ~inside)),
            self.pad_address.eq(chunk.value),
        ]
        for k, port in enumerate(ports):
            m.d.comb += [
                port.addr.eq(base + chunk.value),
                port.data.eq(Mux(inside, self.i.payload.as_value(), self.pad) if p else self.i.payload.as_value()),
                port.en.eq(take & used & (bank.value == k)),
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
                        m.d.comb += row_done.eq(1)
                        row_start.advance(s.bank_row)
                        m.d.sync += base.eq(row_start.after(s.bank_row))

    def _read_side(self, m: Module, ports: list[Any], level: Signal, rows_freed: Signal) -> None:
        s = self.shape
        step, line, group, out_x, out_y = (_Counter(m, n, name) for n, name in (
            (s.row_steps, "read_step"), (s.kernel[0], "read_line"), (s.groups, "read_group"),
            (s.out_width, "read_x"), (s.out_height, "read_y"),
        ))  # fmt: skip
        depth = s.rows * s.bank_row
        window_row = _Pointer(m, depth, "window_row")  # first row of the window
        line_row = _Pointer(m, depth, "line_row")  # row of the window that is read now
        pixel = Signal(range(max(2, s.bank_row)), name="pixel")  # offset of the window's first column in its row
        offset = Signal(range(max(2, s.bank_row)), name="offset")  # from there to what is read now
        turn = _Turn(m, s)

        at_start, at_last = Signal(), Signal()
        advance = Signal()
        # A stride beyond the window skips rows; they must be there to be freed, save after the last window.
        needed = Mux(out_y.at_end, s.kernel[0], max(s.kernel[0], s.stride))
        m.d.comb += [
            at_start.eq((step.value == 0) & (line.value == 0)),
            at_last.eq(step.at_end & line.at_end),
            self.begin.eq(at_start & self.go & (level >= needed)),
            advance.eq(self.begin | ~at_start),
        ]
        stride = s.chunks if s.depthwise else 1
        next_group = Mux(group.at_end, 0, group.value + 1)
        with m.If(advance):
            step.step()
            m.d.sync += offset.eq(offset + stride)
            with m.If(step.at_end):
                line.step()
                line_row.advance(s.bank_row)
                m.d.sync += offset.eq(group.value if s.depthwise else 0)
                with m.If(line.at_end):
                    group.step()
                    line_row.set(window_row.value)
                    if s.depthwise:
                        m.d.sync += offset.eq(next_group)
                    with m.If(group.at_end):
                        out_x.step()
                        m.d.sync += pixel.eq(pixel + turn.advance())
                        with m.If(out_x.at_end):
                            m.d.sync += pixel.eq(0)
                            turn.clear()
                            out_y.step()
                            freed = Mux(out_y.at_end, s.kernel[0], s.stride)
                            following = Mux(
                                out_y.at_end,
                                window_row.after(s.kernel[0] * s.bank_row),
                                window_row.after(s.stride * s.bank_row),
                            )
                            m.d.comb += rows_freed.eq(freed)
                            window_row.set(following)
                            line_row.set(following)

        for k, port in enumerate(ports):
            beyond = Mux(turn.value > k, s.chunks, 0) if s.taps > 1 else 0
            m.d.comb += [port.addr.eq(line_row.value + pixel + offset + beyond), port.en.eq(advance)]
        strobes = Cat(advance, advance & at_start, advance & at_last)
        outputs = Cat(self.valid, self.first, self.last)
        if s.taps == 1:
            m.d.sync += outputs.eq(strobes)
            m.d.comb += self.x.eq(ports[0].data)
            return
        # Bank b holds the columns b, b + taps, ..; a window that begins in column c finds its first tap in bank
        # c mod taps. One rotation puts the taps in order.
        early = Signal(3)
        turn_read = Signal.like(turn.value, name="turn_read")
        word = s.simd * s.bits
        read = Cat(port.data for port in ports)
        m.d.sync += [early.eq(strobes), outputs.eq(early), turn_read.eq(turn.value)]
        with m.Switch(turn_read):
            for first in range(s.taps):
                with m.Case(first):
                    m.d.sync += self.x.eq(read.rotate_right(first * word))


class _Counter:
    """Counts 0..n-1 and around; a counter to 1 is no register."""

    def __init__(self, m: Module, n: int, name: str):
        self.m = m
        self.n = n
        self.value = Signal(range(max(2, n)), name=name) if n > 1 else Const(0, 1)
        self.at_end = self.value == n - 1

    def step(self) -> None:
        if self.n > 1:
            self.m.d.sync += self.value.eq(Mux(self.at_end, 0, self.value + 1))

    def clear(self) -> None:
        if self.n > 1:
            self.m.d.sync += self.value.eq(0)


class _Pointer:
    """An address that runs around a ring of ``depth`` words."""

    def __init__(self, m: Module, depth: int, name: str):
        self.m = m
        self.depth = depth
        self.value = Signal(range(depth), name=name)

    def after(self, distance: int) -> Value:
        assert distance <= self.depth
        further = self.value + distance
        return Mux(further >= self.depth, further - self.depth, further)

    def advance(self, distance: int) -> None:
        self.m.d.sync += self.value.eq(self.after(distance))

    def set(self, value: Value) -> None:
        self.m.d.sync += self.value.eq(value)


class _Turn:
    """First column of the window modulo the number of banks."""

    def __init__(self, m: Module, shape: WindowShape):
        self.m = m
        self.shape = shape
        self.value = Signal(range(max(2, shape.taps)), name="turn") if shape.taps > 1 else Const(0, 1)

    def advance(self) -> Value:
        """Move one stride to the right; returns by how many words the offset of the pixel grows."""
        s = self.shape
        if s.taps == 1:
            return Const(s.stride * s.chunks)
        further = self.value + s.stride
        wraps = further >= s.taps
        self.m.d.sync += self.value.eq(Mux(wraps, further - s.taps, further))
        return Mux(wraps, s.chunks, 0)

    def clear(self) -> None:
        if self.shape.taps > 1:
            self.m.d.sync += self.value.eq(0)
