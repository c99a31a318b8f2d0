"""What verbs print of stages, folds and kernels, as tables for a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

__all__ = [
    "against",
    "changed",
    "choices_table",
    "claims_table",
    "fold_table",
    "kernel_table",
    "sensitivity_table",
    "stage_table",
    "survey_tables",
    "zoo_table",
]

_FOLD_COLUMNS = {
    "pe": "PE", "simd": "SIMD", "taps": "taps", "lines": "lines", "blocks": "blocks", "residual": "join",
}  # fmt: skip
_KERNEL_COLUMNS = {
    "LUT": "lut",
    "FF": "ff",
    "carry": "carry",
    "DSP": "dsp",
    "per lane": "lut_per_lane",
    "paired": "lut_paired_per_lane",
    "MHz": "fmax_mhz",
    "regs": "register_stages",
}


def sensitivity_table(rows: Sequence[Any]) -> Table:
    """What every layer loses with fewer bits, rows of `quant.mixed.Sensitivity`."""
    widths = sorted({row.bits for row in rows}, reverse=True)
    table = Table(title="equal to float, with one layer narrower (divergence in millinats)", title_justify="left")
    table.add_column("layer")
    table.add_column("weights", justify="right")
    for width in widths:
        table.add_column(f"{width} bit", justify="right")
    for layer in dict.fromkeys(row.layer for row in rows):
        own = {row.bits: row for row in rows if row.layer == layer}
        cells = [f"{100 * own[w].agreement:.1f} % ({1000 * own[w].divergence:.1f})" for w in widths]
        table.add_row(layer, f"{own[widths[0]].weights:,}", *cells)
    return table


def stage_table(stages: Sequence[Any]) -> Table:
    """Output of every stage beside the golden model's."""
    table = Table(title="output of every stage", title_justify="left")
    for column in ("stage", "values", "different", "first"):
        table.add_column(column, justify="right" if column in ("values", "different") else "left")
    for stage in stages:
        table.add_row(stage.name, f"{stage.values:,}", f"{stage.mismatches:,}", str(stage.first or ""))
    return table


