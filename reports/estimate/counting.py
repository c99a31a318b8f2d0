"""What counts of a stage are made of: blocks, memories of constants, products, and the parts that many blocks have."""

from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...quant.formats import Format
from ..devices.memories import MemoryShape

Found = TypeVar("Found")
__all__ = [
    "PIECES", "Columns", "Product", "RomCount", "Structure", "add_clamp", "add_counter", "add_fifo", "bits_of",
    "columns_of", "kept",
]  # fmt: skip

PIECES = ("window", "weights", "lanes", "factors", "activation", "queue")
"""Pieces of a stage whose logic the estimate fits by themselves: ring and its addresses; memory of weights; lanes,
trees and sums; memory of factors or levels; what makes results of sums; queues, of results and of what joins. Coarser
than `hdl.blocks.BLOCKS`, into which synthesised cells are sorted."""
NARROW_CLAMP = 5
"""Bits in front of a clamp to 0 or more that are compared in tables, without a carry chain."""
MERGED = 1 << 16
"""Bits of a memory up to which it is worth a look which of its columns are the same."""


@dataclass(frozen=True, kw_only=True)
class RomCount:
    """A memory of constants.

    Attributes
    ----------
    name : ``weights``, ``factors`` or ``levels``
    shape : of what is left of it once bits that never change are gone
    distinct : columns of bits that differ from each other
    behind : flip-flops that hold what was read, where every column has its own
    merged : the same where equal columns share one
    kept : what is left of them where multiplier blocks take in registers
    """

    name: str
    shape: MemoryShape
    distinct: int
    behind: int
    merged: int
    kept: int

    @property
    def block(self) -> str:
        """One of `PIECES`."""
        return self.name if self.name in PIECES else "factors"


