"""What verbs print of engines, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

__all__ = ["block_table", "layer_tables", "power_table"]

_SHOWN_CAUSES = 3
_TEXT = ("layer", "unit", "mapping", "bound", "roof", "idle", "block", "part")


def layer_tables(title: str, layers: Sequence[Mapping[str, Any]]) -> tuple[Table, Table]:
    """Layers with their cycles and what binds them; what they move and why lanes idle. Layers are as
    `reports.engine.layers` tells them."""
    pace = _table(title, "layer", "unit", "mapping", "bands", "cycles", "lanes", "bound", "roof")
    moved = _table("bytes in memory, and lanes that idle, in per cent of a layer's cycles", "layer", "read", "written",
                   "idle")  # fmt: skip
    for row in layers:
        pace.add_row(
            row["layer"], row["unit"], row["mapping"], f"{row['bands']}", f"{row['cycles']:,}",
            f"{row['utilization']:.1%}", row["bound"], row["roof"],
        )  # fmt: skip
        moved.add_row(
            row["layer"], f"{row['bytes_read']:,}", f"{row['bytes_written']:,}", _causes(row["idle"], row["cycles"])
        )  # fmt: skip
    return pace, moved


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in _TEXT else "right")
    return table


def _causes(idle: Mapping[str, float], cycles: int) -> str:
    """The largest causes with their shares."""
    found = sorted(idle.items(), key=lambda item: -item[1])[:_SHOWN_CAUSES]
    return ", ".join(f"{cause} {100 * spent / cycles:.1f}" for cause, spent in found if cycles and spent)


def block_table(blocks: Mapping[str, Mapping[str, Any]], total: Mapping[str, Any]) -> Table:
    """Cells of every block of an engine."""
    columns = {"LUT": "lut", "FF": "ff", "block RAM": "bram", "DSP": "dsp"}
    table = _table("cells by block", "block", *columns)
    for name, cells in blocks.items():
        table.add_row(name, *(f"{cells[key]:,}" for key in columns.values()))
    table.add_section()
    table.add_row("all", *(f"{total[key]:,}" for key in columns.values()))
    return table


def power_table(parts: Sequence[Mapping[str, Any]], memory: Mapping[str, Any]) -> Table:
    """Modelled power of every block of an engine, registers by themselves; ``memory`` is that of an image outside, see
    `asic45.memory_energy`."""
    table = _table("modelled power, mW, with the ends of its band", "part", "mW", "low", "high")
    for part in parts:
        table.add_row(part["name"], *(f"{part[key]:.2f}" for key in ("mw", "low_mw", "high_mw")))
    table.add_section()
    table.add_row("all", *(f"{sum(part[key] for part in parts):.2f}" for key in ("mw", "low_mw", "high_mw")))
    table.caption_justify = "left"
    table.caption = (
        f"without the memory outside: {memory['bytes']:,} bytes per image, as DRAM {memory['low']:,.1f} to "
        f"{memory['high']:,.1f} uJ ({memory['note']})"
    )
    return table
