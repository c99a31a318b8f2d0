"""The shift kernel: a feature times plus or minus a power of two, by a shifter in two levels."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value

from ...quant.formats import Format
from ..cells.fabric import Fabric
from ..cells.functions import any_of, either, exclusive
from ..cells.words import Word
from .terms import Circuit, Rows, Sums, Term, products
from .tree import forest

__all__ = ["barrel"]


def _one_of_four(low: Any, high: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return (~high & either(low, a, b)) | (high & either(low, c, d))


def _far_or_near(near: Any, far: Any, is_far: Any, *any_near: Any) -> Any:
    """``far``, or ``near`` if any of the last bits is set, or zero."""
    kept = any_near[0] | any_near[-1]
    return (is_far & far) | (~is_far & kept & near)


def barrel(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
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
            word = Word(inputs=(one, feature, moved(feature, 1)), function=either, bits=x.bits + 1, signed=x.signed)
            little = fabric.select(m, word, f"{name}_by_one")
            word = Word(inputs=(two, little, moved(little, 2)), function=either, bits=x.bits + 3, signed=x.signed)
        little = fabric.select(m, word, f"{name}_by_three")
        # Code c shifts by c places, one too many. What a code of 0 leaves is masked here.
        if fabric.lut_inputs > 4:
            small: tuple[Value, ...] = (one, two)
        else:
            small = (fabric.select(m, Word(inputs=(one, two), function=any_of), f"{name}_small"),)
        word = Word(
            inputs=(little[1:], moved(little, 3), four, *small), function=_far_or_near, bits=x.bits + 6,
            signed=x.signed,
        )  # fmt: skip
        return fabric.select(m, word, f"{name}_shifted"), sign

    shifted = yield [[shift(row, k) for k in range(len(xs))] for row in range(len(ws))]
    lo, hi = products(-64, 64, x)

    def lane(row: int, k: int) -> Term:
        value, sign = shifted[row][k]
        wide = value if x.signed else Cat(value, Const(0, 1))
        word = Word(inputs=(wide, sign), function=exclusive, signed=True)
        return Term(word=word, carries=(sign,), lo=lo, hi=hi)

    rows = [[lane(row, k) for k in range(len(xs))] for row in range(len(ws))]
    return Sums(rows=(yield from forest(m, fabric, rows)))
