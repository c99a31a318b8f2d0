"""Which arrays are priced: one per kernel in its default structure, or all there are, with ranks on equal terms."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ...common.errors import UserError
from ...hdl.lanes.shape import ArrayShape
from ...hdl.lanes.structures import STRUCTURES, default_structure
from ...quant.formats import Format, signed, unsigned
from ..devices.cell_library import CellLibrary
from ..devices.devices import Device
from .request import TERMS, ArrayRequest

__all__ = ["PRICED_KERNELS", "requests"]

PRICED_KERNELS = tuple(STRUCTURES)

SHIFT_BITS = 4


def requests(
    target: Device | CellLibrary, *, lanes: int | None = None, pin: int | None = None, pout: int | None = None,
    bits: int = 8, signed_features: bool = False, kernels: Sequence[str] = PRICED_KERNELS,
    structures: Sequence[str] = (), all_structures: bool = False, registers: str = "equal", terms: int = TERMS,
) -> list[ArrayRequest]:  # fmt: skip
    """The arrays to be priced: one per kernel, its default structure without DSP blocks, or all there are.

    Parameters
    ----------
    lanes : split into two factors as equal as possible; or ``pin`` and ``pout``
    structures : only these
    registers : ``best``, a rank behind every level; ``equal``, as many as the adder's default structure has at its
        best; or a number

    Raises
    ------
    UserError
        for anything that cannot be built.
    """
    if (pin is None) != (pout is None) or (lanes is not None and pin is not None):
        raise UserError("give --lanes, or both --pin and --pout")
    for name, value in (("lanes", lanes), ("pin", pin), ("pout", pout), ("terms", terms)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be a positive integer, not {value}")
    for kernel in kernels:
        if kernel not in PRICED_KERNELS:
            raise UserError(f"unknown kernel {kernel!r}; known: {', '.join(PRICED_KERNELS)}")
    known = [*dict.fromkeys(s for kernel in PRICED_KERNELS for s in STRUCTURES[kernel]), "dsp"]
    for structure in structures:
        if structure not in known:
            raise UserError(f"unknown structure {structure!r}; known: {', '.join(known)}")
    rows, columns = (pin, pout) if pin and pout else _square(lanes or 256)
    chosen = []
    try:
        for kernel in dict.fromkeys(kernels):
            x, w = _operands(kernel, bits, signed_features)
            default = ArrayShape(
                kernel=kernel, structure=default_structure(kernel, target.family), fabric=target.fabric, pin=rows,
                pout=columns, x=x, w=w,
            )  # fmt: skip
            chosen += _variants(ArrayRequest(shape=default, terms=terms), structures, all_structures)
        return [replace(r, shape=_with_ranks(r.shape, registers, target)) for r in chosen]
    except ValueError as error:
        raise UserError(str(error)) from error


def _square(lanes: int) -> tuple[int, int]:
    """The two factors of ``lanes`` nearest to each other, the larger one first."""
    pout = next(k for k in range(math.isqrt(lanes), 0, -1) if lanes % k == 0)
    return lanes // pout, pout


def _operands(kernel: str, bits: int, signed_features: bool) -> tuple[Format, Format]:
    """Formats as a lowered network has them: features behind a ReLU are unsigned, and with them the adder's weights."""
    if kernel == "xnor":
        return unsigned(1), unsigned(1)
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be an integer in 2..16, not {bits}")
    x = Format(bits=bits, signed=signed_features)
    return x, {"adder": x, "mult": signed(bits), "shift": unsigned(SHIFT_BITS)}[kernel]


def _variants(default: ArrayRequest, structures: Sequence[str], everything: bool) -> list[ArrayRequest]:
    shape = default.shape
    if not everything and not structures:
        return [default]
    found = []
    for structure in STRUCTURES[shape.kernel]:
        for fabric in dict.fromkeys((shape.fabric, "generic")):
            if structure == "star" and fabric != "generic":
                continue
            found.append(replace(default, shape=replace(shape, structure=structure, fabric=fabric)))
    if shape.kernel == "mult":
        found.append(replace(default, shape=replace(shape, structure="star", fabric="generic"), dsp=True))
    return [request for request in found if not structures or request.structure in structures]


def _with_ranks(shape: ArrayShape, registers: str, target: Device | CellLibrary) -> ArrayShape:
    if registers == "best":
        return replace(shape, ranks=shape.levels)
    if registers == "equal":
        x = unsigned(8)
        adder = ArrayShape(
            kernel="adder", structure=default_structure("adder", target.family), fabric=target.fabric, pin=shape.pin,
            pout=1, x=x, w=x,
        )  # fmt: skip
        return replace(shape, ranks=min(adder.levels, shape.levels))
    if not registers.isdecimal():
        raise UserError(f"registers must be equal, best or a number, not {registers!r}")
    return replace(shape, ranks=int(registers))
