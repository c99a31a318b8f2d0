"""The charts of a report that have axes: pipeline timeline, roofline, sensitivity of the power model."""

from collections.abc import Sequence
from typing import Any

from .canvas import FONT, INKS, Canvas

__all__ = ["roofline_chart", "timeline_chart", "tornado_chart"]

Box = tuple[float, float, float, float]
"""Left, bottom, right, top; px."""
WIDTH = 540
"""The width of a chart, px: half a page, and still legible on a phone."""
SMALL = FONT - 0.5
_ROW = 19
_FADES = (1.0, 0.55, 0.28)
"""Opacity of the first image's bars and of those that follow."""
_SLOPE = 120
"""px that the rising part of a roofline must go to the right for a label to stand beside it."""
_LONGEST = 28
"""Letters of a name."""
_LETTER = 0.62
"""Width of a letter on average, in sizes of the font; on the wide side."""


def _short(name: str) -> str:
    """``name``, or its beginning and end where it is too long for a chart."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 + 1 :]}"


def _margin(names: Sequence[str]) -> float:
    """Room for ``names`` left of the axes."""
    return max(len(name) for name in names) * FONT * _LETTER + 10


def _grid(canvas: Canvas, axis: str) -> None:
    canvas.axes.grid(axis=axis, color=INKS["line"], linewidth=0.8)  # type: ignore[arg-type]


def timeline_chart(timeline: dict[str, Any]) -> str:
    """Stages as rows, cycles to the right: a bar for every image on which a stage's array works."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    stages, answers, clock = timeline["stages"], timeline["answers"], timeline["clock_mhz"]
    names = [_short(stage["name"]) for stage in stages] + ["answer"]
    row_height = max(_ROW, min(30, 240 / len(names)))
    canvas = Canvas(
        "timeline", title="Pipeline timeline", width=WIDTH, height=row_height * len(names) + 50,
        left=_margin(names), right=22,
        description=f"When each of {len(stages)} stages works on the first {timeline['images']} images. The first "
        f"answer is complete after {timeline['latency']:,} cycles, then one every {timeline['interval']:,} cycles.",
    )  # fmt: skip
    axes = canvas.axes
    for row, stage in enumerate(stages):
        for image, (begin, end) in enumerate(stage["spans"]):
            bar = Rectangle(
                (begin, row - 0.36), end - begin, 0.72, facecolor=INKS["one"], alpha=_FADES[image], clip_on=False
            )
            axes.add_patch(bar)
            canvas.mark(bar, title=f"{stage['name']}, image {image + 1}: cycles {begin:,} to {end:,}")
    row = len(stages)
    for image, cycle in enumerate(answers):
        (dot,) = axes.plot([cycle], [row], "o", markersize=6, color=INKS["two"], clip_on=False)
        canvas.mark(dot, title=f"answer of image {image + 1}: cycle {cycle:,}")
    axes.set_xlim(0, answers[-1] * 1.02)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(f"cycles after the first input beat, 1,000 cycles = {1000 / clock:.4g} µs")
    first = axes.annotate(
        f"{timeline['latency']:,}", (answers[0], row), (-8, 0), textcoords="offset points", ha="right", va="center",
        color=INKS["ink"], fontsize=SMALL,
    )  # fmt: skip
    canvas.mark(first, path="timeline.latency")
    _grid(canvas, "x")
    return canvas.svg()


_NAMES = {"stages": "stages", "receive": "receive", "received": "received", "feed": "widest port"}
"""Words of a roofline where its section has no others."""


