"""How networks and builds show themselves in a notebook: tables, and the pipeline as a picture."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..hdl.timing import Schedule
    from ..quant.program import Program

__all__ = ["build_page", "percent", "program_page", "table"]

_BOX = (
    "display:inline-block;vertical-align:top;border:1px solid #888;border-radius:4px;margin:2px;padding:4px 8px;"
    "text-align:center;font-size:85%"
)
_BAR = "height:6px;background:#3b7dd8"


def percent(share: float) -> str:
    """``share`` of 1 in per cent."""
    return f"{100 * share:.2f} %"


def table(title: str, rows: Mapping[str, Any]) -> str:
    """Names and values."""
    cells = "".join(f"<tr><th style='text-align:left'>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in rows.items())
    return f"<table><caption>{_text(title)}</caption>{cells}</table>"


def program_page(program: "Program") -> str:
    """Every operation, its result and its weights, folded away."""
    rows = [
        (op.name, type(op).__name__, "x".join(map(str, program.shape(op.name))), program.format(op.name), op.parameters)
        for op in program.ops
    ]
    heads = ("operation", "kind", "result", "format", "weights")
    return f"<details><summary>{len(rows)} operations</summary>{_grid(heads, rows)}</details>"


def build_page(title: str, rows: Mapping[str, Any], layers: Sequence[Any], schedule: "Schedule") -> str:
    """Facts of a BUILD, and its stages side by side: the fuller the bar, the busier the stage."""
    boxes = []
    for layer, times in zip(layers, schedule.stages, strict=True):
        busy = times.busy / schedule.interval
        result = "x".join(map(str, layer.result))
        boxes.append(
            f"<div style='{_BOX}'><b>{_text(layer.name)}</b><br>{_text(layer.kind)}, {result}<br>"
            f"{times.lanes:,} lanes, {times.interval:,} cycles<div style='{_BAR};width:{100 * min(busy, 1):.0f}%' "
            f"title='busy {percent(busy)}'></div></div>"
        )
    return table(title, rows) + f"<div>{'&rarr;'.join(boxes)}</div>"


def _grid(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: Any) -> str:
    return escape(f"{value:,}" if isinstance(value, int) else str(value))
