"""What verbs print of standard cells, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from ..cells.asic import CLOCK_MHZ
from .verb_tables import against

__all__ = ["array_table", "build_table"]

_ARRAY_COLUMNS = {
    "um2": ("area_um2", ",.0f"), "cells": ("cells", ","), "FF": ("ff", ","), "ns": ("path_ns", ".2f"),
    "MHz": ("fmax_mhz", ".0f"), "mW": ("power_mw", ",.1f"),
}  # fmt: skip
_AGAINST_BASE = ("area_um2", "fmax_mhz", "power_mw")
_BUILD_ROWS = {
    "lanes": ("lanes", ","), "cycles per image": ("cycles_per_image", ","), "area, um2": ("area_um2", ",.0f"),
    "of it flip-flops": ("flip_flop_um2", ",.0f"), "cells": ("cells", ","), "flip-flops": ("ff", ","),
    "memory bits, apart": ("memory_bits", ","), "longest path, ns": ("path_ns", ".2f"), "mW": ("power_mw", ".2f"),
    "mW without glitches": ("power_settled_mw", ".2f"), "leakage, mW": ("leakage_mw", ".4f"),
    "uJ per image": ("energy_per_image_uj", ".3f"), "modelled on the FPGA, mW": ("modelled_mw", ".2f"),
    "images, bit-exact": ("images", ","),
}  # fmt: skip
_PLAIN = ("lanes", "cycles_per_image", "images")


def array_table(rows: Sequence[Mapping[str, Any]], name: str) -> Table:
    """Rows of `asic.CellCost`; with a multiplier among them, in percent against it."""
    base = min((row for row in rows if row["kernel"] == "mult"), key=lambda row: float(row["area_um2"]), default=None)
    stages = " or ".join(map(str, sorted({row["register_stages"] for row in rows})))
    title = f"{rows[0]['pin']} x {rows[0]['pout']} lanes, {name}, {stages} register stages, {CLOCK_MHZ:g} MHz"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("kernel", no_wrap=True)
    shown = {head: found for head, found in _ARRAY_COLUMNS.items() if any(row[found[0]] for row in rows)}
    for head, (key, _) in shown.items():
        table.add_column(head, justify="right", no_wrap=True)
        if base is not None and key in _AGAINST_BASE:
            table.add_column("%", justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{row['kernel']} {row['structure']}"]
        for key, form in shown.values():
            cells.append(format(row[key], form))
            if base is not None and key in _AGAINST_BASE:
                cells.append("" if row is base else f"{100 * (row[key] / base[key] - 1):+.0f}")
        table.add_row(*cells)
    return table


def build_table(rows: Sequence[Mapping[str, Any]], name: str) -> Table:
    """Rows of `asic_build.BuildCost`, each in percent against the last one."""
    title = f"in {name}, memories apart; power at {CLOCK_MHZ:g} MHz, in brackets against the last"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for row in rows:
        table.add_column(row["name"], justify="right")
    for label, (key, form) in _BUILD_ROWS.items():
        values = [row[key] for row in rows]
        if any(value is not None for value in values):
            base = None if key in _PLAIN else values[-1]
            table.add_row(label, *(against(value, base, form, digits=1) for value in values))
    return table
