"""The kernels as circuits: how a lane computes its term, and how terms are summed.

A circuit is written as a Python generator. Every ``yield`` is a place where a rank of registers may stand; it hands
out everything that is alive there and gets it back, registered or not. So a circuit says once what it computes, and the
number of its levels, the latency and the choice of ranks follow from it.

============  =========  =====================================================================================
kernel        structure  term
============  =========  =====================================================================================
``adder``     2a         two subtractors, a multiplexer takes the one that is not negative
..            1c1a       a comparator, then the larger minus the smaller
..            carry      one subtractor; ``|d| = (d xor s) + s``: the xor rides in the table in front of the next
                         adder's carry chain, the ``+ s`` is that adder's carry in
..            max        ``sum|x-w| = 2 sum max(x,w) - sum x - sum w``: a comparator of two bits per cell; the larger
                         operand is chosen by the synchronous reset of two registers and by the adder's own tables;
                         ``sum x`` is shared by all rows, ``sum w`` stays in the result (a constant of the row)
``mult``      booth      radix-4 digits of the weight, one row of cells per digit
..            rows       two partial products per row of cells, then adders
..            star       ``x * w``; synthesis decides, and takes DSP blocks when it may
``xnor``      count      counters of three lanes, then of seven and three bits, never a chain of lanes
``shift``     barrel     a shifter in two levels, its sign as in ``carry``
============  =========  =====================================================================================
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value

from ...quant.formats import Format, format_for
from ..cells.fabric import Fabric, Word, plain

__all__ = ["MASKING", "STRUCTURES", "Masked", "Sums", "Term", "accumulate", "circuit", "common_format"]

STRUCTURES: dict[str, tuple[str, ...]] = {
    "adder": ("2a", "1c1a", "carry", "max"),
    "mult": ("booth", "rows", "star"),
    "xnor": ("count",),
    "shift": ("barrel",),
}
"""Structures of each kernel."""
MASKING = ("max",)
"""Structures whose lanes hand on `Masked` signals."""

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


def common_format(x: Format, w: Format) -> Format:
    """The format in which features and weights of an adder kernel are compared."""
    return format_for(min(x.lo, w.lo), max(x.hi, w.hi))


def circuit(
    m: Module, fabric: Fabric, *, kernel: str, structure: str, x: Format, w: Format, xs: Sequence[Value],
    ws: Rows, enable: Value,
) -> Circuit:  # fmt: skip
    """The circuit of ``len(ws)`` rows of ``len(xs)`` lanes.

    Parameters
    ----------
    xs, ws : operands of the lanes
    enable : whether registers take what they are given in this cycle; masks follow it
    """
    if kernel == "mult" and w.bits == 1:
        return _signs(m, fabric, x=x, xs=xs, ws=ws)
    maker: Callable[..., Circuit] = {
        "2a": _two_subtractors, "1c1a": _compare_first, "carry": _sign_carries, "max": _larger,
        "booth": _booth, "rows": _partial_products, "star": _product, "count": _count, "barrel": _barrel,
    }[structure]  # fmt: skip
    return maker(m, fabric, x=x, w=w, xs=xs, ws=ws, enable=enable)


# The adder kernel


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Operands of an adder kernel as unsigned words that count from the lowest value of a common format.

    Differences do not change when both operands move; turning a signed number into one that counts from the lowest only
    inverts its top bit, which the tables of the cells do for nothing.
    """

    bits: int
    flip: bool
    top: int
    xs: list[Value]
    ws: list[list[Value]]

    @classmethod
    def of(cls, x: Format, w: Format, xs: Sequence[Value], ws: Rows) -> "_Grid":
        grid = common_format(x, w)
        return cls(
            bits=grid.bits, flip=grid.signed, top=grid.hi - grid.lo,
            xs=[_wide(v, x, grid.bits) for v in xs], ws=[[_wide(v, w, grid.bits) for v in row] for row in ws],
        )  # fmt: skip

    def word(self, function: Callable[..., Any], *inputs: Value) -> Word:
        """A function of operands that gives one of them."""
        return Word(inputs=inputs, function=function, bits=self.bits, flip=self.flip)

    def each(self, function: Callable[[int, int], Any]) -> list[list[Any]]:
        """``function(row, lane)`` for all."""
        return [[function(row, lane) for lane in range(len(self.xs))] for row in range(len(self.ws))]


def _wide(value: Value, fmt: Format, bits: int) -> Value:
    missing = bits - len(value)
    return value if missing == 0 else Cat(value, *[value[-1] if fmt.signed else Const(0, 1)] * missing)


def _same(value: Any) -> Any:
    return value


