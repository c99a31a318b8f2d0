"""The kernel with multiplications, ``x * w`` per lane, for comparison: three structures, and weights of one bit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value

from ...quant.formats import Format, format_for
from ..cells.fabric import Fabric
from ..cells.functions import both, complement, exclusive, not_both
from ..cells.words import Word, plain
from .terms import Circuit, Rows, Sums, Term, products, term_of, typed
from .tree import forest

__all__ = ["booth", "partial_products", "plus_or_minus", "star"]


def star(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
    """Structure ``star``: a product per lane, for synthesis to build."""
    lo, hi = products(w.lo, w.hi, x)

    def lane(row: int, k: int) -> Term:
        product = Signal(format_for(lo, hi).bits, name=f"row{row}_lane{k}_product")
        m.d.comb += product.eq(typed(xs[k], x) * typed(ws[row][k], w))
        return term_of(product, lo, hi)

    rows = yield [[lane(row, k) for k in range(len(xs))] for row in range(len(ws))]
    return Sums(rows=(yield from forest(m, fabric, rows)))


def _booth_bit(x: Any, twice: Any, high: Any, middle: Any, low: Any) -> Any:
    """A bit of ``x`` times a digit ``low + middle - 2 * high``, complemented where the digit is negative."""
    one = middle ^ low
    two = ~one & (high ^ middle)
    return ((one & x) | (two & twice)) ^ high


def booth(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
    """Every digit is a level: the row of cells adds digit times ``x`` to what the digits below left, whose two lowest
    bits are then final. Six inputs per cell: the five of the digit, and the sum so far."""
    digits = w.bits // 2 + 1 if not w.signed else -(-w.bits // 2)

    def row_of(
        digit: int, bits: int, name: str, feature: Value, weight: Value, done: Value, above: Value | None
    ) -> Any:
        zero = Const(0, 1)
        once = Cat(feature, feature[-1]) if x.signed else Cat(feature, zero, zero)
        twice = Cat(zero, feature) if x.signed else Cat(zero, feature, zero)
        high, middle, low = (_weight_bit(weight, w, 2 * digit + k) for k in (1, 0, -1))
        words = [Word(inputs=(once, twice, high, middle, low), function=_booth_bit, signed=True)]
        if above is not None:
            words.append(plain(above[2:], signed=True))
            done = Cat(done, above[:2])
        return weight, done, fabric.add(m, words, [high], bits, f"{name}_digit{digit}")

    features: Sequence[Value] = xs
    rows: Any = [[(weight, Const(0, 0), None) for weight in row] for row in ws]
    for digit in range(digits):
        last = digit == digits - 1
        below = (w.lo, w.hi) if last else (-(2 << 2 * digit), (2 << 2 * digit) - 1)
        bits = format_for(*(end >> 2 * digit for end in products(*below, x))).bits
        rows = [
            [row_of(digit, bits, f"row{r}_lane{k}", features[k], *state) for k, state in enumerate(row)]
            for r, row in enumerate(rows)
        ]
        features, rows = yield features, rows

    lo, hi = products(w.lo, w.hi, x)
    terms = [[term_of(Cat(done, total), lo, hi) for _, done, total in row] for row in rows]
    return Sums(rows=(yield from forest(m, fabric, terms)))


def plus_or_minus(m: Module, fabric: Fabric, *, x: Format, xs: Sequence[Value], ws: Rows) -> Circuit:
    """Weights of one bit, whatever the structure: a feature or its negative."""
    lo, hi = min(x.lo, -x.hi), max(x.hi, -x.lo)

    def lane(row: int, k: int) -> Term:
        minus = signs[row][k]
        wide = features[k] if x.signed else Cat(features[k], Const(0, 1))
        word = Word(inputs=(wide, minus), function=exclusive, signed=True)
        return Term(word=word, carries=(minus,), lo=lo, hi=hi)

    features: Sequence[Value] = xs
    signs = [
        [fabric.select(m, Word(inputs=(w,), function=complement), f"row{r}_lane{k}_minus") for k, w in enumerate(row)]
        for r, row in enumerate(ws)
    ]
    features, signs = yield features, signs
    return Sums(rows=(yield from forest(m, fabric, [[lane(r, k) for k in range(len(xs))] for r in range(len(ws))])))


def _weight_bit(value: Value, fmt: Format, place: int) -> Value:
    if place < 0 or (place >= len(value) and not fmt.signed):
        return Const(0, 1)
    return value[min(place, len(value) - 1)]


def partial_products(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """Level one adds the partial products of two weight bits per row of cells; the levels behind join neighbours."""
    zero = Const(0, 1)

    def partial(feature: Value, bit: Value, place: int) -> Term:
        """``x`` times the weight bit at ``place``, which counts negative at the top of a signed weight."""
        wide = feature if x.signed else Cat(feature, zero)
        if w.signed and place == w.bits - 1:
            word = Word(inputs=(wide, bit), function=not_both, signed=True)
            return Term(word=word, carries=(Const(1, 1),), lo=min(0, -x.hi), hi=max(0, -x.lo))
        word = Word(inputs=(feature, bit), function=both, signed=x.signed)
        return Term(word=word, lo=min(0, x.lo), hi=max(0, x.hi))

    def lane(row: int, k: int) -> list[tuple[int, Term]]:
        terms = [(place, partial(xs[k], ws[row][k][place], place)) for place in range(w.bits)]
        return _joined(m, fabric, terms, f"row{row}_lane{k}_level0")

    lanes = [[lane(row, k) for k in range(len(xs))] for row in range(len(ws))]
    level = 0
    lanes = yield lanes
    while len(lanes[0][0]) > 1:
        level += 1
        lanes = yield [
            [_joined(m, fabric, terms, f"row{row}_lane{k}_level{level}") for k, terms in enumerate(lane_row)]
            for row, lane_row in enumerate(lanes)
        ]
    lo, hi = products(w.lo, w.hi, x)
    rows = [[replace(terms[0][1], lo=lo, hi=hi) for terms in row] for row in lanes]
    return Sums(rows=(yield from forest(m, fabric, rows)))


def _joined(m: Module, fabric: Fabric, terms: Sequence[tuple[int, Term]], name: str) -> list[tuple[int, Term]]:
    """Neighbours of ``terms`` added pairwise; each term has the place of its lowest bit."""
    result = []
    for k in range(0, len(terms) - 1, 2):
        (place, low), (other, high) = terms[k : k + 2]
        places = other - place
        lo, hi = low.lo + (high.lo << places), low.hi + (high.hi << places)
        bits = format_for(lo, hi).bits
        carries = [*low.carries, *high.carries]
        if low.word.is_plain and not carries:
            (value,) = low.word.inputs
            words = [plain(value[places:], signed=low.word.signed), high.word]
            total = Cat(value[:places], fabric.add(m, words, [], bits - places, f"{name}_{k}"))
        else:
            # A complement is that of all bits, those below its lowest included; its carry enters there.
            wide = [Cat(Const(0, places), high.word.inputs[0]), *high.word.inputs[1:]]
            words = [low.word, replace(high.word, inputs=tuple(wide))]
            total = fabric.add(m, words, carries, bits, f"{name}_{k}")
        result.append((place, Term(word=plain(total, signed=lo < 0), lo=lo, hi=hi)))
    if len(terms) % 2:
        result.append(terms[-1])
    return result