def fold_table(layers: Sequence[Any], timings: Sequence[Any]) -> Table:
    """How each layer of a Design is folded, its lanes and its cycles per image."""
    table = Table()
    # What is 1, or missing, in every stage is not worth a column.
    shown = {key: head for key, head in _FOLD_COLUMNS.items() if max(layer.fold.get(key, 1) for layer in layers) > 1}
    for column in ("stage", *shown.values(), "lanes", "cycles"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for layer, times in zip(layers, timings, strict=True):
        cells = (*(layer.fold.get(key, 1) for key in shown), times.lanes, times.interval)
        table.add_row(layer.name, *(f"{cell:,}" for cell in cells))
    return table


def choices_table(choices: Mapping[str, Mapping[str, dict[str, int] | None]]) -> Table:
    """Cycles and cost of every stage as it is, and of the next folds that are slower or faster."""
    table = Table(title="Folds: cycles per image, estimated cost")
    for column in ("stage", "chosen", "a slower one", "a faster one"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, found in choices.items():
        offers = (found[key] for key in ("chosen", "slower", "faster"))
        table.add_row(name, *("" if o is None else f"{o['cycles']:,}  {o['cost']:>6,}" for o in offers))
    return table


def kernel_table(rows: Sequence[Mapping[str, Any]], name: str) -> Table:
    """What arrays cost on the device called ``name``."""
    title = f"{rows[0]['pin']} x {rows[0]['pout']} lanes on {name}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    shown = {head: key for head, key in _KERNEL_COLUMNS.items() if any(row[key] for row in rows)}
    for head in ("kernel", "operands"):
        table.add_column(head, no_wrap=True)
    for head in shown:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        operands = " ".join(row[name].replace("uint", "u").replace("int", "s") for name in ("x", "w"))
        form = f"{row['kernel']} {row['structure']}, {row['form']}"
        table.add_row(form, operands, *(_cell(row[key]) for key in shown.values()))
    return table


def zoo_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Networks of the zoo, what they cost, and where they come from."""
    table = Table(title="Networks", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for head in ("network", "kernel", "parameters", "MACs", "paper"):
        table.add_column(head, justify="right" if head in ("parameters", "MACs") else "left", no_wrap=head != "paper")
    for row in rows:
        table.add_row(row["name"], row["kernel"], _cell(row["parameters"]), _cell(row["macs"]), row["paper"])
    return table


def claims_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What papers claim, what it is here, and how far off: rows of `compare.headlines.headlines_document`."""
    table = Table(title="Claims of papers", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for head in ("paper", "claim", "published", "ours", "off"):
        table.add_column(head, justify="left" if head in ("paper", "claim") else "right", no_wrap=head == "paper")
    for row in rows:
        ends = [] if row["low"] is None else dict.fromkeys((row["low"], row["high"]))
        unit = f" {row['unit']}" if row["unit"] else ""
        ours = row["answer"] or row["why"] or ("" if row["ours"] is None else f"{row['ours']:,.4g}{unit}")
        off = "" if row["off"] is None else f"{row['off']:+.1f} {'points' if row['unit'] == '%' else '%'}"
        if unit == "" and row["ours"] is not None:
            ours = f"{row['ours']:,.0f}"
        stated = " to ".join(f"{end:,.0f}" if unit == "" else f"{end:,.4g}" for end in ends)
        table.add_row(row["paper"], row["claim"], stated + unit, ours.replace("; ", "\n"), off)
    return table


_SURVEY_COLUMNS: tuple[tuple[str, float, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("param.\nM", 1e6, lambda row: row["parameters"]),
    ("MACs\nG", 1e9, lambda row: row["macs"]),
    ("att.\n%", 0.01, lambda row: row["attention_share"]),
    ("softm.\nM", 1e6, lambda row: _counted(row, "softmax")),
    ("norm\nM", 1e6, lambda row: _counted(row, "layernorm")),
    ("GELU\nM", 1e6, lambda row: _counted(row, "gelu")),
    ("cycles\nM", 1e6, lambda row: row["cycles"]),
    ("bytes\nM", 1e6, lambda row: row["cycles"] and row["bytes_read"] + row["bytes_written"]),
)
"""Columns of `survey_tables` that no kernel changes but by a hair: head, unit, and the value of a row."""


def _counted(row: Mapping[str, Any], function: str) -> int | None:
    return None if row["elements"] is None else row["elements"].get(function, 0)


def survey_tables(document: Mapping[str, Any]) -> Iterator[Table | str]:
    """The survey as `survey_document` has it: a table for each of its categories, or a line where it is empty. What
    kernels change, energy, has a column for each; the rest is that of the first kernel."""
    rows = document["rows"]
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    for category in document["categories"]:
        own = [row for row in rows if row["survey"] == category["word"]]
        title = f"{category['word']}: {category['what']}"
        if not own:
            yield f"{title}; no network of the zoo"
            continue
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0))
        table.add_column("network", no_wrap=True)
        for head, _, _ in _SURVEY_COLUMNS:
            table.add_column(head, justify="right", no_wrap=True)
        for kernel in kernels:
            table.add_column(f"{_SHORT.get(kernel, kernel)}\nuJ", justify="right", no_wrap=True)
        for name in dict.fromkeys(row["name"] for row in own):
            of = [row for row in own if row["name"] == name]
            cells = [_digits(value(of[0]), unit) for _, unit, value in _SURVEY_COLUMNS]
            table.add_row(name, *cells, *(_digits(row["energy_uj"], 1) for row in of))
        yield table


_SHORT = {"mult,*.scores=adder": "scores"}
"""Kernels whose text is longer than a column."""


def _digits(value: float | None, unit: float) -> str:
    """A value in ``unit`` with three digits, or two behind the point where it is small."""
    if value is None:
        return "-"
    value /= unit
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def against(value: float | None, base: float | None, form: str, *, digits: int = 0) -> str:
    """A value, and by how much it differs from ``base``, if there is one: per cent with so many ``digits``."""
    return changed(value, value / base - 1 if value is not None and base else None, form, digits=digits)


def changed(value: float | None, change: float | None, form: str, *, digits: int = 0) -> str:
    """A value, and by how much it differs from what it is compared with, a share."""
    if value is None:
        return ""
    return format(value, form) + (f" ({100 * change:+.{digits}f} %)" if change else "")
