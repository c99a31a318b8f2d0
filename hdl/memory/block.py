"""A memory in block RAM that is read in two cycles: the word is registered twice, close to where it is stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .ring import NO_COLLISION

__all__ = ["BlockMemory", "BlockShape"]

_ADDRESS_BITS = 14
_WIDTHS = (1, 2, 4, 9, 18)
"""Shapes of ECP5's DP16KD: each has half as many words as the one before."""


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """How cells of ECP5 (DP16KD) hold a memory.

    Attributes
    ----------
    width : of a cell's words, of 1, 2, 4, 9 and 18
    columns : cells beside each other, for the width of the memory
    rows : cells below each other, for its depth
    """

    width: int
    columns: int
    rows: int

    @classmethod
    def of(cls, width: int, depth: int) -> "BlockShape":
        """The shape of the fewest cells for ``depth`` words of ``width`` bits; of equal ones, that of the fewest rows,
        which need no selection behind them."""
        shapes = [
            cls(width=own, columns=-(-width // own), rows=-(-depth // (1 << (_ADDRESS_BITS - place))))
            for place, own in enumerate(_WIDTHS)
        ]
        return min(shapes, key=lambda shape: (shape.columns * shape.rows, shape.rows))

    @property
    def address_bits(self) -> int:
        """Bits of the address within a cell."""
        return _ADDRESS_BITS - _WIDTHS.index(self.width)


class BlockMemory(wiring.Component):
    """A memory of block RAM with one port that writes and one that reads, `latency` cycles later.

    For ECP5 its cells are instances: the second register is the one in the cell, which gives a word in a fraction of
    the time that the cell takes without it, and which synthesis does not find by itself. In the generic form it stands
    behind the memory.

    What is read of a word in the cycle in which it is written is not defined, nor are words that were never written.

    Parameters
    ----------
    width, depth : bits of a word, and words; at least 1 and 2
    fabric : of `cells.known.FABRICS`

    Members
    -------
    write, write_at, write_word : In, ``write_word`` is kept at ``write_at``
    read_at : In
    read_word : Out, what stands at ``read_at`` of `latency` cycles before
    """

    latency = 2

    def __init__(self, *, width: int, depth: int, fabric: str = "generic"):
        if width < 1 or depth < 2:
            raise ValueError(f"a memory must have words of 1 bit at least and 2 of them, not {depth} of {width} bits")
        self.width, self.depth, self.fabric = width, depth, fabric
        address = ceil_log2(depth)
        super().__init__({
            "write": In(1), "write_at": In(address), "write_word": In(width), "read_at": In(address),
            "read_word": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.read_word.eq(self._cells(m) if self.fabric == "ecp5" else self._inferred(m))
        return m

    def _inferred(self, m: Module) -> Value:
        m.submodules.words = words = memory.Memory(shape=self.width, depth=self.depth, init=[], attrs=NO_COLLISION)
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.addr.eq(self.write_at), write.data.eq(self.write_word), write.en.eq(self.write),
            read.addr.eq(self.read_at),
        ]  # fmt: skip
        word = Signal(self.width, name="word", reset_less=True)
        m.d.sync += word.eq(read.data)
        return word

    def _cells(self, m: Module) -> Value:
        shape = BlockShape.of(self.width, self.depth)
        padded = Signal(shape.columns * shape.width)
        m.d.comb += padded.eq(self.write_word)
        words = []
        for row in range(shape.rows):
            here = self.write if shape.rows == 1 else self.write & (self.write_at[shape.address_bits :] == row)
            parts = []
            for column in range(shape.columns):
                part = Signal(shape.width, name=f"part{row}_{column}")
                written = padded.word_select(column, shape.width)
                pins = dict(_written(shape, self.write_at, written, here)) | dict(_read(shape, self.read_at, part))
                m.submodules[f"cell{row}_{column}"] = Instance("DP16KD", **_parameters(shape), **pins)
                parts.append(part)
            words.append(Cat(parts)[: self.width])
        if shape.rows == 1:
            return words[0]
        asked, answered = (Signal(range(shape.rows), name=name, reset_less=True) for name in ("asked", "answered"))
        m.d.sync += [asked.eq(self.read_at[shape.address_bits :]), answered.eq(asked)]
        return Array(words)[answered]


def _parameters(shape: BlockShape) -> dict[str, Any]:
    """Those of a cell: port A writes, port B reads through its register."""
    return {
        "p_DATA_WIDTH_A": shape.width, "p_DATA_WIDTH_B": shape.width, "p_REGMODE_A": "NOREG", "p_REGMODE_B": "OUTREG",
        "p_RESETMODE": "SYNC", "p_CSDECODE_A": "0b000", "p_CSDECODE_B": "0b000", "p_WRITEMODE_A": "NORMAL",
        "p_WRITEMODE_B": "NORMAL", "p_GSR": "DISABLED",
    }  # fmt: skip


def _address(shape: BlockShape, port: str, address: Value) -> Iterator[tuple[str, Value]]:
    """The address pins. The lowest ones of wider words are not part of it: the two of the widest enable its bytes."""
    free = _ADDRESS_BITS - shape.address_bits
    for pin in range(_ADDRESS_BITS):
        bit = address[pin - free] if 0 <= pin - free < len(address) else Const(shape.width == 18 and pin < 2, 1)
        yield f"i_AD{port}{pin}", bit


def _port(port: str, *, writes: Value) -> Iterator[tuple[str, Value]]:
    """Clock and enables of a port."""
    yield f"i_CLK{port}", ClockSignal()
    yield f"i_WE{port}", writes
    yield from ((f"i_{pin}{port}", Const(1, 1)) for pin in ("CE", "OCE"))
    yield from ((f"i_{pin}", Const(0, 1)) for pin in (f"RST{port}", *(f"CS{port}{k}" for k in range(3))))


def _written(shape: BlockShape, address: Value, word: Value, writes: Value) -> Iterator[tuple[str, Value]]:
    """Pins of the port that writes."""
    yield from _port("A", writes=writes)
    yield from _address(shape, "A", address)
    yield from ((f"i_DIA{k}", word[k]) for k in range(shape.width))


def _read(shape: BlockShape, address: Value, word: Signal) -> Iterator[tuple[str, Value]]:
    """Pins of the port that reads."""
    yield from _port("B", writes=Const(0, 1))
    yield from _address(shape, "B", address)
    yield from ((f"o_DOB{k}", word[k]) for k in range(shape.width))
