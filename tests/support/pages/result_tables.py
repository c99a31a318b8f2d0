"""Tables of README and docs, made of the files of results: whatever stands between the marks ``<!-- results NAME -->``
and ``<!-- end of results -->`` says what ``results/*.csv`` say."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "results"
PAGES = ("README.md", "docs/power.md")
BASE = "mult"
MARKED = re.compile(r"(<!-- results ([\w-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
BAND = ("mw", "low_mw", "high_mw")
"""As what a power is told: nominal, and with all energies at their low and at their high ends."""
LUTS = {"ecp5-85k": "LUT4", "xc7z020": "LUT"}

Texts = Sequence[Mapping[str, str]]


def rows_of(name: str) -> Texts:
    """What the file of the result ``name`` says; nothing where it has not been measured."""
    path = FOLDER / f"{name}.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def share(change: float | str) -> str:
    """A change as a reader sees it, in whole percent; nothing of none."""
    return f"{100 * float(change):+.0f} %" if change != "" else ""


def _beside(rows: Texts, device: str, label: str, *keys: str, form: str = ",.0f", told: bool = True) -> list[str]:
    """A line of a table: ``keys`` of each kernel, and how far the first of them is from that of `BASE`."""
    own = {row["kernel"]: row for row in rows if row["device"] == device}
    cells = []
    for kernel, row in own.items():
        text = " / ".join(format(float(row[key]), form) for key in keys)
        change = float(row[keys[0]]) / float(own[BASE][keys[0]]) - 1
        cells.append(f"{text} ({share(change)})" if told and kernel != BASE else text)
    return [label, *cells]


def lenet5_table(rows: Texts) -> list[list[str]]:
    """Each kernel beside the others, device by device."""
    first = [row for row in rows if row["device"] == rows[0]["device"]]
    table = [["", *(row["kernel"] for row in first)],
             ["accuracy, 360 test images", *(f"{100 * float(row['accuracy']):.2f} %" for row in first)]]  # fmt: skip
    for device in dict.fromkeys(row["device"] for row in rows):
        table += [
            _beside(rows, device, f"`{device}`: {LUTS[device]}", "lut"), _beside(rows, device, "FF", "ff"),
            _beside(rows, device, "block RAM / DSP", "bram", "dsp", form="g", told=False),
        ]  # fmt: skip
        if next(row for row in rows if row["device"] == device)["fmax_mhz"]:
            table.append(_beside(rows, device, "MHz after place and route", "fmax_mhz", form=".1f", told=False))
        table += [
            _beside(rows, device, "dynamic power, modelled, mW", "dynamic_mw", form=".1f"),
            _beside(rows, device, "uJ per image, whole device", "uj", form=".2f"),
        ]  # fmt: skip
    return table


def scopes_table(rows: Texts) -> list[list[str]]:
    """What the adder saves, counted with less and with more around its lanes."""
    own = {row["device"]: row for row in rows if row["kernel"] == "adder"}
    heads = [f"{what}, `{device}`" for what in ("LUT", "dynamic power") for device in own]
    table = [["counted, adder against mult", *heads]]
    count = sum(key.endswith(" scope") for key in rows[0])
    for k in range(count):
        cells = [share(row[f"scope {k} {key}"]) for key in ("lut_change", "power_mw_change") for row in own.values()]
        table.append([rows[0][f"scope {k} scope"], *cells])
    blank = [""] * len(own)
    worst = [share(-float(row["saved_at_worst"])) for row in own.values()]
    total = [share(-float(row["saved_of_total"])) for row in own.values()]
    table.append(["the same, every energy anywhere in its band, the worst combination", *blank, *worst])
    table.append(["of total power, idle device included", *blank, *total])
    return table


def _banded(row: Mapping[str, str], what: str, digits: int) -> str:
    mw, low, high = (f"{float(row[f'{what}_{end}']):.{digits}f}" for end in BAND)
    return f"{mw} ({low} to {high})"


def power_table(rows: Texts) -> list[list[str]]:
    """Power of each design with its band, and what its lanes alone take at 45 nm."""
    return [["", "total, mW (band)", "dynamic, mW (band)", "uJ per image", "lanes at 45 nm, uJ"], *(
        [f"`{row['device']}` {row['kernel']}", _banded(row, "total", 0), _banded(row, "dynamic", 1),
         f"{float(row['uj']):.2f}", f"{float(row['lanes_45nm_uj']):.4f}" if row["lanes_45nm_uj"] else ""]
        for row in rows
    )]  # fmt: skip


def blocks_table(rows: Texts) -> list[list[str]]:
    """Where the power of two designs goes, on the device that was placed."""
    own = [row for row in rows if row["device"] == rows[0]["device"] and row["kernel"] in ("adder", BASE)]
    names = [key.removeprefix("mw ") for key in rows[0] if key.startswith("mw ")]
    return [["", *names], *([row["kernel"], *(f"{float(row[f'mw {name}']):.1f}" for name in names)] for row in own)]


def saved_table(rows: Texts) -> list[list[str]]:
    """Dynamic power saved against `BASE`, and between what it may be with any combination of energies."""
    devices = list(dict.fromkeys(row["device"] for row in rows))
    kernels = [kernel for kernel in dict.fromkeys(row["kernel"] for row in rows) if kernel != BASE]
    of = {(row["device"], row["kernel"]): row for row in rows}

    def told(row: Mapping[str, str]) -> str:
        worst, best = (f"{100 * float(row[f'saved_at_{end}']):.1f}" for end in ("worst", "best"))
        return f"{100 * float(row['saved']):.1f} % ({worst} to {best})"

    return [["", *(f"`{device}`" for device in devices)],
            *([kernel, *(told(of[device, kernel]) for device in devices)] for kernel in kernels)]  # fmt: skip


def networks_table(rows: Texts) -> list[list[str]]:
    """Networks on engines."""
    return [["", "images", "cycles", "lanes at work", "simulation, s an image"], *(
        [row["network"], row["images"], f"{int(row['cycles']):,}", f"{100 * float(row['lanes_at_work']):.1f} %",
         row["simulation_s"]] for row in rows
    )]  # fmt: skip


TABLES: Mapping[str, tuple[str, Callable[[Texts], list[list[str]]]]] = {
    "compare-lenet5": ("compare-lenet5", lenet5_table), "compare-lenet5-scopes": ("compare-lenet5", scopes_table),
    "compare-lenet5-power": ("compare-lenet5", power_table), "compare-lenet5-blocks": ("compare-lenet5", blocks_table),
    "compare-lenet5-saved": ("compare-lenet5", saved_table), "engine": ("engine", networks_table),
}  # fmt: skip
"""By the names of their marks: the result of which a table is made, and what makes it of the rows of its file."""


def markdown(table: list[list[str]]) -> str:
    """A table of Markdown, its first line the heads."""
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:], ""])


def with_tables(text: str) -> str:
    """``text`` with the tables of the results that have been measured between their marks.

    Raises
    ------
    KeyError
        for a mark of no result.
    """

    def table(found: re.Match[str]) -> str:
        result, make = TABLES[found[2]]
        rows = rows_of(result)
        if not rows:
            return found[0]
        told = f"Measured {rows[0]['date']}, commit `{rows[0]['commit']}`, {rows[0]['tools']}.\n"
        return f"{found[1]}{markdown(make(rows))}\n{told}{found[3]}"

    return MARKED.sub(table, text)
