"""What verbs print of a comparison, as tables for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from ..compare.compare import BASELINE, KernelComparison
from .verb_tables import against, changed

__all__ = ["comparison_tables"]

_ROWS = {
    "accuracy": ("accuracy", ".2%"), "images/s": ("images_per_second", ",.0f"),
    "cycles per image": ("cycles_per_image", ","), "lanes": ("lanes", ","),
    "LUT": ("lut", ","), "LUT, paired": ("lut_paired", ","), "FF": ("ff", ","), "carry": ("carry", ","),
    "block RAM": ("bram", ",g"), "DSP": ("dsp", ","), "Fmax, MHz": ("fmax_mhz", ".1f"),
    "uJ per image": ("energy_per_image_uj", ".2f"),
}  # fmt: skip
_AGAINST_BASE = ("lut", "lut_paired", "ff", "carry", "fmax_mhz", "energy_per_image_uj")
_SCOPED = {"lut": ("LUT", ",.0f"), "power_mw": ("mW", ",.2f")}


def comparison_tables(found: KernelComparison, *, network: str, device: str) -> list[Table]:
    """The whole accelerators side by side; where there is a baseline among them, also how much of the difference is
    lanes, whether savings of power are certain, and what others have published."""
    base = next((row for row in found.rows if row["kernel"] == BASELINE), None)
    tables = [_whole(found, base, f"{network} on {device}")]
    scoped = [row for row in found.rows if row.get("scopes")]
    if base is None:
        return tables
    if scoped:
        tables.append(_scopes(scoped))
    if any(row.get("saving") for row in found.rows):
        tables.append(_savings(found.rows))
    if found.claims:
        tables.append(_claims(found))
    return tables


def _table(title: str, *columns: str, left: tuple[str, ...] = ("",), caption: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table


def _whole(found: KernelComparison, base: dict[str, Any] | None, title: str) -> Table:
    caption = None if base is None else f"in brackets: against {BASELINE}"
    table = _table(title, "", *(row["kernel"] for row in found.rows), caption=caption)
    for label, (key, form) in _ROWS.items():
        values = [row[key] for row in found.rows]
        if any(value is not None for value in values):
            own = base[key] if base is not None and key in _AGAINST_BASE else None
            table.add_row(label, *(against(value, own, form) for value in values))
    return table


def _scopes(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table(f"parts, against {BASELINE}: LUT, and dynamic power", "", *(row["kernel"] for row in rows))
    for key, (unit, form) in _SCOPED.items():
        for k, scope in enumerate(rows[0]["scopes"]):
            values = [row["scopes"][k] for row in rows]
            if any(value[key] for value in values):
                cells = [changed(value[key], value[f"{key}_change"], form) for value in values]
                table.add_row(f"{scope['scope']}, {unit}", *cells)
        table.add_section()
    return table


def _savings(rows: Sequence[dict[str, Any]]) -> Table:
    title = f"dynamic power saved against {BASELINE}, and with every energy anywhere in its band"
    left = ("kernel", "turned round by")
    table = _table(title, "kernel", "saved", "at worst", "at best", "of total power", "turned round by", left=left)
    for row in rows:
        if saved := row.get("saving"):
            shares = [f"{100 * saved[key]:.1f} %" for key in ("dynamic", "worst", "best", "total")]
            certain = "nothing" if saved["keeps_sign"] else ", ".join(saved["flips"]) or "several together"
            table.add_row(row["kernel"], *shares, certain)
    return table


def _claims(found: KernelComparison) -> Table:
    left = ("claim", "here", "source and terms")
    table = _table(f"published, against {BASELINE}", "claim", "published", "here", "source and terms", left=left)
    for claim in found.claims:
        table.add_row(claim["claim"], claim["paper"], claim["ours"].replace("; ", "\n"), claim["note"])
    return table
