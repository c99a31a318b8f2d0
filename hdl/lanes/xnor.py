"""The binary kernel: how many pairs of signs are equal, ``sum = 2 * count - terms``."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value

from ...quant.formats import Format
from ..cells.fabric import Fabric
from ..cells.words import Word, plain
from .terms import Circuit, Rows, Sums, Term
from .tree import level_of

__all__ = ["count"]


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


def count(m: Module, fabric: Fabric, *, x: Format, w: Format, xs: Sequence[Value], ws: Rows, enable: Value) -> Circuit:
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
    counted = yield [level_of(m, fabric, row, f"row{k}_count", hi=len(xs)) for k, row in enumerate(terms)]
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
