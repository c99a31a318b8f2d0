"""Data moves: a ring of rows that is written in the order of the stream and read in another one.

The spatial shift of channels, the pixel shuffle and nearest upsampling compute nothing: what leaves are elements that
came, in an order of addresses that counters generate. As in a `WindowBuffer`, rows are the unit of account: a row can
be written when one is free, and is read when all rows that its output needs are complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from ..memory.loops import Counter, Pointer
from ..memory.ring import NO_COLLISION, RowAccount
from ..streams.beats import elements
from ..streams.delay import later

__all__ = ["MOVES", "Bank", "MoveBuffer", "MoveShape", "move_folds", "move_rows", "moved_at_once"]

MOVES = ("spatial_shift", "pixel_shuffle", "upsample")
"""Kinds of moves, one for each operation of `quant.moves`."""
SLACK_CYCLES = 16
"""Cycles that the way from a freed row to the next written one may take in handshakes."""


def move_folds(kind: str, channels: int, factor: int) -> list[int]:
    """How many channels a move can read at once.

    A shuffle by ``r`` makes one output channel of ``r * r`` neighbours; it takes them one by one, a row of ``r`` at
    once, or whole ones.
    """
    if kind != "pixel_shuffle":
        return [n for n in range(1, channels + 1) if channels % n == 0]
    own = factor**2
    whole = channels // own
    return sorted({1, factor} | {own * n for n in range(1, whole + 1) if whole % n == 0})


def moved_at_once(kind: str, simd: int, factor: int) -> int:
    """Elements of the beats that leave when ``simd`` channels are read at once."""
    return max(1, simd // factor**2) if kind == "pixel_shuffle" else simd


def move_rows(offsets: Sequence[tuple[int, int]], row_words: int) -> int:
    """Rows of the ring with which a move never waits for pixels if the stream in front is as fast as it.

    Those of an image's last output row, those that the next image's first one needs, one that is written meanwhile, and
    what handshakes take, at ``row_words`` cycles per row.
    """
    downs = [0, *(down for down, _ in offsets)]
    return max(downs) - min(downs) + 3 + -(-SLACK_CYCLES // row_words)


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Lanes of a word that are always read at the same address.

    Attributes
    ----------
    lanes : their numbers in the word
    offsets : for each word of a pixel the rows and columns by which its channels in this bank move
    """

    lanes: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class MoveShape:
    """What a move does, and its fold.

    Attributes
    ----------
    kind : one of `MOVES`
    channels, height, width : of the map that is read
    simd : channels of a pixel in a word of the ring, one of `move_folds`
    factor : of a shuffle or upsampling
    offsets : of a spatial shift, the rows and columns by which each channel moves down and to the right
    rows : of the ring
    """

    kind: str
    channels: int
    height: int
    width: int
    bits: int
    simd: int
    factor: int = 1
    offsets: tuple[tuple[int, int], ...] = ()
    rows: int

    steps = 1
    """A group is a single beat."""
    latency = 2
    """Cycles from a beat's address to the beat: the memory, then a register behind choice and padding."""
    corner = (0, 0)
    """No padding is written into the ring; what moves in from outside the map is put in place when it is read."""
    longest_pause = 0

    def __post_init__(self) -> None:
        folds = move_folds(self.kind, self.channels, self.factor)
        if self.simd not in folds:
            known, what = ", ".join(map(str, folds)), f"{self.kind.replace('_', ' ')} of {self.channels} channels"
            by = f" by {self.factor}" if self.kind != "spatial_shift" else ""
            raise ValueError(f"simd must be one of {known} for the {what}{by}, not {self.simd}")
        least = max(2, self.held)
        if self.rows < least:
            raise ValueError(f"rows must be at least {least}, not {self.rows}")

    @property
    def up(self) -> int:
        """Rows below its own that an output row reads."""
        return max(0, -min((down for down, _ in self.offsets), default=0))

    @property
    def down(self) -> int:
        """Rows above its own that an output row reads."""
        return max(0, *(down for down, _ in self.offsets)) if self.offsets else 0

    @property
    def held(self) -> int:
        """The most rows that an output row needs at once."""
        return int((self.needed_rows - self._first_rows).max())

    @property
    def _first_rows(self) -> NDArray[np.int64]:
        return np.maximum(np.arange(self.height) - self.down, 0)

    @property
    def needed_rows(self) -> NDArray[np.int64]:
        """For each row of the map how many rows must be complete before it is read."""
        return np.minimum(np.arange(self.height) + 1 + self.up, self.height)

    @property
    def freed_rows(self) -> NDArray[np.int64]:
        """For each row of the map how many rows are no longer needed when it has been read."""
        return np.diff(self._first_rows, append=self.height)

    @property
    def pads(self) -> bool:
        """Whether anything moves in from outside the map."""
        return any(offset != (0, 0) for offset in self.offsets)

    @property
    def chunks(self) -> int:
        """Words per pixel."""
        return self.channels // self.simd

    @property
    def bank_row(self) -> int:
        """Words per row of the map."""
        return self.width * self.chunks

    @property
    def ring_bits(self) -> int:
        """Bits of memory in all banks."""
        return self.rows * self.bank_row * self.simd * self.bits

    @property
    def padded_height(self) -> int:
        """Rows per image."""
        return self.height

    @property
    def used_height(self) -> int:
        """Rows of the map that are read: all of them."""
        return self.height

    @property
    def padded_width(self) -> int:
        """Pixels per row."""
        return self.width

    @property
    def out_count(self) -> int:
        """Elements of an output beat."""
        return moved_at_once(self.kind, self.simd, self.factor)

    @property
    def out_beats(self) -> int:
        """Beats of an output pixel."""
        return (self.channels // self.factor**2 if self.kind == "pixel_shuffle" else self.channels) // self.out_count

    @property
    def word_step(self) -> int:
        """Words from one beat of an output pixel to the next."""
        return max(1, self.factor**2 // self.simd) if self.kind == "pixel_shuffle" else 1

    @property
    def row_reads(self) -> int:
        """Beats that leave for each row of the map."""
        return self.factor**2 * self.width * self.out_beats

    @property
    def write_cycles(self) -> int:
        """Cycles per image that the write side needs."""
        return self.height * self.bank_row

    @property
    def read_cycles(self) -> int:
        """Cycles per image that the read side needs."""
        return self.height * self.row_reads

    @cached_property
    def banks(self) -> tuple[Bank, ...]:
        """The banks of the ring: lanes whose channels move alike in every word share one."""
        offsets = self.offsets or ((0, 0),) * self.channels
        lanes: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for lane in range(self.simd):
            lanes.setdefault(offsets[lane :: self.simd], []).append(lane)
        return tuple(Bank(lanes=tuple(found), offsets=own) for own, found in lanes.items())


class MoveBuffer(wiring.Component):
    """Ring of rows that is read in the order of the move.

    A beat is read when its rows are there and ``go`` is up; it leaves ``latency`` cycles later with ``valid``.

    Members
    -------
    i : In stream, simd elements; pixels row by row, all channels of a pixel before the next
    pad_address, pad : which channels of a pixel are asked for, and what comes in from outside there, combinational
    go : In
    begin, valid : Out
    y : Out, ``out_count`` elements
    """

    def __init__(self, shape: MoveShape):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(elements(shape.bits, shape.simd))),
                "pad_address": Out(range(max(2, shape.chunks))),
                "pad": In(shape.simd * shape.bits),
                "go": In(1),
                "begin": Out(1),
                "valid": Out(1),
                "y": Out(shape.out_count * shape.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.shape
        rows = RowAccount(m, s.rows)
        banks = []
        for number, bank in enumerate(s.banks):
            m.submodules[f"bank{number}"] = ram = memory.Memory(
                shape=len(bank.lanes) * s.bits, depth=s.rows * s.bank_row, init=[], attrs=NO_COLLISION
            )
            banks.append((bank, ram.write_port(), ram.read_port()))
        self._write_side(m, [(bank, port) for bank, port, _ in banks], rows)
        self._read_side(m, [(bank, port) for bank, _, port in banks], rows)
        return m

    def _write_side(self, m: Module, banks: Sequence[tuple[Bank, Any]], rows: RowAccount) -> None:
        s = self.shape
        place = Counter(m, s.bank_row, "write_place")
        address = Pointer(m, s.rows * s.bank_row, "write_address")
        take = Signal()
        m.d.comb += [self.i.ready.eq(rows.level != s.rows), take.eq(self.i.ready & self.i.valid)]
        for bank, port in banks:
            m.d.comb += [
                port.addr.eq(address.value), port.en.eq(take), port.data.eq(Cat(self.i.payload[k] for k in bank.lanes)),
            ]  # fmt: skip
        with m.If(take):
            place.step()
            address.advance(1)
            m.d.comb += rows.row_done.eq(place.at_end)

    def _read_side(self, m: Module, banks: Sequence[tuple[Bank, Any]], rows: RowAccount) -> None:
        s = self.shape
        beat, copy_x, x, copy_y, y = (
            Counter(m, n, f"read_{name}")
            for n, name in (
                (s.out_beats, "beat"), (s.factor, "copy_x"), (s.width, "x"), (s.factor, "copy_y"), (s.height, "y"),
            )
        )  # fmt: skip
        depth = s.rows * s.bank_row
        lines = {
            down: Pointer(m, depth, f"line{k}", init=-down % s.rows * s.bank_row)
            for k, down in enumerate(sorted({down for bank, _ in banks for down, _ in bank.offsets}))
        }
        pixel = Signal(range(max(2, s.bank_row)), name="pixel")  # first word of the pixel in its row
        word = Signal(range(max(2, s.chunks)), name="word")  # from there to what is read now
        part = Signal(range(max(2, s.factor**2)), name="part")  # copy_y * factor + copy_x
        next_part = Mux(copy_x.at_end, Mux(x.at_end, part + 1, part - (s.factor - 1)), part + 1)
        next_part = Mux(copy_x.at_end & x.at_end & copy_y.at_end, 0, next_part)
        first_word: Value = Const(0)
        if s.kind == "pixel_shuffle" and s.simd < s.factor**2:
            next_line = Mux(copy_x.at_end & x.at_end, Mux(copy_y.at_end, 0, copy_y.value + 1), copy_y.value)
            first_word = next_part if s.simd == 1 else next_line

        m.d.comb += self.begin.eq(self.go & (rows.level >= self._needed(y)))
        with m.If(self.begin):
            beat.step()
            m.d.sync += word.eq(word + s.word_step)
            with m.If(beat.at_end):
                copy_x.step()
                m.d.sync += [word.eq(first_word), part.eq(next_part)]
                with m.If(copy_x.at_end):
                    x.step()
                    m.d.sync += pixel.eq(Mux(x.at_end, 0, pixel + s.chunks))
                    with m.If(x.at_end):
                        copy_y.step()
                        with m.If(copy_y.at_end):
                            y.step()
                            m.d.comb += rows.rows_freed.eq(self._freed(y))
                            for line in lines.values():
                                line.advance(s.bank_row)

        m.d.sync += [self.pad_address.eq(word), self.valid.eq(later(m, self.begin))]
        words: list[Value] = [Const(0, s.bits)] * s.simd
        for number, (bank, port) in enumerate(banks):
            inside = self._address(m, number, bank, port, lines, word, x, y, pixel + word)
            # What moves in from outside is no word of the ring: nothing is read, and nothing that is being written.
            m.d.comb += port.en.eq(self.begin & inside)
            for k, lane in enumerate(bank.lanes):
                outside = self.pad.word_select(lane, s.bits)
                read = port.data.word_select(k, s.bits)
                words[lane] = Mux(later(m, inside), read, outside) if s.pads else read
        m.d.sync += self.y.eq(self._chosen(m, words, part, copy_x))

    def _needed(self, y: Counter) -> Value:
        """Rows that must be in the ring."""
        s = self.shape
        end = Mux(y.value >= s.height - 1 - s.up, s.height, y.value + 1 + s.up)
        return end - Mux(y.value > s.down, y.value - s.down, 0)

    def _freed(self, y: Counter) -> Value:
        s = self.shape
        return Mux(y.at_end, int(s.freed_rows[-1]), y.value >= s.down)

    def _address(
        self, m: Module, number: int, bank: Bank, port: Any, lines: dict[int, Pointer], word: Value, x: Counter,
        y: Counter, place: Value,
    ) -> Value:  # fmt: skip
        """Drive the address that ``bank`` reads in this cycle; returns whether the place lies inside the map."""
        s = self.shape
        inside = Signal(name=f"inside{number}")
        which: dict[tuple[int, int], list[int]] = {}
        for chunk, offset in enumerate(bank.offsets):
            which.setdefault(offset, []).append(chunk)
        with m.Switch(word):
            for number, ((down, right), chunks) in enumerate(which.items()):
                with m.Default() if number == len(which) - 1 else m.Case(*chunks):
                    m.d.comb += [
                        port.addr.eq(lines[down].value + place - right * s.chunks),
                        inside.eq(_within(y.value, down, s.height) & _within(x.value, right, s.width)),
                    ]
        return inside

    def _chosen(self, m: Module, words: list[Value], part: Value, copy_x: Counter) -> Value:
        """The elements of the beat, out of the words that the memory gives in this cycle."""
        s = self.shape
        if s.kind != "pixel_shuffle" or s.simd == 1:
            return Cat(words)
        options = min(s.simd, s.factor**2)
        which = later(m, part if s.simd >= s.factor**2 else copy_x.value)
        beat = Signal(s.out_count * s.bits, name="beat")
        with m.Switch(which):
            for k in range(options):
                with m.Case(k):
                    m.d.comb += beat.eq(Cat(words[k::options]))
        return beat


def _within(place: Value, offset: int, size: int) -> Value:
    """Whether ``place - offset`` is one of ``size`` places."""
    return place >= offset if offset > 0 else place < size + offset if offset < 0 else Const(1)
