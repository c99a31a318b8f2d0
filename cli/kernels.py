"""The verb about what arrays of lanes cost: kernels."""

from typing import Any

import click
from rich.console import Console

from ..common.console import bar, steps
from ..common.errors import UserError
from .base import show, verb

__all__ = ["kernels"]


@verb
@click.option("--device", "name", required=True, help="ecp5-85k, xc7z020, xczu7ev, ice40-up5k, asic-osu018, ..")
@click.option("--lanes", type=int, help="Split into Pin x Pout as square as possible.  [default: 256]")
@click.option("--pin", type=int, help="Terms per row.")
@click.option("--pout", type=int, help="Rows.")
@click.option("--bits", default=8, show_default=True, help="2..16, of features and weights.")
@click.option("--signed", is_flag=True, help="Signed features (and adder weights); else as behind a ReLU.")
@click.option("--kernel", "kernels", multiple=True, help="Only this kernel; may be repeated.")
@click.option("--structure", "structures", multiple=True, help="Only this structure; may be repeated.")
@click.option("--all-structures", is_flag=True, help="Every structure, generic and device form, and DSP blocks.")
@click.option(
    "--registers",
    default="equal",
    show_default=True,
    help="Ranks between operands and accumulators: equal (the adder's best), best, or a number.",
)
@click.option("--terms", default=4096, show_default=True, help="Longest sum the accumulators hold.")
@click.option("--synth", is_flag=True, help="Count cells with yosys; of asic-osu018, nothing but cells and area.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well (ECP5, iCE40): Fmax.")
@click.option("--seeds", default=3, show_default=True, help="Of place and route; the median is reported.")
@click.option("--clock", "clock_mhz", default=200.0, show_default=True, help="MHz that place and route aims at.")
@click.option(
    "--operands",
    default="lenet5",
    show_default=True,
    help="For the power of asic-osu018: lenet5, on digits, random, or none.",
)
def kernels(
    name: str, kernels: tuple[str, ...], structures: tuple[str, ...], signed: bool, synth: bool, placed: bool,
    seeds: int, clock_mhz: float, operands: str, as_json: bool, **what: Any,
) -> None:  # fmt: skip
    """What arrays of lanes cost: every kernel, side by side."""
    from ..reports.devices.devices import device, is_cell_library
    from ..reports.kernels.choose import PRICED_KERNELS, requests
    from ..reports.kernels.price import jobs, price
    from ..reports.kernels.savings import comparison
    from ..reports.terminal.verb_tables import kernel_table

    if is_cell_library(name):
        if placed:
            raise UserError(f"there is no place and route for {name}; leave out --place")
        _cell_kernels(
            name, as_json, kernels=kernels or PRICED_KERNELS, structures=structures, signed_features=signed,
            synth=synth, clock_mhz=clock_mhz, operands=operands, **what,
        )  # fmt: skip
        return
    target = device(name)
    if seeds < 1:
        raise UserError(f"seeds must be a positive integer, not {seeds}")
    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    wanted = requests(target, kernels=kernels or PRICED_KERNELS, structures=structures, signed_features=signed, **what)
    with bar(f"arrays for {name}", jobs(wanted, synth=synth, place=placed, seeds=seeds)) as advance:
        costs = price(
            wanted, target, synth=synth, place=placed, seeds=seeds, clock_mhz=clock_mhz, progress=advance
        )  # fmt: skip
    rows = [cost.to_json() for cost in costs]

    def text(console: Console) -> None:
        console.print(kernel_table(rows, name))
        for line in comparison(costs):
            console.print(line, soft_wrap=True)
        for cost in costs:
            if placed and (excess := cost.excess(target)):
                form = f"{cost.request.shape.kernel} {cost.request.structure}, {cost.request.form}"
                console.print(f"not placed, {name} is too small: {form}: {excess}", soft_wrap=True)
        if not synth and not placed:
            console.print("cells are not counted: add --synth")

    show(rows, as_json, text)


def _cell_kernels(
    name: str, as_json: bool, *, synth: bool, clock_mhz: float, operands: str, **what: Any
) -> None:  # fmt: skip
    """Arrays in standard cells."""
    from ..reports.cells.asic import cell_requests, comparison, price_cells
    from ..reports.devices.devices import cell_library
    from ..reports.terminal.cell_tables import array_table

    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    library, period_ps = cell_library(name), 1e6 / clock_mhz
    with steps(f"arrays for {name}") as step:
        wanted = cell_requests(library, period_ps=period_ps, progress=step, **what)
        costs = price_cells(
            wanted, library, period_ps=period_ps, timed=not synth,
            operands=None if synth or operands == "none" else operands, progress=step,
        )  # fmt: skip
    rows = [cost.to_json() for cost in costs]

    def text(console: Console) -> None:
        console.print(array_table(rows, name))
        for line in comparison(costs):
            console.print(line, soft_wrap=True)

    show(rows, as_json, text)
