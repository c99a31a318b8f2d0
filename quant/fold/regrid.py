"""Sums are requantised once: a tensor that is wanted on several grids is made on the finest and brought to the others.

Hardware then has one requantiser behind an array, and what waits for a residual addition is the tensor of the finest
grid. Compared with rounding the sums twice, a value moves by at most half a step of the finest grid.
"""

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..formats import Format
from ..program import Op, Requantise
from .factors import fold_scale

__all__ = ["requantised_once"]


def requantised_once(
    ops: Sequence[Op], steps: Mapping[str, float], formats: Mapping[str, Format], *, terms: int = 0,
    values: Mapping[str, Hashable] = MappingProxyType({}),
) -> list[Op]:  # fmt: skip
    """``ops`` with one requantise for all that read the same sums and the same residual.

    The others read its result, where they have fewer bits and its range covers theirs; else all stay: between grids of
    equal bits a second rounding would cost as much as the first.

    Parameters
    ----------
    steps : real value of a unit, of the operations that have one
    formats : of all results
    terms : factors are sums of at most so many signed powers of two; 0: any
    values : of results, what real function of the sums they are, up to a clamp; only equal ones are made of each other.
        A result that it does not say is made of none
    """
    groups: dict[tuple[str, str | None, Hashable], list[Requantise]] = {}
    for op in ops:
        if isinstance(op, Requantise) and op.name in steps:
            # Sums behind one batch norm or activation are other values than the sums themselves.
            groups.setdefault((op.source, op.residual, values.get(op.name, op.name)), []).append(op)
    result = list(ops)
    for group in groups.values():
        finest = min(group, key=lambda op: steps[op.name])
        others = [op for op in group if op is not finest]
        # What the Program ends with stays its end.
        if not others or finest is ops[-1] or not all(_covers(finest, op, steps) for op in others):
            continue
        at = result.index(group[0])
        result.remove(finest)
        result.insert(at, finest)
        for op in others:
            ratio = steps[finest.name] / steps[op.name]
            result[result.index(op)] = _regridded(op, finest, ratio, formats[finest.name], terms)
    return result


def _covers(finest: Requantise, other: Requantise, steps: Mapping[str, float]) -> bool:
    """Whether ``finest`` has more bits, and every value of ``other`` is near one of its.

    The lowest word of a signed grid may be missing: of two grids that reach equally far up, the finer one reaches less
    far down by nearly a step of the other, and a value that is clamped there is one step off.
    """
    fine, coarse = steps[finest.name], steps[other.name]
    if finest.format.bits <= other.format.bits:
        return False
    lowest = other.lo + 0.5 + (other.lo == other.format.lo < 0)
    return finest.lo * fine < lowest * coarse and (other.hi - 0.5) * coarse < finest.hi * fine


def _regridded(op: Requantise, finest: Requantise, ratio: float, fmt: Format, terms: int) -> Requantise:
    channels = np.zeros(len(op.multiplier))
    factors = fold_scale(gain=channels + ratio, centre=channels, bias=channels, accumulator=fmt, terms=terms)
    return Requantise(
        name=op.name, source=finest.name, multiplier=factors.multiplier, offset=factors.offset, shift=factors.shift,
        format=op.format, lo=op.lo, hi=op.hi, terms=op.terms,
    )  # fmt: skip
