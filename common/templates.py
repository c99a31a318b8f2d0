"""Text made from templates: Verilog, C, HTML."""

from pathlib import Path
from typing import Any

import jinja2

__all__ = ["render"]


def render(template: Path, **values: Any) -> str:
    """Fill ``template``. A name that ``values`` lacks is an error; ``*.html.j2`` escapes what it inserts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=template.name.endswith(".html.j2"),
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda share: f"{100 * share:.2f} %"
    return environment.get_template(template.name).render(**values)


def _number(value: float | None) -> str:
    """A number as people read it: thousands apart, four significant digits."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
