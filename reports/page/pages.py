"""HTML pages: the report of a build, and the comparison of kernels. Each is a function of the JSON values it shows.

A page stands alone: style sheet and charts are inlined, nothing is loaded, no script runs. Every number in it carries
the path of the value that it shows (``data-path``), so that a test can hold the page against the file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...common.templates import render
from .drawing import draw

__all__ = ["HEADLINES", "card", "comparison_page", "drawn", "origins", "report_page", "values"]

HEADLINES = {
    "accuracy_float": ("accuracy, float", ""),
    "accuracy_int8": ("accuracy, integers", ""),
    "accuracy_rtl": ("accuracy, RTL", ""),
    "images_per_second": ("throughput", "images/s"),
    "cycles_per_image": ("interval", ""),
    "cycles_first_image": ("latency", ""),
    "lanes": ("lanes", "all stages"),
    "lut": ("lookup tables", ""),
    "ff": ("registers", ""),
    "bram": ("block RAM", ""),
    "dsp": ("multipliers", ""),
    "fmax_mhz": ("Fmax", "MHz after routing"),
    "power_total_mw": ("power", "mW, modelled"),
    "energy_per_image_uj": ("energy per image", "µJ, modelled"),
}
"""Figures that stand on top of the page, in this order: what each is called, and its unit where it is not its own."""
_DRAWN = ("timeline", "roofline", "power")
"""Sections of a report with a chart."""
_METRICS = {
    "lut": "lookup tables", "lut_paired": "lookup tables, paired", "ff": "flip-flops", "bram": "block RAM",
    "dsp": "multiplier blocks", "fmax_mhz": "Fmax, MHz", "images_per_second": "images per second",
    "cycles_per_image": "cycles per image", "power_mw.total": "power, mW",
    "energy_per_image_uj": "energy per image, µJ", "accuracy": "accuracy",
}  # fmt: skip
"""What a comparison shows of each kernel, and in per cent of the baseline."""


def report_page(document: dict[str, Any], *, charts: Mapping[str, str] | None = None) -> str:
    """The page of a report, from what stands in its ``report.json``.

    Parameters
    ----------
    charts : those of `drawing.draw` that have been drawn already
    """
    number = {item["name"]: place for place, item in enumerate(document["figures"])}
    known = dict(charts or {})
    known |= draw({name: document.get(name) for name in _DRAWN if name not in known})
    return render(
        Path(__file__).with_name("report.html.j2"),
        d=document,
        v=values(document),
        cards=[card(document["figures"][number[name]], number[name]) for name in HEADLINES if name in number],
        origins=origins(document["figures"]),
        charts={name: drawn(known[name]) if name in known else None for name in _DRAWN},
        plan=json.dumps(document["plan"], indent=2),
    )


def comparison_page(
    rows: Sequence[Mapping[str, Any]], *, title: str, published: Sequence[Mapping[str, Any]] = (),
    claims: Sequence[Mapping[str, Any]] = (), baseline: str = "mult", provenance: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The page of a comparison.

    Parameters
    ----------
    rows : see `compare.KernelComparison`
    published : designs of others: ``source``, ``mark``, ``kernel``, ``device``, ``lut``, ``fmax_mhz``, ``power``,
        ``note``; what a source does not say is missing or None
    claims : see `claims.claims_beside`
    baseline : the kernel that is 100 %; without it the page has values only
    provenance : as in a report

    The paths of its numbers begin with ``rows`` or ``published``.
    """
    document = {
        "rows": list(rows), "published": list(published), "claims": list(claims), "provenance": dict(provenance or {}),
    }  # fmt: skip
    base = next((place for place, row in enumerate(rows) if row["kernel"] == baseline), None)
    return render(
        Path(__file__).with_name("compare.html.j2"),
        d=document, v=values(document), r=_ratios(document), title=title,
        scoped=[row for row in rows if row.get("scopes")], base=base, baseline=baseline if base is not None else None,
        metrics=[found for path in _METRICS if (found := _metric(rows, path, base))],
    )  # fmt: skip


def _metric(rows: Sequence[Mapping[str, Any]], path: str, base: int | None) -> dict[str, Any] | None:
    """The bars of one metric; None when no row has it."""
    own_values = [_at(row, path) for row in rows]
    top = max((value for value in own_values if value is not None), default=0)
    if not top:
        return None
    own = None if base is None else own_values[base]
    return {
        "path": path, "label": _METRICS[path], "differs": len(set(own_values)) > 1,
        "form": "p2" if path == "accuracy" else "n",
        "bars": [
            {"place": place, "width": 100 * value / top} for place, value in enumerate(own_values) if value is not None
        ],
        "mark": 100 * own / top if own else None,
        "shares": bool(own) and path != "accuracy",  # per cent of per cent would only confuse
    }  # fmt: skip


def drawn(text: str) -> Markup:
    """A chart of `drawing.draw` for a template."""
    return Markup(text)  # noqa: S704  ElementTree has written it, and escaped what was text


def card(
    item: Mapping[str, Any], place: int, headlines: Mapping[str, tuple[str, str]] = HEADLINES
) -> dict[str, Any]:  # fmt: skip
    """A figure, which stands at ``place``, for the top of a page."""
    label, unit = headlines[item["name"]]
    return {
        "path": f"figures.{place}.value",
        "form": "p2" if item["name"].startswith("accuracy") else "p1" if item["name"].endswith("utilization") else "n",
        "label": label,
        "unit": unit or item["unit"].removeprefix("share "),
        "origin": f"{item['tool']} · {item['version']}",
    }


def origins(figures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures that follow each other and are of the same tool and version, together."""
    found = groupby(figures, key=lambda item: (item["tool"], item["version"]))
    return [{"tool": tool, "version": version, "figures": list(items)} for (tool, version), items in found]


def _at(document: Any, path: str) -> Any:
    """The value at a path such as ``stages.0.lut``."""
    for step in path.split("."):
        document = document[int(step)] if isinstance(document, list) else document.get(step)
        if document is None:
            return None
    return document


def values(document: dict[str, Any]) -> Callable[..., Markup]:
    """What writes the value at a path of ``document`` as people read it, and says where it comes from."""

    def shown(path: str, form: str = "n") -> Markup:
        value = _at(document, path)
        if value is None:
            return Markup("–")
        return Markup('<data data-path="{}" value="{}">{}</data>').format(path, value, _written(value, form))

    return shown


def _ratios(document: dict[str, Any]) -> Callable[..., Markup]:
    """What writes one value in per cent of another, and says which."""

    def shown(path: str, base: str, form: str = "p1") -> Markup:
        ratio = _at(document, path) / _at(document, base) - (form == "change")
        return Markup('<data data-ratio="{} {}" value="{}">{}</data>').format(path, base, ratio, _written(ratio, form))

    return shown


def _written(value: float, form: str) -> str:
    return _FORMS[form](value).replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    """Thousands apart; four significant digits of what is no integer."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


_FORMS: dict[str, Callable[[Any], str]] = {
    "n": _number,
    "p1": lambda value: f"{100 * value:.1f}\N{NO-BREAK SPACE}%",
    "p2": lambda value: f"{100 * value:.2f}\N{NO-BREAK SPACE}%",
    "change": lambda value: f"{100 * value:+.1f}\N{NO-BREAK SPACE}%",
    "signed": lambda value: f"{value:+g}",
    "f1": lambda value: f"{value:,.1f}",
    "f2": lambda value: f"{value:,.2f}",
    "f3": lambda value: f"{value:,.3f}",
}
"""How values are written."""
