"""Documents that are written as JSON and as a page beside it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.files import atomic_directory, write_json, write_text

__all__ = ["write_document"]


def write_document(
    name: str, document: Mapping[str, Any], page: Callable[[Mapping[str, Any]], str], out: Path,
    provenance: Mapping[str, Any],
) -> Sequence[Path]:  # fmt: skip
    """Write ``NAME.json`` and ``NAME.html`` into the folder ``out``, whole or not at all; returns both.

    Raises
    ------
    UserError
        where ``out`` is something else, or cannot be written.
    """
    told = {**document, "provenance": dict(provenance)}
    with atomic_directory(out, name) as folder:
        write_json(folder / f"{name}.json", told)
        write_text(folder / f"{name}.html", page(told))
    return out / f"{name}.json", out / f"{name}.html"
