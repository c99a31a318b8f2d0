"""What circuits of lanes hand to one another: terms, masks and the sums that they leave for the accumulators."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Value

from ...quant.formats import Format, format_for
from ..cells.functions import complement
from ..cells.words import Word, plain

__all__ = ["Circuit", "Masked", "Rows", "Sums", "Term", "negated", "products", "term_of", "typed"]

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A partial sum: a word, carries that still have to be added to it, and the range of both together."""

    word: Word
    carries: tuple[Any, ...] = ()
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A word to be registered as ``fill`` where ``mask`` is set, by the register's synchronous reset."""

    value: Any
    mask: Any
    fill: int = 0


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What a circuit leaves for the accumulators.

    Attributes
    ----------
    rows : for every row the terms to be added in every step
    shared : a word whose double complement is added to every row: the ``sum x`` of ``max``; None elsewhere
    """

    rows: list[list[Term]]
    shared: Term | None = None


Circuit = Generator[Any, Any, Sums]


def typed(value: Value, fmt: Format) -> Value:
    """The bits of ``value`` as a number of ``fmt``."""
    return value.as_signed() if fmt.signed else value.as_unsigned()


def products(lo: int, hi: int, fmt: Format) -> tuple[int, int]:
    """Range of ``fmt`` times ``lo..hi``."""
    ends = [a * b for a in (lo, hi) for b in (fmt.lo, fmt.hi)]
    return min(ends), max(ends)


def term_of(value: Value, lo: int, hi: int) -> Term:
    """A number in ``lo..hi`` as a term, in as many bits as that range needs."""
    return Term(word=plain(value[: format_for(lo, hi).bits], signed=lo < 0), lo=lo, hi=hi)


def negated(term: Term) -> Word:
    """The complement of an unsigned term, of any width."""
    (value,) = term.word.inputs
    return Word(inputs=(Cat(value, Const(0, 1)),), function=complement, signed=True)