def _either(s: Any, a: Any, b: Any) -> Any:
    """``a`` where ``s`` is clear, else ``b``."""
    return (~s & a) | (s & b)


def _neither(s: Any, a: Any, b: Any) -> Any:
    """The complement of the one that `_either` does not take."""
    return ~((s & a) | (~s & b))


def _either_complement(s: Any, a: Any, b: Any) -> Any:
    return _either(s, ~a, ~b)


def _exclusive(a: Any, b: Any) -> Any:
    return a ^ b


def _exclusive_complement(a: Any, b: Any) -> Any:
    return ~a ^ b


def _cleared(value: Any, mask: Any) -> Any:
    return value & ~mask


def _refused(value: Any, enable: Any) -> Any:
    return ~value & enable


def _complement(value: Any) -> Any:
    return ~value


def _two_subtractors(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    grid = _Grid.of(x, w, xs, ws)

    def lane(row: int, k: int) -> Term:
        name = f"row{row}_lane{k}"
        a, b = grid.word(_same, grid.xs[k]), grid.word(_same, grid.ws[row][k])
        over, less = fabric.subtract(m, a, b, f"{name}_over")
        under, _ = fabric.subtract(m, b, a, f"{name}_under")
        function = _either if over.is_plain else _either_complement
        chosen = Word(inputs=(less, *over.inputs, *under.inputs), function=function, bits=grid.bits)
        return Term(word=plain(fabric.select(m, chosen, f"{name}_distance")), lo=0, hi=grid.top)

    rows = yield grid.each(lane)
    return Sums(rows=(yield from _forest(m, fabric, rows)))


def _compare_first(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    grid = _Grid.of(x, w, xs, ws)

    def compare(row: int, k: int) -> tuple[Value, Value, Value]:
        a, b = grid.xs[k], grid.ws[row][k]
        return fabric.less(m, grid.word(_same, a), grid.word(_same, b), f"row{row}_lane{k}_less"), a, b

    compared = yield grid.each(compare)

    def lane(row: int, k: int) -> Term:
        operands = compared[row][k]
        words = [grid.word(_either, *operands), grid.word(_neither, *operands)]
        distance = fabric.add(m, words, [Const(1, 1)], grid.bits, f"row{row}_lane{k}_distance")
        return Term(word=plain(distance), lo=0, hi=grid.top)

    rows = yield grid.each(lane)
    return Sums(rows=(yield from _forest(m, fabric, rows)))


def _sign_carries(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    grid = _Grid.of(x, w, xs, ws)

    def subtract(row: int, k: int) -> tuple[Word, Value]:
        a, b = grid.word(_same, grid.xs[k]), grid.word(_same, grid.ws[row][k])
        return fabric.subtract(m, a, b, f"row{row}_lane{k}")

    subtracted = yield grid.each(subtract)

    def lane(row: int, k: int) -> Term:
        difference, sign = subtracted[row][k]
        function = _exclusive if difference.is_plain else _exclusive_complement
        word = Word(inputs=(*difference.inputs, sign), function=function, bits=grid.bits)
        return Term(word=word, carries=(sign,), lo=0, hi=grid.top)

    return Sums(rows=(yield from _forest(m, fabric, grid.each(lane))))


def _larger(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """One row of cells sums a pair of lanes. Where a cell reads five inputs, the first lane's operand is chosen by its
    comparison (three inputs) and the second lane's by masked registers (two); where it reads four, both by masks."""
    grid = _Grid.of(x, w, xs, ws)
    steered = fabric.cell_inputs > 4

    def compare(row: int, k: int) -> tuple[Any, ...]:
        name = f"row{row}_lane{k}_less"
        a, b = grid.xs[k], grid.ws[row][k]
        words = grid.word(_same, a), grid.word(_same, b)
        if steered and k % 2 == 0:
            return fabric.less(m, *words, name), a, b
        less = fabric.less(m, *words, name, enable)
        other = fabric.select(m, Word(inputs=(less, enable), function=_refused), f"{name}_not")
        # The top bit, which is read inverted, is masked by ones, all others by zeros.
        fill = 1 << (grid.bits - 1) if grid.flip else 0
        return Masked(value=a, mask=less, fill=fill), Masked(value=b, mask=other, fill=fill)

    features = [Term(word=grid.word(_same, value), lo=0, hi=grid.top) for value in grid.xs]
    features = _level(m, fabric, features, "features_level0")
    compared, features = yield grid.each(compare), features

    def lane(row: int, k: int) -> Term:
        alive = compared[row][k]
        # One of two masked words is all mask, and the mask of the top bit inverts the other's.
        word = grid.word(_either, *alive) if len(alive) == 3 else Word(inputs=alive, function=_exclusive)
        return Term(word=word, lo=0, hi=grid.top)

    *rows, (shared,) = yield from _forest(m, fabric, [*grid.each(lane), features], names=[*_row_names(ws), "features"])
    if not shared.word.is_plain:
        shared = replace(shared, word=plain(fabric.select(m, shared.word, "features")))
    if fabric.arity > 2:
        return Sums(rows=rows, shared=shared)
    minus = _minus(shared)

    def distance(row: int) -> Term:
        (larger,) = rows[row]
        hi = 2 * larger.hi
        words = [replace(larger.word, places=1), minus]
        value = fabric.add(m, words, [Const(1, 1)], format_for(0, hi).bits, f"row{row}_distances")
        return Term(word=plain(value), lo=0, hi=hi)

    return Sums(rows=(yield [[distance(row)] for row in range(len(ws))]))


def _minus(term: Term) -> Word:
    """The complement of an unsigned term, of any width."""
    (value,) = term.word.inputs
    return Word(inputs=(Cat(value, Const(0, 1)),), function=_complement, signed=True)


# Multiplication


def _typed(value: Value, fmt: Format) -> Value:
    return value.as_signed() if fmt.signed else value.as_unsigned()


def _products(lo: int, hi: int, fmt: Format) -> tuple[int, int]:
    """Range of ``fmt`` times ``lo..hi``."""
    ends = [a * b for a in (lo, hi) for b in (fmt.lo, fmt.hi)]
    return min(ends), max(ends)


def _term(value: Value, lo: int, hi: int) -> Term:
    return Term(word=plain(value[: format_for(lo, hi).bits], signed=lo < 0), lo=lo, hi=hi)


def _product(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    lo, hi = _products(w.lo, w.hi, x)

    def lane(row: int, k: int) -> Term:
        product = Signal(format_for(lo, hi).bits, name=f"row{row}_lane{k}_product")
        m.d.comb += product.eq(_typed(xs[k], x) * _typed(ws[row][k], w))
        return _term(product, lo, hi)

    rows = yield [[lane(row, k) for k in range(len(xs))] for row in range(len(ws))]
    return Sums(rows=(yield from _forest(m, fabric, rows)))


def _booth_bit(x: Any, twice: Any, high: Any, middle: Any, low: Any) -> Any:
    """A bit of ``x`` times a digit ``low + middle - 2 * high``, complemented where the digit is negative."""
    one = middle ^ low
    two = ~one & (high ^ middle)
    return ((one & x) | (two & twice)) ^ high


def _booth(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
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
        bits = format_for(*(end >> 2 * digit for end in _products(*below, x))).bits
        rows = [
            [row_of(digit, bits, f"row{r}_lane{k}", features[k], *state) for k, state in enumerate(row)]
            for r, row in enumerate(rows)
        ]
        features, rows = yield features, rows

    lo, hi = _products(w.lo, w.hi, x)
    terms = [[_term(Cat(done, total), lo, hi) for _, done, total in row] for row in rows]
    return Sums(rows=(yield from _forest(m, fabric, terms)))


def _signs(m: Module, fabric: Fabric, *, x: Format, xs: Sequence[Value], ws: Rows) -> Circuit:
    """Weights of one bit, whatever the structure: a feature or its negative."""
    lo, hi = min(x.lo, -x.hi), max(x.hi, -x.lo)

    def lane(row: int, k: int) -> Term:
        minus = signs[row][k]
        wide = features[k] if x.signed else Cat(features[k], Const(0, 1))
        word = Word(inputs=(wide, minus), function=_exclusive, signed=True)
        return Term(word=word, carries=(minus,), lo=lo, hi=hi)

    features: Sequence[Value] = xs
    signs = [
        [fabric.select(m, Word(inputs=(w,), function=_complement), f"row{r}_lane{k}_minus") for k, w in enumerate(row)]
        for r, row in enumerate(ws)
    ]
    features, signs = yield features, signs
    return Sums(rows=(yield from _forest(m, fabric, [[lane(r, k) for k in range(len(xs))] for r in range(len(ws))])))


def _weight_bit(value: Value, fmt: Format, place: int) -> Value:
    if place < 0 or (place >= len(value) and not fmt.signed):
        return Const(0, 1)
    return value[min(place, len(value) - 1)]


def _both(a: Any, b: Any) -> Any:
    return a & b


def _not_both(a: Any, b: Any) -> Any:
    return ~(a & b)


def _partial_products(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """Level one adds the partial products of two weight bits per row of cells; the levels behind join neighbours."""
    zero = Const(0, 1)

    def partial(feature: Value, bit: Value, place: int) -> Term:
        """``x`` times the weight bit at ``place``, which counts negative at the top of a signed weight."""
        wide = feature if x.signed else Cat(feature, zero)
        if w.signed and place == w.bits - 1:
            word = Word(inputs=(wide, bit), function=_not_both, signed=True)
            return Term(word=word, carries=(Const(1, 1),), lo=min(0, -x.hi), hi=max(0, -x.lo))
        word = Word(inputs=(feature, bit), function=_both, signed=x.signed)
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
    lo, hi = _products(w.lo, w.hi, x)
    rows = [[replace(terms[0][1], lo=lo, hi=hi) for terms in row] for row in lanes]
    return Sums(rows=(yield from _forest(m, fabric, rows)))


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


# Binary and shift


def _ones(*bits: Any) -> Any:
    """The lower bit of how many pairs are equal."""
    result = bits[0] ^ bits[1] ^ (len(bits) // 2 & 1)
    for bit in bits[2:]:
        result = result ^ bit
    return result


def _twos(*bits: Any) -> Any:
    """The upper bit of how many of two or three pairs are equal."""
    a, b, *rest = (~(bits[k] ^ bits[k + 1]) for k in range(0, len(bits), 2))
    return (a & b) | (rest[0] & (a | b)) if rest else a & b


def _count(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
    """The number of equal pairs; ``2 * sum - terms`` is the sum of +1 and -1."""
    lanes = fabric.lut_inputs // 2

    def first(row: int) -> dict[int, list[Value]]:
        columns: dict[int, list[Value]] = {0: [], 1: []}
        for k in range(0, len(xs), lanes):
            pairs = tuple(v for pair in zip(xs[k : k + lanes], ws[row][k : k + lanes], strict=True) for v in pair)
            name = f"row{row}_lane{k}"
            columns[0].append(fabric.select(m, Word(inputs=pairs, function=_ones), f"{name}_ones"))
            if len(pairs) > 2:
                columns[1].append(fabric.select(m, Word(inputs=pairs, function=_twos), f"{name}_twos"))
        return columns

    rows = yield [first(row) for row in range(len(ws))]
    level = 0
    while any(len(column) > 2 for column in rows[0].values()):
        level += 1
        rows = yield [_compressed(m, fabric, row, f"row{k}_level{level}") for k, row in enumerate(rows)]

    def words(columns: dict[int, list[Value]]) -> list[Term]:
        height = max(len(column) for column in columns.values())
        top = max(place for place, column in columns.items() if column) + 1
        result = []
        for k in range(height):
            bits = [columns[place][k] if len(columns.get(place, [])) > k else Const(0, 1) for place in range(top)]
            filled = max(place for place in range(top) if not isinstance(bits[place], Const)) + 1
            value = Cat(*bits[:filled])
            result.append(Term(word=plain(value), lo=0, hi=(1 << filled) - 1))
        return result

    terms = [words(columns) for columns in rows]
    if len(terms[0]) < fabric.arity:
        return Sums(rows=terms)
    counted = yield [_level(m, fabric, row, f"row{k}_count", hi=len(xs)) for k, row in enumerate(terms)]
    return Sums(rows=counted)


def _compressed(m: Module, fabric: Fabric, columns: dict[int, list[Value]], name: str) -> dict[int, list[Value]]:
    """Every column of more than two bits through counters of seven and of three bits."""
    result: dict[int, list[Value]] = {place: [] for place in range(max(columns) + 3)}
    for place, column in columns.items():
        rest = list(column)
        part = 0
        while len(rest) > 2:
            label = f"{name}_column{place}_{part}"
            part += 1
            if len(rest) >= 6:
                taken, rest = rest[:7], rest[7:]
                counted = fabric.count7(m, [*taken, Const(0, 1)][:7], label)
            else:
                taken, rest = rest[:3], rest[3:]
                counted = fabric.count3(m, taken, label)
            for k in range(len(counted)):
                result[place + k].append(counted[k])
        result[place] += rest
    return {place: column for place, column in result.items() if column}


def _one_of_four(low: Any, high: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return (~high & _either(low, a, b)) | (high & _either(low, c, d))


def _any_of(a: Any, b: Any) -> Any:
    return a | b


def _far_or_near(near: Any, far: Any, is_far: Any, *any_near: Any) -> Any:
    """``far``, or ``near`` if any of the last bits is set, or zero."""
    kept = any_near[0] | any_near[-1]
    return (is_far & far) | (~is_far & kept & near)


def _barrel(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """A weight is a code of three bits below a sign: 0 is zero, ``c`` is ``2**(c - 1)``."""

    def moved(value: Value, places: int) -> Value:
        return Cat(Const(0, places), value)

    def shift(row: int, k: int) -> tuple[Value, Value]:
        name, feature = f"row{row}_lane{k}", xs[k]
        one, two, four, sign = ws[row][k]
        if fabric.lut_inputs > 4:
            inputs = (one, two, feature, moved(feature, 1), moved(feature, 2), moved(feature, 3))
            word = Word(inputs=inputs, function=_one_of_four, bits=x.bits + 3, signed=x.signed)
        else:
            word = Word(inputs=(one, feature, moved(feature, 1)), function=_either, bits=x.bits + 1, signed=x.signed)
            little = fabric.select(m, word, f"{name}_by_one")
            word = Word(inputs=(two, little, moved(little, 2)), function=_either, bits=x.bits + 3, signed=x.signed)
        little = fabric.select(m, word, f"{name}_by_three")
        # Code c shifts by c places, one too many. What a code of 0 leaves is masked here.
        if fabric.lut_inputs > 4:
            small: tuple[Value, ...] = (one, two)
        else:
            small = (fabric.select(m, Word(inputs=(one, two), function=_any_of), f"{name}_small"),)
        word = Word(
            inputs=(little[1:], moved(little, 3), four, *small), function=_far_or_near, bits=x.bits + 6,
            signed=x.signed,
        )  # fmt: skip
        return fabric.select(m, word, f"{name}_shifted"), sign

    shifted = yield [[shift(row, k) for k in range(len(xs))] for row in range(len(ws))]
    lo, hi = _products(-64, 64, x)

    def lane(row: int, k: int) -> Term:
        value, sign = shifted[row][k]
        wide = value if x.signed else Cat(value, Const(0, 1))
        word = Word(inputs=(wide, sign), function=_exclusive, signed=True)
        return Term(word=word, carries=(sign,), lo=lo, hi=hi)

    rows = [[lane(row, k) for k in range(len(xs))] for row in range(len(ws))]
    return Sums(rows=(yield from _forest(m, fabric, rows)))


# Trees


def _row_names(ws: Rows) -> list[str]:
    return [f"row{k}" for k in range(len(ws))]


def _forest(
    m: Module, fabric: Fabric, rows: Sequence[Sequence[Term]], names: Sequence[str] | None = None
) -> Generator[Any, Any, list[list[Term]]]:
    """Sum every row to one term, all rows level by level."""
    current = [list(row) for row in rows]
    labels = names or _row_names(rows)
    level = 0
    while any(len(row) > 1 for row in current):
        level += 1
        current = yield [
            _level(m, fabric, row, f"{label}_level{level}") for row, label in zip(current, labels, strict=True)
        ]
    return current


def _level(m: Module, fabric: Fabric, terms: Sequence[Term], name: str, hi: int | None = None) -> list[Term]:
    """One level of adders over ``terms``; ``hi`` bounds the sums where they cannot reach that of the words."""
    result: list[Term] = []
    rest = list(terms)
    while rest:
        count = fabric.group([term.word for term in rest])
        group, rest = rest[:count], rest[count:]
        result.append(group[0] if count == 1 else _added(m, fabric, group, f"{name}_{len(result)}", hi))
    return result


def _added(m: Module, fabric: Fabric, terms: Sequence[Term], name: str, hi: int | None) -> Term:
    """The sum of ``terms``; it takes all their carries but one."""
    lo, hi = sum(term.lo for term in terms), sum(term.hi for term in terms) if hi is None else hi
    carries = [carry for term in terms for carry in term.carries]
    taken = len(terms) - 1
    value = fabric.add(m, [term.word for term in terms], carries[:taken], format_for(lo, hi).bits, name)
    return Term(word=plain(value, signed=lo < 0), carries=tuple(carries[taken:]), lo=lo, hi=hi)


# Accumulators


def accumulate(m: Module, fabric: Fabric, total: Value, first: Value, sums: Sums, row: int) -> Value:
    """What ``total`` holds after a step: it and what the row adds, or only that in the ``first`` step."""
    words = [Word(inputs=(total, first), function=_cleared)]
    carries: list[Value] = []
    for term in sums.rows[row]:
        words.append(term.word if sums.shared is None else replace(term.word, places=1))
        carries += term.carries
    if sums.shared is not None:
        words.append(_minus(sums.shared))
        carries.append(Const(1, 1))
    return fabric.add(m, words, carries, len(total), f"row{row}_after")
