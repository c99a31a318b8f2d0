"""Verbs about what a design costs: report, compare, claims, cells."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..common.console import steps
from ..common.errors import UserError, positive
from .base import DEFAULT_BITS, PATH, listing, show, verb
from .engine import report_engine

__all__ = ["cells", "claims", "compare", "report"]


@verb
@click.argument("build", metavar="BUILD", type=PATH)
@click.option("--synth", is_flag=True, help="Count resources with yosys.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well: Fmax.")
@click.option("--seeds", default=1, show_default=True, help="Of place and route; the median is reported.")
@click.option("--power", is_flag=True, help="Model power from simulated activity (synthesises too).")
@click.option("--data", "source", default="digits", show_default=True, help="Images for --power.")
@click.option("--saif", type=PATH, help="Activity file of a simulation of your own, for --power instead of --data.")
@click.option("--image", type=PATH, help="Of an engine: NET.image, whose layers are told.")
@click.option("-o", "--out", type=PATH, help="Folder of the report.  [default: BUILD/report]")
def report(
    build: Path, synth: bool, placed: bool, seeds: int, power: bool, source: str, saif: Path | None,
    image: Path | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Resources, timing and power of a BUILD, as JSON and HTML."""
    from ..api import open_build
    from ..hdl.folder.engine import is_engine

    if is_engine(build):
        report_engine(
            build, image, synth=synth, placed=placed, seeds=seeds, power=power, source=source, saif=saif, out=out,
            as_json=as_json,
        )  # fmt: skip
        return
    if image is not None:
        raise UserError("--image is for an engine; a BUILD of the dataflow family has its network inside")
    made = open_build(build).report(
        synth=synth, place=placed, seeds=seeds, power=power, images=source, saif=saif, out=out or build / "report",
        command=shlex.join(["addax", *sys.argv[1:]]),
    )  # fmt: skip
    show(made.keys(), as_json, listing(str(build), made.rows()))


@verb
@click.argument("network", metavar="NET")
@click.option("--kernels", default="adder,mult,xnor,shift", show_default=True, help="Separated by commas.")
@click.option("--device", "name", required=True, help="ecp5-85k, xc7z020, ..")
@click.option("--bits", default=DEFAULT_BITS, show_default=True, help="2..16, of weights and features.")
@click.option("--data", "data_source", default="digits", show_default=True)
@click.option("--lanes", type=int, help="Of the first kernel; its folds are everyone's.  [default: 80]")
@click.option("--fps", type=float, help="The cheapest folds of the first kernel with so many images per second.")
@click.option("--clock", "clock_mhz", default=50.0, show_default=True, help="MHz.")
@click.option("--multipliers", default="lut", show_default=True, help="lut, or dsp: wherever synthesis likes.")
@click.option("--program", "programs", multiple=True, metavar="KERNEL=NET.addax", help="Instead of quantising NET.")
@click.option("--split", default="test", show_default=True)
@click.option("--images", default=20, show_default=True, help="Of the split, that are simulated; 0: none.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well: Fmax.")
@click.option("--seeds", default=1, show_default=True, help="Of place and route; the median is reported.")
@click.option("--power", is_flag=True, help="Model power from simulated activity.")
@click.option("--arch", default="dataflow", show_default=True, help="dataflow, engine, or both by a comma.")
@click.option("--pin", default=16, show_default=True, help="Of engines: lanes of a row.")
@click.option("--pout", type=int, help="Of engines: rows of lanes.  [default: as --pin]")
@click.option("-o", "--out", type=PATH, default=Path("out/compare"), show_default=True, help="Folder of the builds.")
def compare(
    network: str, kernels: str, name: str, programs: tuple[str, ...], arch: str, out: Path, as_json: bool, **terms: Any
) -> None:  # fmt: skip
    """One network with each kernel, as whole accelerators like for like."""
    from ..reports.compare.compare import Contest, compare
    from ..reports.devices.devices import device
    from ..reports.terminal.tables import comparison_tables

    if wrong := [entry for entry in programs if not all(entry.partition("="))]:
        raise UserError(f"--program wants KERNEL=NET.addax, for example mult=net.addax, not {wrong[0]!r}")
    files = {kernel: Path(file) for kernel, _, file in (entry.partition("=") for entry in programs)}
    try:
        archs = tuple(entry.strip() for entry in arch.split(","))
        contest = Contest(network=network, device=device(name), programs=files, archs=archs, **terms)
    except ValueError as error:
        raise UserError(str(error)) from error
    with steps("compare") as step:
        found = compare(
            contest, [kernel.strip() for kernel in kernels.split(",")], out, step=step,
            command=shlex.join(["addax", *sys.argv[1:]]),
        )  # fmt: skip
    rows = found.rows

    def text(console: Console) -> None:
        for table in comparison_tables(found, network=network, device=name):
            console.print(table)
        console.print(f"{found.html}", soft_wrap=True)

    show(rows, as_json, text)


