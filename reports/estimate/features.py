"""From what a stage is made of to what synthesis makes of it: memories and multipliers as a family has them, exactly,
and for all the rest the counts to which the fitted coefficients apply.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ...hdl.memory.image import declared_words
from ..devices.memories import mapped
from ..devices.multipliers import DSP, Dsp, blocks
from .counting import Product, RomCount, Structure

__all__ = ["Features", "features"]

_NARROW = {"ecp5": 4, "xc7": 2, "xcup": 2, "ice40": 2}
"""Bits of an adder that is put into tables."""
_NARROW_MAXIMUM = {"xc7": 6, "xcup": 6}
"""Bits of a comparison with a maximum that is put into tables, which are as good up to more bits there."""
_CARRY = {"ecp5": "CCU2C", "xc7": "CARRY4", "xcup": "CARRY8", "ice40": "SB_CARRY"}
_TABLE, _FEW = 4, 5
"""Inputs of a table; up to so many, what depends on them is put into tables, and not added up."""
_INPUTS = {"xc7": 6, "xcup": 6}
"""Inputs of a table of families where they are not `_TABLE`."""
_CONSTANTS, _LESS, _CHAINED = "lanes table of ", "lanes less of ", "lanes chain of "
"""What counts of circuits of constants are called, without their bits: tables, comparisons with a constant, sums whose
words are counted in front of them."""
_CARRY_BITS = {"xc7": 4, "xcup": 8}
"""Bits of a carry cell of families in which words are counted."""
_PLACED = tuple(f"lanes LUT{inputs}" for inputs in (1, 2, 3, 4, 5, 6, "6_2"))
"""Lookup tables that lanes instantiate."""
_DEEP_ROM: dict[str, tuple[tuple[int, float], ...]] = {
    "ecp5": ((16, 1.1), (32, 1.3), (50, 4.3), (64, 3.9), (90, 6.8), (128, 9.6), (200, 16.9), (256, 23.6), (400, 37.2)),
    "ice40": (
        (16, 1), (24, 4.1), (32, 2.2), (50, 7.9), (64, 6.8), (90, 10.8), (128, 15.3), (200, 26.6), (256, 31.8),
        (400, 50),
    ),
}  # fmt: skip
"""Lookup tables of a column of random bits by its words, as synthesis maps it behind a counter of its address: more
than the contents need, since it puts the counter's own logic into the tables as well."""
_SITE = ((64, 1), (128, 2), (256, 4))
"""Lookup tables of a column by its words, in the families of Xilinx, where `synth` maps it."""
_WAYS = {"xc7": 4, "xcup": 4}
"""Bits of which one table chooses one, where its site goes on choosing without further tables."""
_SMALL = 16
"""Words of a memory that a table of four inputs holds."""
_SHIFT_REGISTERS = ("xc7", "xcup")
"""Families whose tables can be shift registers."""
_PRODUCT = {"lane": "lane.ff", "requantise": "product.ff", "residual": "r_product.ff"}
"""Registers behind a product, which a block without a sum takes in. Those in front of it often stay outside, beside the
block RAM that feeds them; they count as if they always did."""
_ABSORBED = ("m_operand.ff", "product.ff", "wide.ff", "activation wide", "activation wide chains")
"""Registers and the sum around a product of a requantise, which a multiplier block may take in."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What is known of a stage without synthesis.

    Attributes
    ----------
    bram, dsp, lutram, ram_luts : exactly; ``ram_luts`` are the lookup tables that distributed memory takes
    luts, carries : lookup tables and carry cells that lanes instantiate
    constants : lookup tables of memories of constants by block, exactly, where `synth` maps them
    counts : of everything that is left to synthesis
    """

    bram: float
    dsp: int
    lutram: int
    ram_luts: int
    luts: int
    carries: int
    constants: Mapping[str, int]
    counts: Mapping[str, float]

    @property
    def known_luts(self) -> int:
        """Lookup tables that need no estimate."""
        return self.ram_luts + self.luts + sum(self.constants.values())