@dataclass(frozen=True, kw_only=True)
class Product:
    """Multiplications of ``count`` pairs of words.

    Attributes
    ----------
    where : ``lane``, ``requantise`` or ``residual``
    alone : of lanes, whether a row has only one
    rows : of requantisers, bits of the factors that are ever set, together: as many rows are added
    halves : of those, whether both halves of a wide product have registers of their own, in front of their sum
    constant : of those, whether the factors never change
    inputs : bits that a product depends on, of its operand and of a choice among few factors; 0 where they are many
    """

    where: str
    count: int
    alone: bool = False
    rows: int = 0
    halves: bool = False
    constant: bool = False
    inputs: int = 0
    a: int
    b: int
    a_signed: bool
    b_signed: bool


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Counts of a stage.

    Attributes
    ----------
    blocks : counts by name, of each of `PIECES`; those of registers end in ``.ff``
    roms : memories of constants that are read by a clock
    rings : banks of the window's ring, and queues in block RAM, with the block that each is part of
    queues : other queues, likewise; read without a clock, or into a register right behind them
    products : multiplications that may become DSP blocks: in lanes, in requantisers
    """

    blocks: dict[str, Counter[str]] = field(default_factory=lambda: {block: Counter() for block in PIECES})
    roms: dict[str, RomCount] = field(default_factory=dict)
    rings: list[tuple[str, MemoryShape]] = field(default_factory=list)
    queues: list[tuple[str, MemoryShape]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)

    def of(self, block: str) -> Counter[str]:
        """The counts of one of `PIECES`."""
        return self.blocks[block]

    @property
    def counts(self) -> Counter[str]:
        """All that are not 0: registers by name, since they are the same in all blocks, all else by block and name."""
        found: dict[str, int] = {}
        for block, own in self.blocks.items():
            for name, count in own.items():
                if count:
                    name = name if name.endswith(".ff") else f"{block} {name}"
                    found[name] = found.get(name, 0) + count
        return Counter(found)


def bits_of(values: int) -> int:
    """Bits of a register that holds 0 .. values - 1."""
    return (values - 1).bit_length()


def add_counter(found: Structure, block: str, kind: str, *ends: int) -> None:
    """Counters that run around: a register of ``kind``, an increment and a comparison each."""
    counts = found.of(block)
    for end in ends:
        if end > 1:
            counts[f"{kind}.ff"] += bits_of(end)
            counts[f"counter/{bits_of(end)}"] += 1


def add_fifo(
    found: Structure, where: str, width: int, depth: int, *, block: bool = False, registered: bool = False
) -> None:  # fmt: skip
    """A queue of ``depth`` words, in the block ``where``, in block RAM or not.

    Parameters
    ----------
    registered : whether what it gives goes nowhere but into a register, which synthesis then takes for the memory's own
    """
    counts = found.of(where)
    shape = MemoryShape(width=width, depth=depth, clocked=block or registered, written=True)
    (found.rings if block else found.queues).append((where, shape))
    # With block RAM, whether its register holds a beat.
    counts["fifo.ff"] += 2 * bits_of(depth) + bits_of(depth + 1) + block
    counts[f"fifo/{bits_of(depth)}"] += 2
    counts[f"fifo_level/{bits_of(depth + 1)}"] += 1


def add_clamp(counts: MutableMapping[str, int], y: Format, left: int, joined: int, units: int) -> None:
    """Comparisons of ``left`` bits with the ends of ``y``, if they reach beyond it; the sum had ``joined`` bits."""
    if left - (0 if y.signed else 1) <= y.bits:
        if not y.signed:
            counts["floors"] += units
        return
    kind = "between" if y.signed else "below"
    counts[f"{kind}_ends"] += units
    counts[f"{kind}"] += units * y.bits
    counts[f"{kind}_spare"] += units * (left - y.bits)
    if left <= NARROW_CLAMP and not y.signed:
        return
    # What was shifted out still lengthens the comparisons, as copies of the sign.
    counts[f"upper/{joined}"] += units
    if y.signed:
        counts[f"lower/{joined - y.bits + 1}"] += units


_KEPT: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def kept(owner: Any, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
    """What ``make`` gives, made once for every ``owner``, while that lives, and ``key``."""
    known = _KEPT.setdefault(owner, {})
    if key not in known:
        known[key] = make()
    found: Found = known[key]
    return found


@dataclass(frozen=True)
class Columns:
    """How many bits of a memory's word change from word to word at all (``varying``), and how many of those differ
    from each other (``distinct``)."""

    varying: int
    distinct: int


def columns_of(*parts: tuple[NDArray[np.int64], Format]) -> Columns:
    """The columns of a memory whose words hold ``parts``: numbers (words, count) and their format."""
    if sum(values.size * fmt.bits for values, fmt in parts) > MERGED:
        varying = sum(_changing(values, fmt) for values, fmt in parts)
        return Columns(varying, varying)
    marks = _marks(len(parts[0][0]))
    found = np.concatenate([marks @ _bits(values, fmt) for values, fmt in parts])
    varying = found[(found > 0) & (found < marks.sum())]
    return Columns(len(varying), len(set(varying.tolist())))


@cache
def _random() -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(1 << 52, 1 << 53, MERGED)


def _marks(words: int) -> NDArray[np.float64]:
    """A random number for each word: columns are the same where the sums of those that they select are. All sums are
    exact, in any order."""
    return (_random()[:words] >> words.bit_length()).astype(np.float64)


def _changing(values: NDArray[np.int64], fmt: Format) -> int:
    """How many bits of a word of ``values`` are not the same in all words."""
    changing = np.bitwise_or.reduce(values, axis=0) ^ np.bitwise_and.reduce(values, axis=0)
    return int(np.bitwise_count(changing & ((1 << fmt.bits) - 1)).sum())


def _bits(values: NDArray[np.int64], fmt: Format) -> NDArray[np.float64]:
    """(words, bits) of numbers, zeros and ones."""
    # In C order: of more than one byte, only what lies together can be looked at as bytes.
    narrow = values.astype(f"<i{1 << max(0, (fmt.bits - 1).bit_length() - 3)}", order="C")
    bits = np.unpackbits(narrow.view(np.uint8), axis=1, bitorder="little").reshape(*values.shape, -1)
    return bits[:, :, : fmt.bits].reshape(len(values), -1).astype(np.float64)
