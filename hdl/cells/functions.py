"""Functions of bits that words are made of: of signals in the generic form, of zeros and ones in lookup tables.

Of a result only the lowest bit is read, so ``~`` of a number may set all bits above.
"""

from typing import Any

__all__ = [
    "any_of", "both", "cleared", "complement", "either", "either_complement", "exclusive", "exclusive_complement",
    "majority", "neither", "not_both", "one_pair", "parity", "refused", "same", "two_pairs", "zero",
]  # fmt: skip


# Of signals or numbers


def same(value: Any) -> Any:
    """``value``; a `Word` of this function is plain, no table has to compute it."""
    return value


def zero() -> int:
    """No bit: what stands beyond the ends of an unsigned word."""
    return 0


def complement(value: Any) -> Any:
    """Every bit the other way round."""
    return ~value


def any_of(a: Any, b: Any) -> Any:
    """Whether at least one is set."""
    return a | b


def both(a: Any, b: Any) -> Any:
    """Whether both are set."""
    return a & b


def not_both(a: Any, b: Any) -> Any:
    """Whether at least one is clear."""
    return ~(a & b)


def exclusive(a: Any, b: Any) -> Any:
    """Whether exactly one is set."""
    return a ^ b


def exclusive_complement(a: Any, b: Any) -> Any:
    """`exclusive` of the complement of ``a``."""
    return ~a ^ b


def either(s: Any, a: Any, b: Any) -> Any:
    """``a`` where ``s`` is clear, else ``b``."""
    return (~s & a) | (s & b)


def either_complement(s: Any, a: Any, b: Any) -> Any:
    """`either` of the complements of ``a`` and ``b``."""
    return either(s, ~a, ~b)


def neither(s: Any, a: Any, b: Any) -> Any:
    """The complement of the one that `either` does not take."""
    return ~((s & a) | (~s & b))


def cleared(value: Any, mask: Any) -> Any:
    """``value``, or zero where ``mask`` is set."""
    return value & ~mask


def refused(value: Any, enable: Any) -> Any:
    """Whether ``value`` is clear while ``enable`` is set."""
    return ~value & enable


# Of numbers only: counts of the bits that are set


def parity(*values: int) -> int:
    """The lowest bit of the count."""
    return sum(values) & 1


def majority(*values: int) -> int:
    """The upper bit of the count of up to three bits."""
    return int(sum(values) > 1)


def one_pair(*values: int) -> int:
    """The middle bit of the count of up to five bits."""
    return int(sum(values) in (2, 3))


def two_pairs(*values: int) -> int:
    """The upper bit of the count of up to five bits."""
    return int(sum(values) > 3)
