"""What the lanes alone would take on an ASIC of 45 nm, by published energies per operation: the papers' kind of figure.

No memory, no registers, no clock and no wires: not comparable with the power of a device, only with tables of the same
kind. What a memory outside takes for the bytes of an image is a figure of its own.
"""

from collections.abc import Sequence
from typing import Any

from ...hdl.family import Layer

__all__ = ["BUFFER_PJ", "BUFFER_SOURCE", "ENERGY_PJ", "SOURCE", "lanes_energy", "memory_energy", "term_energy"]

ENERGY_PJ: dict[str, dict[int, float]] = {
    "add": {8: 0.03, 32: 0.1},
    "multiply": {8: 0.2, 32: 3.1},
    "shift": {8: 0.024, 16: 0.057, 32: 0.13},
}
"""Energies of integer operations at 45 nm, pJ, by bits."""
SOURCE = "integer operations at 45 nm, table of ShiftAddLLM (NeurIPS 2024) after Horowitz (ISSCC 2014)"
BUFFER_PJ = 10.0 / 64
"""Energy of an access to a buffer on the chip, pJ for each bit."""
BUFFER_SOURCE = "64 bit out of 8 KB of SRAM at 45 nm, 10 pJ, Horowitz (ISSCC 2014)"
MEMORY_PJ = (1300.0 / 64, 2600.0 / 64)
"""Energy of a bit of DRAM, read or written, pJ: the ends of the range."""
MEMORY_SOURCE = "64 bit of DRAM, 1.3 to 2.6 nJ, Horowitz (ISSCC 2014)"
_PER_PRODUCT = {"mult": ("multiply", "add"), "adder": ("add", "add"), "shift": ("shift", "add")}
"""Operations of a kernel, the addition to the sum included; an absolute value rides on the additions' carries. There is
no figure for one bit."""


def lanes_energy(layers: Sequence[Layer]) -> dict[str, Any]:
    """Energy of an image in all layers with weights, uJ; None where there is a layer whose kernel has no figure, and
    those layers are named.

    Operands take the narrowest operation that the table has for them; sums are counted at the operands' width, as in
    the papers' own tables.
    """
    energy, without = 0.0, []
    for layer in layers:
        if not layer.lanes:
            continue
        if layer.kind not in _PER_PRODUCT:
            without.append(layer.name)
            continue
        energy += layer.macs * term_energy(layer.kind, layer.operand_bits) / 1e6
    note = f"{SOURCE}; none for {', '.join(without)}" if without else SOURCE
    return {"lanes": None if without else energy, "without_figure": without, "note": note}


def memory_energy(moved: int) -> dict[str, Any]:
    """Energy of ``moved`` bytes from or to a DRAM, uJ: ``low`` and ``high``, with the bytes and the source."""
    low, high = (8 * moved * energy / 1e6 for energy in MEMORY_PJ)
    return {"bytes": moved, "low": low, "high": high, "note": MEMORY_SOURCE}


def term_energy(kernel: str, bits: int) -> float:
    """Energy of one term with operands of ``bits`` bits and of its addition to the sum, pJ, of a kernel that has a
    figure; raises `KeyError` for ``xnor``, which has none."""
    return sum(_energy(name, bits) for name in _PER_PRODUCT[kernel])


def _energy(operation: str, bits: int) -> float:
    known = ENERGY_PJ[operation]
    return known[min((width for width in known if width >= bits), default=max(known))]