def roofline_chart(roofline: dict[str, Any]) -> str:
    """Lane operations per second against operations per bit received, both logarithmic; a dot per stage, and above it
    what the stage could do by itself. ``names`` of the section, where there are any, are other words for a stage, for
    what it receives and for what feeds it."""
    from matplotlib.ticker import LogLocator, NullLocator

    stages, whole, names = roofline["stages"], roofline["accelerator"], {**_NAMES, **roofline.get("names", {})}
    xs = [stage["intensity"] for stage in stages] + [whole["intensity"]]
    ys = [y for stage in stages for y in (stage["gops"], stage["roof_gops"])]
    ys += [whole["gops"], roofline["lanes_gops"]]
    canvas = Canvas(
        "roofline", title="Roofline", width=WIDTH, height=300, left=54, right=16, top=22,
        description=f"Operations per second of {len(stages)} {names['stages']} against operations per bit that they "
        f"{names['receive']}; all lanes together could do {roofline['lanes_gops']:.4g} G operations per second.",
    )  # fmt: skip
    axes = canvas.axes
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = min(xs) / 2.2, max(xs) * 2.2
    axes.set_xlim(low, high)
    axes.set_ylim(min(ys) / 2.5, max(ys) * 2.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    taken = _roofs(canvas, roofline, low, high)
    for stage in stages:
        x, y, roof = stage["intensity"], stage["gops"], stage["roof_gops"]
        axes.plot([x, x], [y, roof], color=INKS["one"], linewidth=1.2)
        (px, low_py), (_, high_py) = axes.transData.transform([(x, y), (x, roof)])
        taken.append((px - 5, low_py, px + 5, high_py + 3))
        (mark,) = axes.plot([x], [roof], "_", markersize=9, color=INKS["one"], markeredgewidth=1.6)
        canvas.mark(mark, title=f"{stage['name']} by itself: {roof:.4g} G operations/s")
        (dot,) = axes.plot([x], [y], "o", markersize=6, color=INKS["one"], markeredgewidth=0)
        canvas.mark(dot, title=f"{stage['name']}: {y:.4g} G operations/s, {x:.4g} operations/bit")
    (dot,) = axes.plot([whole["intensity"]], [whole["gops"]], "D", markersize=7, color=INKS["two"], markeredgewidth=0)
    canvas.mark(dot, title=f"whole accelerator: {whole['gops']:.4g} G operations/s")
    axes.set_xlabel(f"lane operations per bit {names['received']}")
    axes.text(0, 1.02, "G lane operations/s", transform=axes.transAxes, color=INKS["soft"], ha="left", va="bottom")
    points = [(_short(stage["name"]), stage["intensity"], stage["gops"]) for stage in stages]
    _label(canvas, [("whole accelerator", whole["intensity"], whole["gops"]), *_grouped(canvas, points)], taken)
    _grid(canvas, "both")
    return canvas.svg()


def _roofs(canvas: Canvas, roofline: dict[str, Any], low: float, high: float) -> list[Box]:
    """What all lanes could do, and what the widest port could feed; where lines and their labels stand."""
    axes, lanes, feed = canvas.axes, roofline["lanes_gops"], roofline["feed_gbit_s"]
    ridge = max(lanes / feed, low)
    corners = [(low, min(low * feed, lanes)), (ridge, lanes), (high, lanes)]
    axes.plot([x for x, _ in corners], [y for _, y in corners], color=INKS["ink"])
    begin, corner, end = axes.transData.transform(corners)
    taken = []
    for one, other in ((begin, corner), (corner, end)):
        for part in range(41):
            x, y = one + (other - one) * part / 40
            taken.append((x - 4, y - 2, x + 4, y + 2))

    def label(text: str, x: float, y: float, shift: tuple[float, float], ha: str, va: str, path: str) -> None:
        made = axes.annotate(
            text, (x, y), shift, textcoords="offset points", ha=ha, va=va, color=INKS["soft"], fontsize=SMALL
        )
        canvas.mark(made, path=path)
        taken.append(_box(axes.transData.transform((x, y)), text, shift, ha, va))

    label(f"all lanes: {lanes:,.4g}", high, lanes, (-2, 4), "right", "bottom", "roofline.lanes_gops")
    if corner[0] - begin[0] >= _SLOPE:
        middle = (low * ridge) ** 0.5
        name = f"{roofline.get('names', _NAMES)['feed']}: {feed:,.4g} Gbit/s"
        label(name, middle, middle * feed, (8, -4), "left", "top", "roofline.feed_gbit_s")
    return taken


def _grouped(canvas: Canvas, points: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Points that fall on each other share a label."""
    groups: list[tuple[list[str], float, float, Any]] = []
    for name, x, y in points:
        at = canvas.axes.transData.transform((x, y))
        near = next((g for g in groups if abs(g[3] - at).max() < FONT / 2), None)
        if near:
            near[0].append(name)
        else:
            groups.append(([name], x, y, at))
    return [(names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}", x, y) for names, x, y, _ in groups]


def _label(canvas: Canvas, labels: Sequence[tuple[str, float, float]], taken: list[Box]) -> None:
    """Write labels beside their points where nothing else stands; one that has no room is left to the tooltip."""
    axes = canvas.axes
    at = [axes.transData.transform((x, y)) for _, x, y in labels]
    taken = taken + [(px - 6, py - 6, px + 6, py + 6) for px, py in at]
    frame = axes.get_window_extent()
    for (name, x, y), point in zip(labels, at, strict=True):
        for shift, ha, va in _SIDES:
            box = _box(point, name, shift, ha, va)
            inside = box[0] > frame.x0 and box[2] < frame.x1 + 8 and box[1] > frame.y0 and box[3] < frame.y1
            if inside and not any(_meet(box, other) for other in taken):
                axes.annotate(
                    name, (x, y), shift, textcoords="offset points", ha=ha, va=va, fontsize=SMALL, color=INKS["ink"]
                )
                taken.append(box)
                break


_SIDES = (
    ((9, 0), "left", "center"), ((-9, 0), "right", "center"), ((0, -9), "center", "top"), ((7, -8), "left", "top"),
    ((-7, -8), "right", "top"), ((7, 8), "left", "bottom"), ((-7, 8), "right", "bottom"), ((0, 10), "center", "bottom"),
    ((9, -22), "left", "top"), ((-9, -22), "right", "top"),
)  # fmt: skip
"""Where a label may stand beside its point, the best first: shift in px, and what of the label is there."""


def _box(point: Any, text: str, shift: tuple[float, float], ha: str, va: str) -> Box:
    """Where ``text`` stands beside ``point``, px."""
    width, height = len(text) * SMALL * _LETTER, SMALL * 1.3
    left = point[0] + shift[0] - {"left": 0, "center": width / 2, "right": width}[ha]
    low = point[1] + shift[1] - {"bottom": 0, "center": height / 2, "top": height}[va]
    return left, low, left + width, low + height


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


_COEFFICIENTS = {
    "logic_pf": "nets of logic", "register_pf": "nets of registers", "carry_pf": "carries",
    "clock_pf_per_ff": "clock pins", "clock_tree_pf": "clock tree", "bram_pj": "block RAM",
    "dsp_pj": "multiplier blocks", "static_mw": "static", "voltage": "voltage",
}  # fmt: skip
"""What the coefficients of `coefficients` are called on the chart."""


def tornado_chart(power: dict[str, Any]) -> str:
    """How far total power moves with each coefficient of the model in its own band, the widest on top."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    rows = sorted(enumerate(power["sensitivity"]), key=lambda item: item[1]["total_low_mw"] - item[1]["total_high_mw"])
    total = power["total"]["mw"]
    names = [_short(_COEFFICIENTS.get(row["coefficient"], row["coefficient"])) for _, row in rows]
    canvas = Canvas(
        "tornado", title="Sensitivity of total power", width=WIDTH, height=_ROW * 1.3 * len(rows) + 60,
        left=_margin(names), right=24, top=22,
        description="Total power when each coefficient alone is at the low or the high end of its band; "
        + "; ".join(f"{r['coefficient']}: {r['total_low_mw']:.4g} to {r['total_high_mw']:.4g} mW" for _, r in rows),
    )  # fmt: skip
    axes = canvas.axes
    low, high = min(r["total_low_mw"] for _, r in rows), max(r["total_high_mw"] for _, r in rows)
    room = max(high - low, 1e-9) * 0.22
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for at, (number, row) in enumerate(rows):
        for key, ink, ha, shift in (("total_low_mw", "three", "right", -4), ("total_high_mw", "two", "left", 4)):
            bar = Rectangle((total, at - 0.34), row[key] - total, 0.68, facecolor=INKS[ink])
            axes.add_patch(bar)
            label = axes.annotate(
                f"{row[key]:,.1f}", (row[key], at), (shift, 0), textcoords="offset points", ha=ha, va="center",
                color=INKS["soft"], fontsize=SMALL,
            )  # fmt: skip
            canvas.mark(label, path=f"power.sensitivity.{number}.{key}")
    axes.axvline(total, color=INKS["ink"], linewidth=1.2)
    middle = axes.text(
        total, 1.02, f"{total:,.1f}", transform=axes.get_xaxis_transform(), ha="center", va="bottom", weight="bold",
        color=INKS["ink"],
    )  # fmt: skip
    canvas.mark(middle, path="power.total.mw")
    axes.set_yticks(range(len(rows)), names)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("total power, mW")
    return canvas.svg()
