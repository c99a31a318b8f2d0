"""The charts of a report, drawn by a process of its own while the rest is still being worked out.

Importing matplotlib takes longer than drawing; what an estimate of a build takes is of the same order.
"""

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.processes import run_tool
from .charts import roofline_chart, timeline_chart, tornado_chart

__all__ = ["begin_drawing", "draw"]

_CHARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "timeline": timeline_chart, "roofline": roofline_chart, "power": tornado_chart,
}  # fmt: skip
"""What draws a section of ``report.json``."""


def draw(sections: dict[str, Any]) -> dict[str, str]:
    """The charts of ``sections`` of a report as SVG, by their names; sections without a chart have none."""
    return {name: _CHARTS[name](section) for name, section in sections.items() if _has_chart(name, section)}


def begin_drawing(sections: dict[str, Any]) -> Future[dict[str, str]]:
    """`draw`, in another process; in this one where that fails."""
    with_thread = ThreadPoolExecutor(1)
    future = with_thread.submit(_elsewhere, sections)
    with_thread.shutdown(wait=False)
    return future


def _has_chart(name: str, section: Any) -> bool:
    if name not in _CHARTS or not section:
        return False
    return bool({"timeline": True, "roofline": section.get("stages"), "power": section.get("sensitivity")}[name])


def _elsewhere(sections: dict[str, Any]) -> dict[str, str]:
    command = [sys.executable, "-m", __name__]
    try:
        found: dict[str, str] = json.loads(
            run_tool(command, Path.cwd(), "the drawing of charts", given=json.dumps(sections), errors=False)
        )
    except (OSError, UserError, ValueError):
        return draw(sections)
    return found


if __name__ == "__main__":
    json.dump(draw(json.load(sys.stdin)), sys.stdout)
