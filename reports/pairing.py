"""Dual-output lookup tables: how many sites of a Xilinx device a netlist of small tables takes.

A 7-series or UltraScale+ site holds one function of six inputs, or two of five inputs together. Yosys does not pair
functions, the vendor's tools do. So that a design that instantiates LUT6_2 wins nothing by counting alone, the same
pass runs over every netlist. It pairs whatever may share a site, related or not: more than a placer would dare.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["paired_luts"]

SHARED_INPUTS = 5


def paired_luts(cells: Mapping[str, Mapping[str, Any]]) -> int:
    """Sites that the lookup tables among ``cells`` (of a netlist in yosys' JSON) take once they are paired.

    Greedy, so not always the minimum: tables that read the most of the same signals first, then any two that fit.
    """
    whole = 0
    tables: list[frozenset[int]] = []
    for cell in cells.values():
        kind = cell["type"]
        if kind in ("LUT6", "LUT6_2") or kind.startswith(("RAM16", "RAM32", "RAM64", "RAM128", "RAM256", "SRL")):
            whole += 1
        elif kind == "INV" or kind.startswith("LUT"):
            inputs = (
                bits[0] for pin, bits in cell["connections"].items() if pin.startswith("I") and bits and pin != "INIT"
            )
            tables.append(frozenset(bit for bit in inputs if isinstance(bit, int)))
    return whole + _sites(tables)


def _sites(tables: list[frozenset[int]]) -> int:
    alone = set(range(len(tables)))
    readers: dict[int, list[int]] = defaultdict(list)
    for index, inputs in enumerate(tables):
        for bit in inputs:
            readers[bit].append(index)
    sites = 0
    # Large tables have the fewest partners: they choose first.
    for index in sorted(alone, key=lambda k: -len(tables[k])):
        if index not in alone:
            continue
        best, shared = None, 0
        for bit in tables[index]:
            for other in readers[bit][:64]:
                if other == index or other not in alone:
                    continue
                common = len(tables[index] & tables[other])
                if common > shared and len(tables[index] | tables[other]) <= SHARED_INPUTS:
                    best, shared = other, common
        if best is not None:
            alone -= {index, best}
            sites += 1
    # What is left shares nothing: two fit when their inputs add up.
    by_size = [sum(len(tables[k]) == size for k in alone) for size in range(SHARED_INPUTS + 1)]
    for small in range(SHARED_INPUTS + 1):
        for large in range(SHARED_INPUTS - small, small - 1, -1):
            pairs = by_size[small] // 2 if small == large else min(by_size[small], by_size[large])
            by_size[small] -= pairs
            by_size[large] -= pairs
            sites += pairs
    return sites + sum(by_size)