def features(found: Structure, family: str, *, declared: bool = True) -> Features:
    """What ``found`` is on a device of ``family``.

    Parameters
    ----------
    declared : memories of constants are as deep as the Verilog declares them, see `hdl.memory.image.declared_words`;
        else as they have words, for what compares folds: the further blocks are paid for the clock, which a cost of
        cells does not know
    """
    counts = _chains(found.counts, family)
    luts, carries = _of_constants(counts, family)
    luts += int(sum(counts.pop(cell, 0) for cell in _PLACED))
    carries += int(counts.pop(f"lanes {_CARRY[family]}", 0))
    bram = 0.0
    dsp = lutram = ram_luts = 0
    taken = _products(found, family, counts)
    for product, number in taken:
        dsp += product * number
    absorbs = _absorbs(found, family)
    constants: Counter[str] = Counter()
    for rom in found.roms.values():
        if declared:
            rom = replace(rom, shape=replace(rom.shape, depth=declared_words(rom.shape.depth)))
        bram += _rom(rom, family, counts, constants, absorbs)
    signs = int(counts.pop("lanes signs", 0))
    if signs and family in _SHIFT_REGISTERS and mapped(found.roms["weights"].shape, family).cell is None:
        # Word, operand and rank of a sign are nothing but three registers in a row.
        lutram += signs
        ram_luts += signs
        counts["rom.ff"] -= 2 * signs
        counts["lane.ff"] -= signs
    memories = [*(("ring", *one) for one in found.rings), *(("queue", *one) for one in found.queues)]
    for kind, block, shape in memories:
        place = mapped(shape, family)
        bram += place.bram
        if place.cell is None:
            counts[f"{block} {kind}_ways"] += shape.width * (shape.depth - 1)
            counts[f"{block} {kind}_words"] += shape.depth
            counts["register.ff"] += shape.width * shape.depth
            if shape.clocked:
                counts["read.ff"] += shape.width
            continue
        if place.cell.kind == "distributed":
            lutram += place.cells if family == "ecp5" else int(place.cells * place.cell.units)
            ram_luts += int(place.cells * place.cell.units)
            if shape.clocked:
                counts["read.ff"] += shape.width
        if place.below > 1:
            counts[f"{block} below"] += _chosen(place.below, family) * shape.width
            counts[f"{block} belows"] += place.below
            if place.cell.kind == "block":
                counts["read.ff"] += (place.below - 1).bit_length()
    _delays(found, family, counts)
    return Features(
        bram=bram, dsp=dsp, lutram=lutram, ram_luts=ram_luts, luts=luts, carries=carries, constants=constants,
        counts=counts,
    )  # fmt: skip


