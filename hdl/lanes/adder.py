"""The adder kernel, ``-|x - w|`` per lane, in the structures that sum distances.

`addax.hdl.lanes.larger` has the structure that sums the larger operands instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value

from ...quant.formats import Format, format_for
from ..cells.fabric import Fabric
from ..cells.functions import either, either_complement, exclusive, exclusive_complement, neither
from ..cells.words import Word, plain
from .terms import Circuit, Rows, Sums, Term
from .tree import forest

__all__ = ["UnsignedOperands", "common_format", "compare_first", "operand", "sign_carries", "two_subtractors"]


def common_format(x: Format, w: Format) -> Format:
    """The format in which features and weights of an adder kernel are compared."""
    return format_for(min(x.lo, w.lo), max(x.hi, w.hi))


@dataclass(frozen=True, kw_only=True)
class UnsignedOperands:
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
    def of(cls, x: Format, w: Format, xs: Sequence[Value], ws: Rows) -> "UnsignedOperands":
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


def operand(value: Any) -> Any:
    """An operand as it is. Not `same`: no word of operands counts as plain, because its signal alone does not say from
    where it counts."""
    return value


def two_subtractors(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """Structure ``2a``: ``x - w`` and ``w - x``; the one that is not negative is the distance."""
    grid = UnsignedOperands.of(x, w, xs, ws)

    def lane(row: int, k: int) -> Term:
        name = f"row{row}_lane{k}"
        a, b = grid.word(operand, grid.xs[k]), grid.word(operand, grid.ws[row][k])
        over, less = fabric.subtract(m, a, b, f"{name}_over")
        under, _ = fabric.subtract(m, b, a, f"{name}_under")
        function = either if over.is_plain else either_complement
        chosen = Word(inputs=(less, *over.inputs, *under.inputs), function=function, bits=grid.bits)
        return Term(word=plain(fabric.select(m, chosen, f"{name}_distance")), lo=0, hi=grid.top)

    rows = yield grid.each(lane)
    return Sums(rows=(yield from forest(m, fabric, rows)))


def compare_first(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """Structure ``1c1a``: whether ``x < w`` decides which of the two is subtracted from the other."""
    grid = UnsignedOperands.of(x, w, xs, ws)

    def compare(row: int, k: int) -> tuple[Value, Value, Value]:
        a, b = grid.xs[k], grid.ws[row][k]
        return fabric.less(m, grid.word(operand, a), grid.word(operand, b), f"row{row}_lane{k}_less"), a, b

    compared = yield grid.each(compare)

    def lane(row: int, k: int) -> Term:
        operands = compared[row][k]
        words = [grid.word(either, *operands), grid.word(neither, *operands)]
        distance = fabric.add(m, words, [Const(1, 1)], grid.bits, f"row{row}_lane{k}_distance")
        return Term(word=plain(distance), lo=0, hi=grid.top)

    rows = yield grid.each(lane)
    return Sums(rows=(yield from forest(m, fabric, rows)))


def sign_carries(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """Structure ``carry``: ``d = x - w`` and its sign ``s``; the tree gets the distance ``(d xor s) + s`` as a word
    and a carry."""
    grid = UnsignedOperands.of(x, w, xs, ws)

    def subtract(row: int, k: int) -> tuple[Word, Value]:
        a, b = grid.word(operand, grid.xs[k]), grid.word(operand, grid.ws[row][k])
        return fabric.subtract(m, a, b, f"row{row}_lane{k}")

    subtracted = yield grid.each(subtract)

    def lane(row: int, k: int) -> Term:
        difference, sign = subtracted[row][k]
        function = exclusive if difference.is_plain else exclusive_complement
        word = Word(inputs=(*difference.inputs, sign), function=function, bits=grid.bits)
        return Term(word=word, carries=(sign,), lo=0, hi=grid.top)

    return Sums(rows=(yield from forest(m, fabric, grid.each(lane))))
