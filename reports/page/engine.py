"""The page of a report on an engine."""

import json
from pathlib import Path
from typing import Any

from ...common.templates import render
from .drawing import draw
from .pages import HEADLINES, card, drawn, origins, values

__all__ = ["engine_page"]

_HEADLINES = {**HEADLINES, "lanes": ("lanes", "one array"), "lane_utilization": ("lanes at work", "of their cycles")}
"""As on the page of a dataflow accelerator, where they mean the same."""


def engine_page(document: dict[str, Any]) -> str:
    """The page of a report on an engine, from what stands in its ``report.json``."""
    number = {item["name"]: place for place, item in enumerate(document["figures"])}
    charts = draw({name: document.get(name) for name in ("roofline", "power")})
    return render(
        Path(__file__).with_name("engine.html.j2"), d=document, v=values(document),
        cards=[
            card(document["figures"][number[name]], number[name], _HEADLINES) for name in _HEADLINES if name in number
        ],
        origins=origins(document["figures"]), charts={name: drawn(text) for name, text in charts.items()},
        plan=json.dumps(document["plan"], indent=2),
        causes=list(dict.fromkeys(cause for layer in document["layers"] for cause in layer["idle"])),
    )  # fmt: skip
