"""The adder kernel in structure ``max``: ``sum|x-w| = 2 sum max(x, w) - sum x - sum w``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Const, Module, Value

from ...quant.formats import Format, format_for
from ..cells.fabric import Fabric
from ..cells.functions import either, exclusive, refused
from ..cells.words import Word, plain
from .adder import UnsignedOperands, operand
from .terms import Circuit, Masked, Rows, Sums, Term, negated
from .tree import forest, level_of, row_names

__all__ = ["larger_operands"]


def larger_operands(
    m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value
) -> Circuit:
    """One row of cells sums a pair of lanes. Where a cell reads five inputs, the first lane's operand is chosen by its
    comparison (three inputs) and the second lane's by masked registers (two); where it reads four, both by masks."""
    grid = UnsignedOperands.of(x, w, xs, ws)
    steered = fabric.cell_inputs > 4

    def compare(row: int, k: int) -> tuple[Any, ...]:
        name = f"row{row}_lane{k}_less"
        a, b = grid.xs[k], grid.ws[row][k]
        words = grid.word(operand, a), grid.word(operand, b)
        if steered and k % 2 == 0:
            return fabric.less(m, *words, name), a, b
        less = fabric.less(m, *words, name, enable)
        other = fabric.select(m, Word(inputs=(less, enable), function=refused), f"{name}_not")
        # The top bit, which is read inverted, is masked by ones, all others by zeros.
        fill = 1 << (grid.bits - 1) if grid.flip else 0
        return Masked(value=a, mask=less, fill=fill), Masked(value=b, mask=other, fill=fill)

    features = [Term(word=grid.word(operand, value), lo=0, hi=grid.top) for value in grid.xs]
    features = level_of(m, fabric, features, "features_level0")
    compared, features = yield grid.each(compare), features

    def lane(row: int, k: int) -> Term:
        alive = compared[row][k]
        # One of two masked words is all mask, and the mask of the top bit inverts the other's.
        word = grid.word(either, *alive) if len(alive) == 3 else Word(inputs=alive, function=exclusive)
        return Term(word=word, lo=0, hi=grid.top)

    *rows, (shared,) = yield from forest(m, fabric, [*grid.each(lane), features], names=[*row_names(ws), "features"])
    if not shared.word.is_plain:
        shared = replace(shared, word=plain(fabric.select(m, shared.word, "features")))
    if fabric.arity > 2:
        return Sums(rows=rows, shared=shared)
    minus = negated(shared)

    def distance(row: int) -> Term:
        (larger,) = rows[row]
        hi = 2 * larger.hi
        words = [replace(larger.word, places=1), minus]
        value = fabric.add(m, words, [Const(1, 1)], format_for(0, hi).bits, f"row{row}_distances")
        return Term(word=plain(value), lo=0, hi=hi)

    return Sums(rows=(yield [[distance(row)] for row in range(len(ws))]))
