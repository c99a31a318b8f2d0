"""The page of ``addax claims``: what papers claim, beside what is counted or measured here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...common.templates import render
from .pages import values

__all__ = ["headlines_page"]


def headlines_page(document: Mapping[str, Any]) -> str:
    """The page of ``claims.json``: what `reports.compare.headlines.headlines_document` made, and ``provenance``."""
    return render(Path(__file__).with_name("headlines.html.j2"), d=document, v=values(dict(document)))