@verb
@click.option("--paper", metavar="NUMBER", help="Of one paper, by its number in arXiv, for example 2010.14819.")
@click.option(
    "--compared", type=PATH, metavar="COMPARE.json", help="Of 'addax compare': answers what is said of kernels."
)
@click.option("-o", "--out", type=PATH, help="Folder for a page and its JSON.")
def claims(paper: str | None, compared: Path | None, out: Path | None, as_json: bool) -> None:
    """What the papers claim, beside what is counted or measured here."""
    from ..reports.compare.headlines import headlines_document, write_headlines
    from ..reports.terminal.verb_tables import claims_table
    from ..reports.tools.provenance import provenance

    found = headlines_document(paper, compared)
    files = () if out is None else write_headlines(found, out, provenance(shlex.join(["addax", *sys.argv[1:]])))

    def text(console: Console) -> None:
        console.print(claims_table(found["rows"]))
        for command in dict.fromkeys(row["command"] for row in found["rows"] if row["ours"] is row["answer"] is None):
            if command:
                console.print(f"not measured yet: {command}, then claims --compared COMPARE.json", soft_wrap=True)
        for file in files:
            console.print(str(file), soft_wrap=True)

    show(found["rows"], as_json, text)


@verb
@click.argument("builds", metavar="BUILD...", type=PATH, nargs=-1, required=True)
@click.option("--device", "name", default="asic-osu018", show_default=True, help="The library of standard cells.")
@click.option("--data", "source", default="digits", show_default=True, help="digits, a folder, or a .npz file.")
@click.option("--images", default=2, show_default=True, help="Of the test split, that the gates compute.")
@click.option("--clock", "clock_mhz", default=200.0, show_default=True, help="MHz that the mapper aims at.")
@click.option("--synth", is_flag=True, help="Nothing but cells and area.")
def cells(
    builds: tuple[Path, ...], name: str, source: str, images: int, clock_mhz: float, synth: bool, as_json: bool
) -> None:
    """What BUILDs cost in standard cells, memories apart: area, longest path, power on real images."""
    from ..api.given import given
    from ..hdl.folder.build import open_build
    from ..reports.cells.build import modelled_power, price_builds, rankings
    from ..reports.devices.devices import cell_library
    from ..reports.terminal.cell_tables import build_table

    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    opened = [open_build(build) for build in builds]
    count = positive("images", images)
    pixels = None if synth else [given(build.program, source, "test", limit=count).x for build in opened]
    with steps("standard cells") as step:
        costs = price_builds(
            opened, cell_library(name), period_ps=1e6 / clock_mhz, timed=not synth, pixels=pixels, progress=step,
        )  # fmt: skip
    modelled = modelled_power(opened)
    rows = [cost.to_json() | {"modelled_mw": modelled.get(cost.name)} for cost in costs]

    def text(console: Console) -> None:
        console.print(build_table(rows, name))
        for kind, order in rankings(costs, modelled).items():
            if len(order) > 1:
                console.print(f"{kind}, least power first: {', '.join(order)}", soft_wrap=True)

    show(rows, as_json, text)
