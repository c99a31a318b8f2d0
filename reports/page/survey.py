"""The page of the survey on transformers: a table for each of its categories, and what networks cost as charts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.templates import render
from .canvas import FONT, INKS, Canvas
from .pages import drawn, values

__all__ = ["survey_page"]

_WIDTH, _ROW = 540, 24
_INKS = ("two", "one", "three", "four")
_MARKS = ("o", "D", "s", "^")


def survey_page(document: Mapping[str, Any]) -> str:
    """The page of ``survey.json``: what `reports.compare.survey.survey_document` made, and ``provenance``."""
    rows = document["rows"]
    costed = [place for place, row in enumerate(rows) if row["cycles"] is not None]
    return render(
        Path(__file__).with_name("survey.html.j2"), d=document, v=values(dict(document)),
        energy=drawn(_energy_chart(rows, costed)) if costed else None,
        time=drawn(_time_chart(rows, costed)) if costed else None,
        plan=json.dumps(document["engine"]["plan"], indent=2),
    )  # fmt: skip


def _names(rows: Sequence[Mapping[str, Any]], places: Sequence[int]) -> list[str]:
    return list(dict.fromkeys(rows[place]["name"] for place in places))


def _canvas(name: str, title: str, description: str, names: Sequence[str]) -> Canvas:
    """A chart with a row for each of ``names`` and a legend above them."""
    canvas = Canvas(
        name, title=title, description=description, width=_WIDTH, height=_ROW * len(names) + 72,
        left=max(map(len, names)) * FONT * 0.62 + 10, right=22, top=26,
    )  # fmt: skip
    axes = canvas.axes
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=INKS["line"], linewidth=0.8)
    return canvas


def _legend(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    """Words in their inks above the axes, one behind the other; each begins with its mark."""
    at = 0.0
    for (word, ink), mark in zip(entries, "●◆■▲", strict=False):
        canvas.axes.annotate(
            f"{mark} {word}", (0, 1), (at, 8), xycoords="axes fraction", textcoords="offset points", ha="left",
            va="bottom", color=INKS[ink],
        )  # fmt: skip
        at += (len(word) + 3) * FONT * 0.6


def _energy_chart(rows: Sequence[Mapping[str, Any]], places: Sequence[int]) -> str:
    """Energy of an image with each kernel, logarithmic."""
    names = _names(rows, places)
    kernels = list(dict.fromkeys(rows[place]["kernel"] for place in places))
    canvas = _canvas(
        "energy", "Energy of an image", f"Modelled energy of lanes and buffers for {len(names)} networks, with the "
        f"kernels {', '.join(kernels)}.", names,
    )  # fmt: skip
    axes = canvas.axes
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    for place in places:
        row = rows[place]
        number = kernels.index(row["kernel"]) % len(_INKS)
        line = names.index(row["name"]) + 0.2 * (number - 1)  # kernels of nearly the same energy hide each other else
        (dot,) = axes.plot(
            [row["energy_uj"]], [line], _MARKS[number], markersize=6, color=INKS[_INKS[number]], markeredgewidth=0
        )
        canvas.mark(dot, title=f"{row['name']}, {row['kernel']}: {row['energy_uj']:.4g} µJ")
    _legend(canvas, [(kernel, _INKS[k % len(_INKS)]) for k, kernel in enumerate(kernels)])
    axes.set_xlabel("µJ for one image, lanes and buffers at 45 nm")
    return canvas.svg()


def _time_chart(rows: Sequence[Mapping[str, Any]], places: Sequence[int]) -> str:
    """What the cycles of each network go to, with its first kernel."""
    from matplotlib.patches import Rectangle

    names = _names(rows, places)
    parts = (("attention", "two"), ("other layers", "one"))
    canvas = _canvas(
        "time", "Share of attention in cycles", f"Cycles of {len(names)} networks that go to products of attention, "
        "and to all other layers.", names,
    )  # fmt: skip
    axes = canvas.axes
    axes.set_xlim(0, 100)
    for line, name in enumerate(names):
        row = rows[next(place for place in places if rows[place]["name"] == name)]
        share = 100 * row["attention_cycles"] / row["cycles"]
        for begin, width, (word, ink) in ((0, share, parts[0]), (share, 100 - share, parts[1])):
            bar = Rectangle((begin, line - 0.32), width, 0.64, facecolor=INKS[ink])
            axes.add_patch(bar)
            canvas.mark(bar, title=f"{name}, {word}: {width:.1f} % of {row['cycles']:,} cycles")
    _legend(canvas, parts)
    axes.set_xlabel("% of cycles")
    return canvas.svg()
