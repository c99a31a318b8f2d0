"""Requantises whose factors have too many bits, or whose ties go to even numbers, as plain ones that equal them."""

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format
from .....quant.ops.requantise import factor_bound
from .....quant.program import Requantise
from ...plan import FACTOR_BITS, EnginePlan
from .layers import Ints
from .lines import lines_of

__all__ = ["had_by"]

_MOST_LEVELS = 255
"""Of a requantise that is looked at as a threshold."""
_FAR = 1 << 50
"""Beyond any sum."""


def had_by(plan: EnginePlan, op: Requantise, sums: Format) -> Requantise:
    """``op``, or one that equals it for every sum of the format ``sums`` and no longer has what the engine lacks:
    factors of too many bits, ties to even numbers. A result of few bits often leaves room for that.

    Raises
    ------
    UserError
        for what the requantisers of ``plan`` do not have, with the change of the build that has it.
    """
    if op.bends and not plan.slopes:
        raise UserError(f"the engine has no second slopes, which {op.name!r} has: build it with --slopes")
    even = op.ties == "even" and not plan.ties_even
    if _have_room(op, plan.factor_bits) and not even:
        return op
    plain = _plain(op, sums, plan.factor_bits)
    if plain is not None:
        return plain
    if even:
        raise UserError(f"the engine rounds no ties to even numbers, as {op.name!r} does: build it with --ties-even")
    least = next(
        bits for bits in FACTOR_BITS if _have_room(op, bits) or _plain(op, sums, bits) is not None
    )  # fmt: skip
    raise UserError(
        f"the factors of {op.name!r} take {least} bits, the engine has {plan.factor_bits}: build it with "
        f"--factor-bits {least}"
    )


def _have_room(op: Requantise, bits: int) -> bool:
    """Whether the factors are of so many bits, as they are or divided by what divides all of a channel."""
    factors = np.abs(np.stack([op.multiplier, op.seconds, op.residual_multipliers]))
    common = np.maximum(np.bitwise_or.reduce(factors), 1)
    return bool((factors[:2] // (common & -common) <= factor_bound(bits)).all())


def _plain(op: Requantise, sums: Format, factor_bits: int) -> Requantise | None:
    """The requantise without a second slope whose ties go up and that equals ``op``; None where there is none."""
    if op.residual is not None or op.bends or not 1 <= op.hi - op.lo <= _MOST_LEVELS:
        return None
    even, falling = op.ties == "even", (op.multiplier < 0).astype(np.int64)
    rising = [
        _reached(abs(m), b, s, range(op.lo + 1, op.hi + 1), even=even)
        for m, b, s in zip(op.multiplier.tolist(), op.offset.tolist(), op.shifts.tolist(), strict=True)
    ]
    found = lines_of(rising, falling, sums, factor_bits)
    if found is None:
        return None
    multiplier, offset, shift = found
    return Requantise(
        name=op.name, source=op.source, multiplier=multiplier, offset=offset + (op.lo << shift), shift=shift,
        format=op.format, lo=op.lo, hi=op.hi,
    )  # fmt: skip


def _reached(m: int, b: int, s: int, results: range, *, even: bool) -> Ints:
    """The least ``acc`` with which ``acc * m + b >> s`` is at least each of ``results``. A tie is no odd number where
    they go to even ones."""
    if m == 0:
        y = b >> s
        y -= even and y & 1 and y << s == b
        return np.where(np.array(results) <= y, -_FAR, _FAR)
    return np.array([-((b - (y << s) - (even and y & 1)) // m) for y in results])
