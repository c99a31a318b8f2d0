"""The verb about what earlier runs left: cache."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..common.errors import UserError
from .base import show, verb

__all__ = ["cache"]


@verb
@click.option(
    "--prune", "limit", metavar="LIMIT", help="Remove what was not used for LIMIT, such as 30d, or down to 5GB."
)
@click.option("--clear", is_flag=True, help="Remove everything.")
def cache(limit: str | None, clear: bool, as_json: bool) -> None:
    """What earlier runs of tools left to be used again: folder, kinds, size."""
    from ..common import cache as store

    if clear and limit is not None:
        raise UserError("--clear removes everything; leave --prune out")
    removed = store.clear() if clear else [] if limit is None else store.prune(**store.limit_of(limit))
    kinds: dict[str, dict[str, int]] = {}
    for entry in store.entries():
        kind = kinds.setdefault(entry.kind, {"entries": 0, "bytes": 0})
        kind["entries"] += 1
        kind["bytes"] += entry.bytes
    value: dict[str, Any] = {
        "folder": str(store.cache_root()),
        "entries": sum(kind["entries"] for kind in kinds.values()),
        "bytes": sum(kind["bytes"] for kind in kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "removed_entries": len(removed),
        "removed_bytes": sum(entry.bytes for entry in removed),
    }

    def text(console: Console) -> None:
        table = Table(title=value["folder"], title_justify="left")
        for column in ("kind", "entries", "MB"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        for name, kind in value["kinds"].items():
            table.add_row(name, f"{kind['entries']:,}", f"{kind['bytes'] / 1e6:,.1f}")
        table.add_section()
        table.add_row("all", f"{value['entries']:,}", f"{value['bytes'] / 1e6:,.1f}")
        console.print(table)
        if clear or limit is not None:
            console.print(f"removed {len(removed):,} entries, {value['removed_bytes'] / 1e6:,.1f} MB")

    show(value, as_json, text)
