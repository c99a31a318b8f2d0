"""Convolutions of the golden model: windows gathered for each group, and multiplied with filters by the inner loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.base import Ints
from ..ops.convolution import Convolution, weight_values
from ..program import Program
from .loops import Loops, on_bytes
from .widths import Array, WidthError, in_narrowest

__all__ = ["filters_of", "sums_of"]

_ALIGN = 8
"""Terms of an L1 distance that are added up at once. Zeros fill rows up; they are equal and add nothing."""


def filters_of(program: Program, op: Convolution) -> list[Array]:
    """The weights of ``op``, per group (O, kh * kw * I), in the type of its products.

    Raises
    ------
    WidthError
        for weights or a pad that leave their formats.
    """
    operands = (("weights", op.weight_format, op.weight), ("pad", program.format(op.source), op.pad))
    for what, fmt, held in operands:
        if not fmt.allows(held):
            raise WidthError(f"{op.name}: {what} leave {fmt}: {int(held.min())}..{int(held.max())}")
    values = weight_values(op) if op.kernel in ("mult", "shift") else op.weight
    rows = values.transpose(0, 2, 3, 1).reshape(op.groups, len(op.weight) // op.groups, op.taps)
    if op.kernel == "xnor":
        return [_words(_bytes_of(part)) for part in rows]
    if op.kernel == "adder":
        return [np.pad(on_bytes(part, op.weight_format), ((0, 0), (0, -op.taps % _ALIGN))) for part in rows]
    return [in_narrowest(part) for part in rows]


def sums_of(program: Program, op: Convolution, loops: Loops, prepared: list[Array], x: Array) -> Ints:
    """The sums of a batch.

    Parameters
    ----------
    prepared : what `filters_of` gives
    x : (N, H, W, C)

    Returns
    -------
    Ints
        (N, rows, columns, O)
    """
    _, rows, columns = program.shape(op.name)
    fmt = program.format(op.source)
    width = x.shape[-1] // op.groups
    sums = []
    for group, filters in enumerate(prepared):
        part = slice(group * width, (group + 1) * width)
        operands: list[Array] = [x[..., part], op.pad[part]]
        # Whole bytes per pixel are packed before windows repeat them.
        early = op.kernel == "xnor" and width % 8 == 0
        align = 1
        if op.kernel == "adder":
            operands = [on_bytes(values, fmt) for values in operands]
            align = _ALIGN
        elif early:
            operands = [_bytes_of(values) for values in operands]
            align = 8
        patches = loops.patches(operands[0], operands[1], op.window, align)
        if op.kernel == "xnor":
            patches = _words(patches if early else _bytes_of(patches))
        sums.append(_products(program, op, loops, patches, filters))
    joined = sums[0] if len(sums) == 1 else np.concatenate(sums, axis=1)
    return joined.reshape(len(x), rows, columns, -1)


def _products(program: Program, op: Convolution, loops: Loops, patches: Any, filters: Any) -> Ints:
    declared = program.format(op.name)
    bound = max(-declared.lo, declared.hi)
    match op.kernel:
        case "adder":
            return loops.adder(patches, filters, bound)
        case "xnor":
            return op.taps - 2 * loops.differing(patches, filters)
        case _:
            return loops.mult(patches, filters, bound)


def _bytes_of(bits: Array) -> NDArray[np.uint8]:
    """The last axis of 0 and 1 in bytes, lowest bit first; what fills the last byte is 0."""
    return np.packbits(bits.astype(np.uint8, copy=False), axis=-1, bitorder="little")


def _words(packed: Array) -> NDArray[np.uint64]:
    """Rows of bytes as rows of words; what fills the last word is 0."""
    missing = -packed.shape[1] % 8
    if missing:
        packed = np.pad(packed, ((0, 0), (0, missing)))
    return np.ascontiguousarray(packed).view(np.uint64)
