"""From what a stage is made of to what synthesis makes of it: memories and multipliers as a family has them, exactly,
and for all the rest the counts to which the fitted coefficients apply.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .memories import MemoryShape, mapped
from .multipliers import DSP, blocks
from .structure import Rom, Structure

__all__ = ["Features", "features"]

_CARRY = {"ecp5": "CCU2C", "xc7": "CARRY4", "xcup": "CARRY8", "ice40": "SB_CARRY"}
_DEEPEST = 9
"""Address bits of memories in tables; deeper ones are as many of those."""
_SHIFT_REGISTERS = ("xc7", "xcup")
"""Families whose tables can be shift registers."""
_ABSORBED = ("m_operand.ff", "product.ff", "wide.ff", "wide")
"""Registers and the sum around a product of a requantise, which a multiplier block may take in."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What is known of a stage without synthesis.

    Attributes
    ----------
    bram, dsp, lutram, ram_luts : exactly; ``ram_luts`` are the lookup tables that distributed memory takes
    cells : lookup tables and carry cells that lanes instantiate
    counts : of everything that is left to synthesis
    """

    bram: float
    dsp: int
    lutram: int
    ram_luts: int
    luts: int
    carries: int
    counts: Mapping[str, float]


def features(found: Structure, family: str) -> Features:
    """What ``found`` is on a device of ``family``."""
    counts: Counter[str] = Counter(found.counts)
    luts = sum(counts.pop(cell, 0) for cell in [*counts] if cell.startswith("LUT"))
    carries = counts.pop(_CARRY[family], 0)
    bram = 0.0
    dsp = lutram = ram_luts = 0
    taken = _products(found, family, counts)
    for product, number in taken:
        dsp += product * number
    absorbs = _absorbs(found, family)
    for rom in found.roms.values():
        bram += _rom(rom, family, counts, absorbs)
    signs = int(counts.pop("signs", 0))
    if signs and family in _SHIFT_REGISTERS and mapped(found.roms["weights"].shape, family).cell is None:
        # Word, operand and rank of a sign are nothing but three registers in a row.
        lutram += signs
        ram_luts += signs
        counts["rom.ff"] -= 2 * signs
        counts["lane.ff"] -= signs
    for shape in (*found.rings, *found.queues):
        place = mapped(shape, family)
        bram += place.bram
        kind = "ring" if shape.clocked else "queue"
        if place.cell is None:
            counts[f"{kind}_bits"] += shape.width * shape.depth
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
            counts["below"] += (place.below - 1) * shape.width
            counts["belows"] += place.below
            if place.cell.kind == "block":
                counts["read.ff"] += (place.below - 1).bit_length()
    _delays(found, family, counts)
    return Features(
        bram=bram, dsp=dsp, lutram=lutram, ram_luts=ram_luts, luts=luts, carries=carries, counts=counts
    )  # fmt: skip


def _products(found: Structure, family: str, counts: Counter[str]) -> list[tuple[int, int]]:
    """Blocks of every product, and how many such products; what the blocks take in is moved to counts of its own."""
    taken = []
    dsp = DSP[family]
    for product in found.products:
        number = blocks(family, product.a, product.b, signed=(product.a_signed, product.b_signed))
        taken.append((number, product.count))
        key = product.where
        if number == 0:
            counts[f"{key}_soft"] += product.count * product.a * product.b
            counts[f"{key}_soft_edge"] += product.count * (product.a + product.b)
        elif number > 1:
            counts[f"{key}_split"] += product.count * (number - 1) * (product.a + product.b)
        if number == 0 or dsp is None or not dsp.registers:
            continue
        if key == "lane":
            _into_lanes(counts, single=product.alone)
        elif key == "requantise":
            tag = "dsp" if number == 1 else "dsp2"
            for name in _ABSORBED:
                counts[f"{tag} {name}"] += counts.pop(name, 0)
        else:
            for name in ("r_operand.ff", "r_product.ff", "r_waiting.ff"):
                counts[f"dsp {name}"] += counts.pop(name, 0)
    return taken


def _into_lanes(counts: Counter[str], *, single: bool) -> None:
    """Operands, products and the sum behind them are inside the block; with one lane to a row, that is the whole row."""
    del counts["x.ff"], counts["lane.ff"]
    if single:
        del counts["after"], counts["sums.ff"]
    else:
        del counts["first.ff"]
        counts["dsp add1"] += counts.pop("add1", 0)


def _absorbs(found: Structure, family: str) -> frozenset[str]:
    """Which multiplications have their registers inside blocks."""
    dsp = DSP[family]
    if dsp is None or not dsp.registers:
        return frozenset()
    return frozenset(
        product.where for product in found.products
        if blocks(family, product.a, product.b, signed=(product.a_signed, product.b_signed))
    )  # fmt: skip


_READERS = {"weights": "lane", "factors": "requantise", "levels": ""}


def _rom(rom: Rom, family: str, counts: Counter[str], absorbs: frozenset[str]) -> float:
    """Block RAMs of a memory of constants; what it takes else goes to ``counts``."""
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
        _tables(rom.shape, rom.distinct, counts)
    elif place.below > 1:
        counts["below"] += (place.below - 1) * rom.shape.width
        counts["read.ff"] += (place.below - 1).bit_length()
    return place.bram


def _tables(shape: MemoryShape, columns: int, counts: Counter[str]) -> None:
    """A memory of constants in lookup tables: for every column as many as its address asks for."""
    if shape.depth > 1:
        address = (shape.depth - 1).bit_length()
        counts[f"rom{min(max(address, 2), _DEEPEST)}"] += columns * shape.depth / (1 << min(address, _DEEPEST))


def _delays(found: Structure, family: str, counts: Counter[str]) -> None:
    """Where a block RAM cannot read the old word while it is written, writes come a cycle later and reads are
    compared with them; banks share the registers of data and address."""
    delayed = [shape for shape in found.rings if mapped(shape, family).delayed]
    if delayed:
        one = delayed[0]
        address = (one.depth - 1).bit_length()
        counts["delay.ff"] += 2 * one.width + address + 2 * len(delayed)
        counts["bypass"] += len(delayed) * one.width
        counts["compare"] += len(delayed) * address
