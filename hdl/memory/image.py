"""Memories whose contents are files, so that other weights need no other RTL; with control they can be written."""

from dataclasses import dataclass, field, replace
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["ROMS", "Image", "Rom", "Table", "WritePort", "declared_words"]


@dataclass(frozen=True, kw_only=True)
class Image:
    """Contents of a memory: ``words`` of ``width`` bits, kept in the file ``<name>.mem``.

    Only name, width and depth reach the RTL.
    """

    name: str
    width: int
    words: tuple[int, ...] = field(repr=False)

    @property
    def depth(self) -> int:
        """Number of words."""
        return len(self.words)

    @property
    def file(self) -> str:
        """Name of the file that ``$readmemh`` reads."""
        return f"{self.name}.mem"

    def text(self) -> str:
        """The file: one word per line in hexadecimal, address 0 first."""
        digits = -(-self.width // 4)
        return "".join(f"{word:0{digits}x}\n" for word in self.words)

    def holding(self, text: str) -> "Image":
        """A memory of this name, width and depth with the words of a file.

        Raises
        ------
        ValueError
            for words that are no hexadecimal numbers, too many, too few or too wide.
        """
        words = tuple(int(line, 16) for line in text.split())
        if len(words) != self.depth:
            raise ValueError(f"it holds {len(words)} words, not {self.depth}")
        if min(words, default=0) < 0 or max(words, default=0) >> self.width:
            raise ValueError(f"it holds words of more than {self.width} bits")
        return replace(self, words=words)


@dataclass(frozen=True, kw_only=True, eq=False)
class WritePort:
    """What writes a memory from outside: with ``enable``, ``data`` goes to the word that the lowest bits of ``address``
    name, at the end of the cycle."""

    enable: Value
    address: Value
    data: Value


BLOCK_WORDS = 1024
"""Words of 18 bits in a block RAM of ECP5, of 36 in one of Xilinx's devices."""

ROMS = {"auto": ("rom", ""), "block": ("block_rom", '(* rom_style = "block", ram_style = "block" *) ')}
"""Verilog module of each kind of `Rom`, and the attributes of its words."""


def declared_words(depth: int) -> int:
    """Words of which a `Rom` of ``depth`` words is declared in Verilog.

    Synthesis lays words of a somewhat deeper memory than its widest blocks side by side and chooses among them behind
    the blocks, which saves some blocks and takes a third of the cycle. It does not where the depth is the 2,048 words
    that blocks of nine bits (ECP5) or eighteen (Xilinx) have.
    """
    return 2 * BLOCK_WORDS if BLOCK_WORDS < depth < 2 * BLOCK_WORDS else depth


class _Memory(wiring.Component):
    """Shared by `Rom` and `Table`: in the library's simulator the words are built in, in Verilog they are a file."""

    _module: str
    _domain: str

    def __init__(self, image: Image, *, prefix: str | None, write: WritePort | None = None):
        self.image = image
        self.prefix = prefix
        self.write = write
        enable = {"enable": In(1, init=1)} if self._domain == "sync" else {}
        super().__init__({"address": In(max(1, ceil_log2(image.depth))), **enable, "data": Out(image.width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.prefix is None:
            m.submodules.memory = inner = memory.Memory(
                shape=self.image.width, depth=self.image.depth, init=self.image.words
            )
            port = inner.read_port(domain=self._domain)
            m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
            if self._domain == "sync":
                m.d.comb += port.en.eq(self.enable)
            if self.write is not None:
                outside = inner.write_port()
                m.d.comb += [
                    outside.en.eq(self.write.enable), outside.addr.eq(self.write.address),
                    outside.data.eq(self.write.data),
                ]  # fmt: skip
            return m
        clock = {"i_clk": ClockSignal()} if self._domain == "sync" or self.write is not None else {}
        enable = {"i_enable": self.enable} if self._domain == "sync" else {}
        written = {} if self.write is None else {
            "i_write_enable": self.write.enable,
            "i_write_address": self.write.address[: len(self.address)],
            "i_write_data": self.write.data,
        }  # fmt: skip
        m.submodules.memory = Instance(
            f"{self.prefix}.{self._module}",
            p_WIDTH=self.image.width,
            p_DEPTH=declared_words(self.image.depth) if self._domain == "sync" else self.image.depth,
            p_ADDRESS_WIDTH=len(self.address),
            p_FILE=self.image.file,
            i_address=self.address,
            o_data=self.data,
            **clock,
            **enable,
            **written,
        )
        return m


class Rom(_Memory):
    """A memory with a registered read: ``data`` belongs to the address of the last cycle with ``enable``, which is 1
    unless connected. Latency 1.

    Parameters
    ----------
    prefix : of the Verilog module that reads the file; None builds the words in
    write : what writes it from outside, if anything does
    kind : one of `ROMS`: ``auto`` leaves it to synthesis, ``block`` asks for block RAM
    """

    _domain = "sync"

    def __init__(self, image: Image, *, prefix: str | None, write: WritePort | None = None, kind: str = "auto"):
        super().__init__(image, prefix=prefix, write=write)
        self._module, _ = ROMS[kind]


class Table(_Memory):
    """A few words read in the same cycle: constants of a layer. Latency 0."""

    _module = "table"
    _domain = "comb"
