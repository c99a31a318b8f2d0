"""Dual-output lookup tables: how many sites of a Xilinx device a netlist of small tables takes.

A 7-series or UltraScale+ site holds one function of six inputs, or two of five inputs together. Yosys does not pair
functions, the vendor's tools do. So that a design that instantiates LUT6_2 wins nothing by counting alone, the same
pass runs over every netlist. It pairs whatever may share a site, related or not: more than a placer would dare. Only
what cannot be is left out: a bit of a carry chain has a site of its own, so two tables that each feed one stay apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["VERSION", "paired_luts"]

VERSION = "2"
"""The version of the counting rule; part of the key of what is cached."""
SHARED_INPUTS = 5


@dataclass(frozen=True)
class _Table:
    """A lookup table: the signals that it reads, and whether it stands in front of a carry."""

    inputs: frozenset[int]
    bound: bool

    def fits(self, other: "_Table") -> bool:
        return not (self.bound and other.bound) and len(self.inputs | other.inputs) <= SHARED_INPUTS


def paired_luts(cells: Mapping[str, Mapping[str, Any]]) -> int:
    """Sites that the lookup tables among ``cells`` (of a netlist in yosys' JSON) take once they are paired.

    Greedy, so not always the minimum: tables that read the most of the same signals first, then any two that fit.
    """
    carries = (cell["connections"]["S"] for cell in cells.values() if cell["type"].startswith("CARRY"))
    propagates = {bit for bits in carries for bit in bits}
    whole = 0
    tables: list[_Table] = []
    for cell in cells.values():
        kind, pins = cell["type"], cell["connections"]
        if kind in ("LUT6", "LUT6_2") or kind.startswith(("RAM16", "RAM32", "RAM64", "RAM128", "RAM256", "SRL")):
            whole += 1
        elif kind == "INV" or kind.startswith("LUT"):
            inputs = (bits[0] for pin, bits in pins.items() if pin.startswith("I") and bits)
            tables.append(_Table(frozenset(b for b in inputs if isinstance(b, int)), pins["O"][0] in propagates))
    return whole + _sites(tables)


def _sites(tables: list[_Table]) -> int:
    alone = set(range(len(tables)))
    readers: dict[int, list[int]] = defaultdict(list)
    for index, table in enumerate(tables):
        for bit in table.inputs:
            readers[bit].append(index)
    # Large tables have the fewest partners: they choose first.
    for index in sorted(alone, key=lambda k: (-len(tables[k].inputs), k)):
        if index not in alone:
            continue
        best, shared = None, 0
        for bit in sorted(tables[index].inputs):
            for other in readers[bit][:64]:
                if other != index and other in alone and tables[index].fits(tables[other]):
                    common = len(tables[index].inputs & tables[other].inputs)
                    if common > shared:
                        best, shared = other, common
        if best is not None:
            alone -= {index, best}
    paired = (len(tables) - len(alone)) // 2
    return paired + _strangers(tables[k] for k in alone)


def _strangers(tables: Iterable[_Table]) -> int:
    """Sites of tables that share nothing: two fit when their inputs add up. The largest takes the largest that fits."""
    left: dict[tuple[int, bool], int] = defaultdict(int)
    for table in tables:
        left[len(table.inputs), table.bound] += 1
    sites = 0
    # Bound tables are the more particular ones: first they, then the large ones.
    for size, bound in sorted(left, key=lambda kind: (not kind[1], -kind[0])):
        while left[size, bound]:
            left[size, bound] -= 1
            sites += 1
            fitting = [
                (other, other_bound)
                for (other, other_bound), count in left.items()
                if count and size + other <= SHARED_INPUTS and not (bound and other_bound)
            ]
            if fitting:
                left[max(fitting)] -= 1
    return sites
