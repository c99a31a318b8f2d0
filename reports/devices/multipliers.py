"""How synthesis maps multiplications: how many DSP blocks of a family a product takes, or none.

A model of yosys' ``mul2dsp`` with the sizes that the pinned version passes to it for each family.
"""

from dataclasses import dataclass

__all__ = ["DSP", "Dsp", "blocks", "halves_above"]


@dataclass(frozen=True, kw_only=True)
class Dsp:
    """Multiplier blocks of a family.

    Attributes
    ----------
    a, b : widths of the operands, the wider one first
    part : of ``a``, when one is split
    least : bits of a result that is worth a block
    signed : whether it only multiplies signed numbers
    registers : whether synthesis puts the registers around it into the block; on ECP5 `synth.absorb` does
    sums : whether it puts the sum behind it there as well
    """

    a: int
    b: int
    part: int
    least: int
    signed: bool
    registers: bool
    sums: bool


DSP: dict[str, Dsp | None] = {
    "ecp5": Dsp(a=18, b=18, part=18, least=0, signed=False, registers=True, sums=False),
    "xc7": Dsp(a=25, b=18, part=18, least=9, signed=True, registers=True, sums=True),
    "xcup": Dsp(a=27, b=18, part=18, least=9, signed=True, registers=False, sums=False),
    "ice40": None,
}
"""What each family has; None where synthesis is not asked to use any."""
LEAST_BITS = 2
"""The fewest bits of an operand for which synthesis takes a multiplier block."""


def halves_above(family: str) -> int | None:
    """Bits of a signed operand above which a product is better made of two that are added a cycle later; None where one
    cycle does: blocks that keep sums inside are fast enough, or there are none."""
    dsp = DSP.get(family)
    return None if dsp is None or dsp.sums or dsp.a > dsp.b else dsp.a


def blocks(family: str, a: int, b: int, *, signed: tuple[bool, bool]) -> int:
    """DSP blocks of a product of ``a`` by ``b`` bits."""
    dsp = DSP[family]
    if dsp is None:
        return 0
    if a < b:
        a, b, signed = b, a, (signed[1], signed[0])
    if dsp.signed and not any(signed) and _worth(dsp, a, b, a + b):
        a, b = a + 1, b + 1
    return _split(dsp, a, b, a + b)


def _worth(dsp: Dsp, a: int, b: int, y: int) -> bool:
    return a >= LEAST_BITS and b >= LEAST_BITS and y >= dsp.least


def _split(dsp: Dsp, a: int, b: int, y: int) -> int:
    if not _worth(dsp, a, b, y):
        return 0
    headroom = int(dsp.signed)
    if a > dsp.a:
        step = dsp.part - headroom
        parts = (a - dsp.a + step - 1) // step
        last = a - parts * step
        return parts * _split(dsp, dsp.part, b, min(y, b + dsp.part)) + _split(dsp, last, b, b + last)
    if b > dsp.b:
        step = dsp.b - headroom
        parts = (b - dsp.b + step - 1) // step
        last = b - parts * step
        return parts * _split(dsp, a, dsp.b, min(y, a + dsp.b)) + _split(dsp, a, last, a + last)
    return 1
