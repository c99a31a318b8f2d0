"""Products and sums of wide numbers, in ranks that a multiplier block and a carry chain fill."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

from ...streams.delay import later

__all__ = ["added", "product", "product_ranks", "shifted_up"]

_LIMB = 17
"""Bits of a part of an operand, one fewer than a signed operand of the smallest multipliers has."""


def _limbs(bits: int) -> range:
    """Where the parts of an operand of so many bits begin."""
    return range(0, bits, _LIMB)


def _pairs(a_bits: int, b_bits: int, bits: int) -> list[tuple[int, int]]:
    """Where the parts begin whose products reach into ``bits`` bits."""
    return [(i, j) for i in _limbs(a_bits) for j in _limbs(b_bits) if i + j < bits]


def _levels(terms: int) -> int:
    return (terms - 1).bit_length()


def product_ranks(a_bits: int, b_bits: int, bits: int, *, more: int = 0) -> int:
    """Cycles that `product` takes of operands of so many bits with ``more`` terms."""
    return 1 + _levels(len(_pairs(a_bits, b_bits, bits)) + more)


def product(m: Module, a: Value, b: Value, bits: int, name: str, terms: Sequence[Value] = ()) -> Value:
    """``a * b`` and the sum of ``terms``, modulo ``2**bits``: a rank of products of parts, then additions two by two.

    Operands may have signs. Terms are taken a cycle later than they; the result is there `product_ranks` behind them.
    """
    words: list[Value] = []
    for i, j in _pairs(len(a), len(b), bits):
        left, right = _limb(a, i), _limb(b, j)
        part = left * right
        kept = Signal(part.shape(), name=f"{name}_{i}_{j}", reset_less=True)
        m.d.sync += kept.eq(part)
        words.append(kept << i + j)
    return added(m, [*words, *terms], bits, name)


def _limb(value: Value, at: int) -> Value:
    """The part that begins at ``at``, with the sign of ``value`` where it is the highest."""
    part = value[at : at + _LIMB]
    return part.as_signed() if value.shape().signed and at + _LIMB >= len(value) else part


def added(m: Module, words: Sequence[Value], bits: int, name: str) -> Value:
    """The sum of ``words`` modulo ``2**bits``, two by two; a rank for each halving of their number."""
    left, level = list(words), 0
    while len(left) > 1:
        sums = []
        for k in range(0, len(left), 2):
            total = Signal(bits, name=f"{name}_sum{level}_{k}", reset_less=True)
            m.d.sync += total.eq(sum(left[k + 1 : k + 2], left[k]))
            sums.append(total)
        left, level = sums, level + 1
    return left[0]


def shifted_up(m: Module, value: Value, places: Value, step: int, bits: int, name: str) -> Value:
    """``value << step * places`` modulo ``2**bits``, in two ranks: by two bits of ``places``, by the rest."""
    for low, high in ((0, 2), (2, len(places))):
        choice = later(m, places, low // 2, name=f"{name}_places{low}")[low:high]
        moved = Signal(bits, name=f"{name}_by{low}", reset_less=True)
        with m.Switch(choice):
            for number in range(1 << len(choice)):
                with m.Case(number):
                    m.d.sync += moved.eq(value << (number * step << low))
        value = moved
    return value
