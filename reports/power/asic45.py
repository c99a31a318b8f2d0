"""What the lanes alone would take on an ASIC of 45 nm, by published energies per operation: the papers' kind of figure.

No memory, no registers, no clock and no wires: not comparable with the power of a device, only with tables of the same
kind.
"""

from collections.abc import Sequence
from typing import Any

from ...hdl.dataflow.build import StageBuild

__all__ = ["ENERGY_PJ", "SOURCE", "lanes_energy"]

ENERGY_PJ: dict[str, dict[int, float]] = {
    "add": {8: 0.03, 32: 0.1},
    "multiply": {8: 0.2, 32: 3.1},
    "shift": {8: 0.024, 16: 0.057, 32: 0.13},
}
"""Of integer operations at 45 nm, by bits."""
SOURCE = "integer operations at 45 nm, table of ShiftAddLLM (NeurIPS 2024) after Horowitz (ISSCC 2014)"
_PER_PRODUCT = {"mult": ("multiply", "add"), "adder": ("add", "add"), "shift": ("shift", "add")}
"""Operations of a kernel, the addition to the sum included; an absolute value rides on the additions' carries. There is
no figure for one bit."""


def lanes_energy(builds: Sequence[StageBuild]) -> dict[str, Any]:
    """Energy of an image in all layers with weights, uJ; None where there is a layer whose kernel has no figure, and
    those layers are named.

    Operands take the narrowest operation that the table has for them; sums are counted at the operands' width, as in
    the papers' own tables.
    """
    energy, without = 0.0, []
    for build in builds:
        stage = build.stage
        if stage.weight is None:
            continue
        if stage.kind not in _PER_PRODUCT:
            without.append(stage.name)
            continue
        energy += stage.macs * sum(_energy(name, stage.x.bits) for name in _PER_PRODUCT[stage.kind]) / 1e6
    note = f"{SOURCE}; none for {', '.join(without)}" if without else SOURCE
    return {"lanes": None if without else energy, "without_figure": without, "note": note}


def _energy(operation: str, bits: int) -> float:
    known = ENERGY_PJ[operation]
    return known[min((width for width in known if width >= bits), default=max(known))]
