"""The sliding window: a ring of image rows that is written as pixels come and read tap by tap.

Padding is written into the ring like pixels, so that the read side knows no borders. Rows are the unit of account: a
row can be written when one is free, an output row can be read when all rows it needs are complete.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.loops import Counter, Pointer
from ..memory.ring import NO_COLLISION, RowAccount
from ..streams.beats import elements
from ..streams.delay import later
from .banks import Turn
from .window_shape import WindowShape

__all__ = ["WindowBuffer"]


class WindowBuffer(wiring.Component):
    """Ring of rows in front of an array.

    A group begins when its rows are there and ``go`` is up; then one step leaves per cycle without pause, ``latency``
    cycles later, with ``valid``, ``first`` and ``last``. Steps of a group run over window rows, taps, channels, the
    last fastest. ``begin`` marks the cycle in which a group starts, ``coming`` the one before each step leaves.

    Members
    -------
    i : In stream, simd elements; pixels row by row, all channels of a pixel before the next
    pad_address, pad : which channels the next beat of padding is for, and their values, combinational
    go : In
    begin, coming, valid, first, last : Out
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
                "coming": Out(1),
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

        # Bank (l, t) holds the columns t, t + taps, .. of the rows l, l + lines, .. of the ring. Where taps that are
        # read at once do not touch, each of these is as many columns, or rows, as lie between one tap and the next.
        depth = s.rows // s.lines * s.bank_row
        word = s.simd * s.bits
        attrs = {} if s.overlaps else NO_COLLISION
        banks = [
            [memory.Memory(shape=word, depth=depth, init=[], attrs=attrs) for _ in range(s.taps)]
            for _ in range(s.lines)
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
        beat = self.i.payload.as_value()
        top, left = s.corner
        padded = any(s.pads)
        m.d.comb += inside.eq(
            (column.value >= left) & (column.value < left + s.width)
            & (row.value >= top) & (row.value < top + s.height)
            if padded else 1
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
                    port.data.eq(Mux(inside, beat, self.pad) if padded else beat),
                    port.en.eq(take & used & (bank.value == k) & (line.value == number)),
                ]
        with m.If(take):
            chunk.step()
            with m.If(chunk.at_end):
                column.step()
                if s.spacing[1] == 1:
                    bank.step()
                    with m.If(bank.at_end):
                        m.d.sync += base.eq(base + s.chunks)
                else:
                    m.d.sync += base.eq(base + self._beside(m, bank, column))
                with m.If(column.at_end):
                    row.step()
                    bank.clear()
                    m.d.sync += base.eq(row_start.value)
                    with m.If(used):
                        m.d.comb += rows.row_done.eq(1)
                        self._next_row(m, line, row_start, base)

    def _beside(self, m: Module, bank: Counter, column: Counter) -> Value:
        """Step to the bank of the next column, where several lie beside each other in each; how many words further in
        its bank that column is."""
        s = self.shape
        place = Counter(m, s.spacing[1], "write_place")
        place.step()
        with m.If(place.at_end):
            bank.step()
        with m.If(column.at_end):
            place.clear()
        return Mux(place.at_end & ~bank.at_end, -(s.spacing[1] - 1) * s.chunks, s.chunks)

    def _next_row(self, m: Module, line: Counter, row_start: Pointer, base: Signal) -> None:
        """Step to where the next row of the ring is written."""
        s, spacing = self.shape, self.shape.spacing[0]
        if spacing == 1:
            line.step()
            with m.If(line.at_end):
                row_start.advance(s.bank_row)
                m.d.sync += base.eq(row_start.after(s.bank_row))
            return
        place = Counter(m, spacing, "write_row_place")
        place.step()
        with m.If(place.at_end):
            line.step()
        back = row_start.value - (spacing - 1) * s.bank_row
        following = Mux(place.at_end & ~line.at_end, back, row_start.after(s.bank_row))
        row_start.set(following)
        m.d.sync += base.eq(following)

    def _read_side(self, m: Module, ports: list[list[Any]], rows: RowAccount) -> None:
        s = self.shape
        chunk, tap, line, group, out_x, out_y = (Counter(m, n, name) for n, name in (
            (s.segment_chunks, "read_chunk"), (s.kernel[1] // s.taps, "read_tap"),
            (s.kernel[0] // s.lines, "read_line"), (s.groups, "read_group"), (s.out_width, "read_x"),
            (s.out_height, "read_y"),
        ))  # fmt: skip
        turn_row = Turn(m, s.lines, "turn_row", s.spacing[0])  # bank of the window's first row
        window_row = Pointer(m, s.rows // s.lines * s.bank_row, "window_row")  # first row of the window in that bank
        line_row = Pointer(m, s.rows // s.lines * s.bank_row, "line_row")  # row of the window that is read now
        pixel = Signal(range(max(2, s.bank_row)), name="pixel")  # offset of the window's first column in its row
        segment = _Segment(m, s)
        offset = _Offset(m, s, segment, chunk)  # from there to what is read now
        turn = Turn(m, s.taps, "turn", s.spacing[1])  # bank of the window's first column

        # From one tap to the next of those that are read one after the other.
        tap_columns = s.dilations[1] if s.taps == 1 else 1
        next_line, following = self._ahead(m, line_row, window_row, out_y.at_end)
        at_start, at_last, advance = Signal(), Signal(), Signal()
        # A stride beyond the window skips rows; they must be there to be freed, save after the last window.
        needed = Mux(out_y.at_end, s.extent[0], max(s.extent[0], s.strides[0]))
        m.d.comb += [
            at_start.eq((chunk.value == 0) & (tap.value == 0) & (line.value == 0)),
            at_last.eq(chunk.at_end & tap.at_end & line.at_end),
            self.begin.eq(at_start & self.go & (rows.level >= needed)),
            advance.eq(self.begin | ~at_start),
        ]
        with m.If(advance):
            chunk.step()
            offset.move(offset.value + 1)
            with m.If(chunk.at_end):
                tap.step()
                offset.move(offset.value + 1 + tap_columns * s.chunks - s.segment_chunks)
                with m.If(tap.at_end):
                    line.step()
                    line_row.set(next_line)
                    offset.move(segment.base)
                    with m.If(line.at_end):
                        group.step()
                        segment.step(group)
                        line_row.set(window_row.value)
                        offset.move(segment.following(group))
                        with m.If(group.at_end):
                            out_x.step()
                            m.d.sync += pixel.eq(pixel + turn.advance(s.strides[1], s.chunks))
                            with m.If(out_x.at_end):
                                m.d.sync += pixel.eq(0)
                                turn.clear()
                                out_y.step()
                                m.d.comb += rows.rows_freed.eq(Mux(out_y.at_end, s.extent[0], s.strides[0]))
                                if following is None:
                                    following = self._next_rows(m, window_row, turn_row, out_y.at_end)
                                window_row.set(following)
                                line_row.set(following)

        read = self._read_banks(m, ports, advance, [turn, turn_row], line_row, pixel, offset.value)
        strobes = later(m, Cat(advance, advance & at_start, advance & at_last))
        self._give(m, read, strobes, later(m, turn.value), later(m, turn_row.value))

    def _read_banks(
        self, m: Module, ports: list[list[Any]], advance: Value, turns: Sequence["Turn"], line_row: Pointer,
        pixel: Value, offset: Value,
    ) -> list[Value]:  # fmt: skip
        """For every row of banks its words, side by side, two cycles later: those ``pixel + offset`` words behind the
        begin of the row that is read now."""
        s, (turn, turn_row) = self.shape, turns
        read, reading = [], later(m, advance)
        for number, row_ports in enumerate(ports):
            # Banks before the window's first one hold its later rows, one row of the bank further down.
            start = (
                Mux(turn_row.value > number, line_row.after(s.spacing[0] * s.bank_row), line_row.value)
                if s.lines > 1
                else (line_row.value)
            )
            for k, port in enumerate(row_ports):
                beyond = Mux(turn.value > k, s.spacing[1] * s.chunks, 0) if s.taps > 1 else 0
                # Sums of places, and block RAM, take half a cycle each: the address gets a register between them.
                address = Signal(port.addr.shape(), name="address", reset_less=True)
                m.d.sync += address.eq(start + pixel + offset + beyond)
                m.d.comb += [port.addr.eq(address), port.en.eq(reading)]
            read.append(Cat(port.data for port in row_ports))
        return read

    def _give(self, m: Module, read: list[Value], strobes: Value, turn: Value, turn_row: Value) -> None:
        """The operands, and beside them the strobes that say which these are: ``valid``, ``first`` and ``last``.

        ``strobes`` and the bank of the window's first column and row are those of the words that are being read.
        """
        s = self.shape
        # Bank t holds the columns t, t + taps, ..; a window that begins in column c finds its first tap in bank
        # c mod taps. One rotation puts the taps in order, another one the rows.
        word = s.simd * s.bits
        if s.taps > 1:
            turn, turn_row = later(m, turn), later(m, turn_row)
            read = [_rotated(m, row, word, s.taps, turn) for row in read]
            strobes = later(m, strobes)
        operands: Value = Cat(*read)
        if s.lines > 1:
            operands = _rotated(m, operands, s.taps * word, s.lines, later(m, turn_row))
            strobes = later(m, strobes)
        m.d.comb += self.coming.eq(strobes[0])
        m.d.sync += Cat(self.valid, self.first, self.last).eq(strobes)
        m.d.comb += self.x.eq(operands)

    def _ahead(self, m: Module, line: Pointer, first: Pointer, at_end: Value) -> tuple[Value, Value | None]:
        """Where the window's next row stands, and the first row of the next windows: ``stride`` rows further, behind
        all rows after the last one. The second is None where all rows are read at once, see `_next_rows`.

        Both are found out while a row is read, so that a step copies a register: only where a row of the window, or one
        of output pixels, takes a single step there is no time for that.
        """
        s = self.shape
        next_line = line.after((s.dilations[0] if s.lines == 1 else 1) * s.bank_row)
        if s.lines < s.kernel[0] and s.row_steps > 1:
            next_line = later(m, next_line, name="next_line")
        if s.lines > 1:
            return next_line, None
        found = Mux(at_end, first.after(s.extent[0] * s.bank_row), first.after(s.strides[0] * s.bank_row))
        return next_line, later(m, found, name="following") if s.row_reads * s.steps > 1 else found

    def _next_rows(self, m: Module, first: Pointer, turn: "Turn", at_end: Value) -> Value:
        """Where the next window's first row stands, if all rows are read at once; its bank is turned to."""
        s = self.shape
        if s.spacing[0] > 1:
            bank, place, shift, wraps = (
                Mux(at_end, behind, next_one)
                for behind, next_one in zip(turn.after(s.extent[0]), turn.after(s.strides[0]), strict=True)
            )
            turn.set(bank, place)
            return Mux(wraps, first.after(s.spacing[0] * s.bank_row), first.value) + shift * s.bank_row
        down = Signal(name="down")
        with m.If(at_end):
            m.d.comb += down.eq(1)  # as many rows as there are banks
        with m.Else():
            m.d.comb += down.eq(turn.advance(s.strides[0], 1))
        return Mux(down, first.after(s.bank_row), first.value)


def _rotated(m: Module, parts: Value, width: int, count: int, first: Value) -> Signal:
    """``count`` parts of ``width`` bits with part ``first`` lowest, one cycle later."""
    result = Signal(len(parts), name="rotated")
    with m.Switch(first):
        for k in range(count):
            with m.Case(k):
                m.d.sync += result.eq(parts.rotate_right(k * width))
    return result


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
        """First word, inside a pixel, of the channels that the next group reads, ``group`` being this one."""
        if isinstance(self.base, Const):
            return self.base
        return Mux(self.turn.at_end, Mux(group.at_end, 0, self.base + self.words), self.base)

    def step(self, group: Counter) -> None:
        if not isinstance(self.base, Const):
            self.m.d.sync += self.base.eq(self.following(group))
            self.turn.step()


class _Offset:
    """How many words of a bank what is read now lies behind the window's first column: where all taps are read at once,
    by the channels alone."""

    def __init__(self, m: Module, shape: WindowShape, segment: _Segment, chunk: Counter):
        self.m = m
        self.at_once = shape.taps == shape.kernel[1]
        self.value: Value = segment.base + chunk.value
        if not self.at_once:
            self.value = Signal(range(max(2, shape.bank_row)), name="offset")

    def move(self, value: Value) -> None:
        """Be ``value`` at the end of the cycle."""
        if not self.at_once:
            self.m.d.sync += self.value.eq(value)
