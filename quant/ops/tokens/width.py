"""How wide what lies between the roundings of an operation on tokens may be, and the factors at its end."""

from ...formats import Format, signed
from ..base import Ints
from ..requantise import MAX_SHIFT, MULTIPLIER_BITS, factor_bound

__all__ = ["MOST_WIDE_BITS", "check_factors", "check_wide", "quotient_offset_format"]

MOST_WIDE_BITS = 62
"""Magnitudes lie below ``1 << MOST_WIDE_BITS``: one such number and another are added in signed 64-bit integers."""
_SPARE_BITS = 2
"""An offset may reach one and a half times as far as the format of the result, and has a sign."""


def check_wide(what: str, most: int) -> None:
    """Raise ``ValueError`` where magnitudes of ``what``, of which the largest is ``most``, take too many bits."""
    if most.bit_length() > MOST_WIDE_BITS:
        raise ValueError(f"{what} takes {most.bit_length()} bits; the limit is {MOST_WIDE_BITS}")


def quotient_offset_format(shift: int, result: Format) -> Format:
    """Format of B where ``result`` is what lies above ``shift`` bits: it moves a value to anywhere in the result."""
    return signed(shift + result.bits + _SPARE_BITS)


def check_factors(
    multiplier: Ints, offset: Ints, shift: int, result: Format, limits: tuple[int, int], channels: int
) -> None:
    """Raise ``ValueError`` where factors, offsets, shift or the clamp's ``limits`` are none for ``channels`` channels
    of ``result``."""
    if multiplier.shape != (channels,) or offset.shape != (channels,):
        raise ValueError(f"factors and B must be {channels} values, not {multiplier.shape} and {offset.shape}")
    bound = factor_bound(MULTIPLIER_BITS)
    if int(multiplier.min()) < -bound or int(multiplier.max()) > bound:
        raise ValueError(f"factors must be in {-bound}..{bound}, not {multiplier.min()}..{multiplier.max()}")
    if not 0 <= shift <= MAX_SHIFT or shift + result.bits + _SPARE_BITS > MOST_WIDE_BITS:
        raise ValueError(f"shift must be in 0..{MAX_SHIFT}, and {MOST_WIDE_BITS - _SPARE_BITS} with the bits of "
                         f"{result} at most, not {shift}")  # fmt: skip
    if not quotient_offset_format(shift, result).allows(offset):
        raise ValueError(f"B must fit {quotient_offset_format(shift, result)}, not {offset.min()}..{offset.max()}")
    low, high = limits
    if not result.lo <= low <= high <= result.hi:
        raise ValueError(f"clamp {low}..{high} leaves {result}")