def _of_constants(counts: Counter[str], family: str) -> tuple[int, int]:
    """Lookup tables and carry cells of circuits of constants, which are taken out of ``counts``: a table of more inputs
    than the device's has is several, a comparison a row of tables, and the top of a chain needs none."""
    inputs, tables, carries = _INPUTS.get(family, _TABLE), 0, 0
    for name in [name for name in counts if name.startswith((_CONSTANTS, _LESS, _CHAINED))]:
        count, bits = int(counts.pop(name)), int(name.rpartition(" ")[2])
        if name.startswith(_CONSTANTS):
            tables += count << max(0, bits - inputs)
        elif name.startswith(_LESS):
            tables += count * max(1, -(-(bits - 1) // (inputs - 1)))
        else:
            tables += count * (bits - 1)
            carries += count * -(-bits // _CARRY_BITS.get(family, 4))
    return tables, carries


def _chains(raw: Mapping[str, int], family: str) -> Counter[str]:
    """``raw`` with adders by whether synthesis makes a carry chain of them: narrow ones it puts into tables."""
    counts: dict[str, int] = {}
    for name, count in raw.items():
        for made, each in _chain(name, family):
            counts[made] = counts.get(made, 0) + count * each
    return Counter(counts)


@cache
def _chain(name: str, family: str) -> tuple[tuple[str, int], ...]:
    """What one of ``name`` counts as."""
    kind, _, width = name.partition("/")
    if not width:
        return ((name, 1),)
    most = (_NARROW_MAXIMUM if kind == "lanes pool_max" else _NARROW).get(family, _NARROW[family])
    if int(width) > most:
        return (kind, int(width)), (f"{kind} chains", 1)
    return (f"{kind} narrow", int(width)), (f"{kind} narrows", 1)


def _products(found: Structure, family: str, counts: Counter[str]) -> list[tuple[int, int]]:
    """Blocks of every product, and how many such products; what the blocks take in is moved to counts of its own."""
    taken = []
    dsp = DSP[family]
    for product in found.products:
        number = blocks(family, product.a, product.b, signed=(product.a_signed, product.b_signed))
        taken.append((number, product.count))
        key = product.where
        logic = "lanes lane" if key == "lane" else f"activation {key}"
        if number == 0:
            _soft(product, f"{logic}_constant" if product.constant else logic, counts)
        elif number > 1:
            counts[f"{logic}_split"] += product.count * (number - 1) * (product.a + product.b)
        if dsp is None or not _keeps(product, number, dsp):
            continue
        if not dsp.sums:
            counts.pop(_PRODUCT[key], None)
        elif key == "lane":
            _into_lanes(counts, single=product.alone)
        elif key == "requantise":
            tag = "dsp" if number == 1 else "dsp2"
            for name in _ABSORBED:
                block, _, kind = name.rpartition("activation ")
                counts[f"{block}{tag} {kind}"] += counts.pop(name, 0)
        else:
            for name in ("r_operand.ff", "r_product.ff", "r_waiting.ff"):
                counts[f"dsp {name}"] += counts.pop(name, 0)
    return taken


def _soft(product: Product, name: str, counts: Counter[str]) -> None:
    """A product in lookup tables: rows that are added, and what every product has of its own."""
    if 0 < product.inputs <= _FEW:
        counts[f"{name}_table"] += product.count * (product.a + product.b) << max(0, product.inputs - _TABLE)
        return
    low, high = sorted((product.a, product.b))
    # Two rows of features come for nothing, in the tables of the first sum.
    counts[f"{name}_soft"] += product.rows * max(product.a - 2, 1) if product.rows else product.count * (low - 1) * high
    counts[f"{name}_soft_edge"] += product.count * (product.a + product.b)


def _into_lanes(counts: Counter[str], *, single: bool) -> None:
    """Operands, products and the sum behind them are in the block; with one lane to a row, that is the whole row."""
    del counts["x.ff"], counts["lane.ff"]
    if single:
        del counts["lanes after"], counts["lanes after chains"], counts["sums.ff"]
    else:
        del counts["first.ff"]
        counts["lanes dsp add1"] += counts.pop("lanes add1", 0)
        del counts["lanes add1 chains"]


def _keeps(product: Product, number: int, dsp: Dsp) -> bool:
    """Whether a product of so many blocks has its registers inside: without sums there, only where none of its parts is
    added in the same cycle."""
    return number > 0 and dsp.registers and (dsp.sums or number == 1 or product.halves)


def _absorbs(found: Structure, family: str) -> frozenset[str]:
    """Which multiplications have the registers of their operands inside blocks."""
    dsp = DSP[family]
    if dsp is None or not dsp.sums:
        return frozenset()
    return frozenset(
        product.where for product in found.products
        if _keeps(product, blocks(family, product.a, product.b, signed=(product.a_signed, product.b_signed)), dsp)
    )  # fmt: skip


_READERS = {"weights": "lane", "factors": "requantise", "levels": ""}


def _rom(
    rom: RomCount, family: str, counts: Counter[str], constants: Counter[str], absorbs: frozenset[str]
) -> float:  # fmt: skip
    """Block RAMs of a memory of constants; what it takes else goes to ``constants`` and ``counts``."""
    place = mapped(rom.shape, family)
    logic = place.cell is None
    for name, reader in _READERS.items():
        if reader and reader in absorbs and name == rom.name:
            counts["rom.ff"] += rom.kept
            break
    else:
        counts["rom.ff"] += rom.merged if logic else rom.behind
    if logic:
        counts["rom.ff"] += rom.distinct
        _tables(rom, family, counts, constants)
    elif place.below > 1:
        counts[f"{rom.block} below"] += _chosen(place.below, family) * rom.shape.width
        counts["read.ff"] += (place.below - 1).bit_length()
    return place.bram


def _tables(rom: RomCount, family: str, counts: Counter[str], constants: Counter[str]) -> None:
    """A memory of constants in lookup tables: for every column as many as its address asks for."""
    shape, columns = rom.shape, rom.distinct
    if shape.depth <= _SMALL:
        counts[f"{rom.block} rom{(shape.depth - 1).bit_length()}"] += columns
        return
    if family not in _DEEP_ROM:
        sites, last = divmod(shape.depth - 1, _SITE[-1][0])
        tables = sites * _SITE[-1][1] + next(count for words, count in _SITE if last < words)
        constants[rom.block] += columns * (tables + (sites > 0))  # sites are chosen among in one table more
        return
    known = _DEEP_ROM[family]
    depths, per_column = zip(*known, strict=True)
    inside = float(np.interp(shape.depth, depths, per_column))
    counts[f"{rom.block} rom"] += round(columns * inside * max(1.0, shape.depth / depths[-1]))


def _chosen(ways: int, family: str) -> int:
    """Lookup tables that choose one of so many bits, with the multiplexers of their sites."""
    return ways - 1 if family not in _WAYS else -(-ways // _WAYS[family])


def _delays(found: Structure, family: str, counts: Counter[str]) -> None:
    """Where a block RAM cannot read the old word while it is written, writes come a cycle later and reads are
    compared with them; banks of a ring share the registers of data and address."""
    for block, shapes in (
        ("window", [shape for _, shape in found.rings]),
        *((b, [shape]) for b, shape in found.queues),
    ):
        delayed = [shape for shape in shapes if mapped(shape, family).delayed]
        if delayed:
            one = delayed[0]
            address = (one.depth - 1).bit_length()
            counts["delay.ff"] += 2 * one.width + address + 2 * len(delayed)
            counts[f"{block} bypass"] += len(delayed) * one.width
            counts[f"{block} compare"] += len(delayed) * address
            counts[f"{block} compares"] += len(delayed)
