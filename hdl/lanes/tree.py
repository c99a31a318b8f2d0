"""Trees of adders over the lanes of a row, level by level, and the accumulators behind them."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Const, Module, Value

from ...quant.formats import format_for
from ..cells.fabric import Fabric
from ..cells.functions import cleared
from ..cells.words import Word, plain
from .terms import Rows, Sums, Term, negated

__all__ = ["accumulate", "forest", "level_of", "row_names"]


def row_names(ws: Rows) -> list[str]:
    """What the rows of ``ws`` are called in the Verilog: ``row0``, ``row1``, ..."""
    return [f"row{k}" for k in range(len(ws))]


def forest(
    m: Module, fabric: Fabric, rows: Sequence[Sequence[Term]], names: Sequence[str] | None = None
) -> Generator[Any, Any, list[list[Term]]]:
    """Sum every row to one term, all rows level by level."""
    current = [list(row) for row in rows]
    labels = names or row_names(rows)
    level = 0
    while any(len(row) > 1 for row in current):
        level += 1
        current = yield [
            level_of(m, fabric, row, f"{label}_level{level}") for row, label in zip(current, labels, strict=True)
        ]
    return current


def level_of(m: Module, fabric: Fabric, terms: Sequence[Term], name: str, hi: int | None = None) -> list[Term]:
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


def accumulate(m: Module, fabric: Fabric, total: Value, first: Value, sums: Sums, row: int) -> Value:
    """What ``total`` holds after a step: it and what the row adds, or only that in the ``first`` step."""
    words = [Word(inputs=(total, first), function=cleared)]
    carries: list[Value] = []
    for term in sums.rows[row]:
        words.append(term.word if sums.shared is None else replace(term.word, places=1))
        carries += term.carries
    if sums.shared is not None:
        words.append(negated(sums.shared))
        carries.append(Const(1, 1))
    return fabric.add(m, words, carries, len(total), f"row{row}_after")
