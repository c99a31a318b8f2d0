"""Verbs that make hardware: generate, bitstream."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from ..common.console import steps
from ..common.errors import UserError
from .base import PATH, listing, show, verb, with_options
from .engine import ENGINE_CHOICES, ENGINE_OPTIONS

if TYPE_CHECKING:
    from ..reports.planning import Offer

__all__ = ["bitstream", "generate"]


@verb
@click.argument("program", metavar="NET.addax", type=PATH, required=False)
@click.option("--arch", default="dataflow", show_default=True, help="dataflow, or engine, which needs no NET.addax.")
@click.option("--device", default="ecp5-85k", show_default=True)
@click.option("--lanes", type=int, help="The fastest design with at most so many lanes.")
@click.option(
    "--fps", type=float, help="The cheapest design with so many images per second.  [default: 30, as video has]"
)
@click.option("--fill", is_flag=True, help="The fastest design that fits the device.")
@click.option("--plan", "plan_file", type=PATH, help="A plan.json, perhaps edited; what it leaves out is chosen.")
@click.option("--clock", "clock_mhz", default=50.0, show_default=True, help="MHz.")
@click.option(
    "--fixed-weights",
    is_flag=True,
    help="Size accumulators and shifts for these weights alone; unrolled layers become circuits of them.",
)
@click.option(
    "--form",
    default="generic",
    show_default=True,
    help="Of the lanes: generic, or device, with the device's carry cells.",
)
@click.option("--memory", default="auto", show_default=True, help="Of weights: auto, as synthesis likes, or block RAM.")
@click.option(
    "--multipliers",
    default="dsp",
    show_default=True,
    help="Of lanes: dsp, as synthesis likes; lut: lookup tables.",
)
@click.option(
    "--requantise",
    "scale",
    default="auto",
    show_default=True,
    help="dsp: multipliers as synthesis likes; halves: two of them, for wide sums; lut: in lookup tables; pow2: by "
    "shifting, after quantize --terms.",
)
@click.option("--control", default="none", show_default=True, help="Registers behind a bus: axi-lite or wishbone.")
@click.option(
    "--counters/--no-counters",
    default=None,
    help="Of cycles, stalls and images, among those registers.  [default: counters; of an engine none]",
)
@click.option(
    "--stream",
    default="axi",
    show_default=True,
    help="axi: AXI4-Stream; none: valid alone and a fixed latency, of networks unrolled with --fixed-weights.",
)
@click.option("--prefix", default="addax", show_default=True, help="Of all Verilog modules.")
@click.option("-o", "--out", type=PATH, required=True, help="BUILD folder to write.")
@with_options(ENGINE_OPTIONS)
def generate(
    program: Path | None, plan_file: Path | None, prefix: str, out: Path, as_json: bool, **choices: Any
) -> None:  # fmt: skip
    """Make Verilog, memory files and a test bench of a Program; or an engine, which runs any."""
    own = {name: choices.pop(name) for name in ENGINE_CHOICES}
    if choices["arch"] == "engine":
        _generate_engine(program, plan_file, prefix, out, as_json, own, choices)
        return
    if given := [name for name, value in own.items() if value is not None]:
        raise UserError(f"--{given[0].replace('_', '-')} is for an engine; say --arch engine")
    choices["counters"] = choices["counters"] is not False
    if program is None:
        raise UserError("expected a NET.addax to generate hardware of; only an engine (--arch engine) needs none")
    from ..api import load
    from ..reports.devices.devices import device
    from ..reports.estimate.estimate import BRAM_LUTS, DSP_LUTS, cost_and_capacity
    from ..reports.planning import PlanChoices, offers

    network = load(program)
    build = network.generate(plan=plan_file, out=out, prefix=prefix, **choices)
    plan, timing, design = build.plan, build.schedule, build.design
    cost, capacity = cost_and_capacity(device(plan.device))
    ways = {
        part: {name: None if found is None else found.to_json() for name, found in found_ways.items()}
        for part, found_ways in design.alternatives(cost).items()
    }
    value = {
        "build": str(out),
        "device": plan.device,
        "lanes": timing.lanes,
        "predicted_cycles_per_image": timing.interval,
        "predicted_cycles_first_image": timing.latency,
        "images_per_second": build.images_per_second,
        "bottleneck": timing.bottleneck.name,
        "plan": plan.to_json(),
        "alternatives": ways,
    }

    from ..reports.terminal.verb_tables import choices_table, fold_table

    asked = PlanChoices(file=plan_file, **choices)
    more = _more(offers(network.program, asked, pace=build.images_per_second)) if asked.aimless and not as_json else []

    def text(console: Console) -> None:
        console.print(f"{out}: {timing.lanes:,} lanes, {timing.interval:,} cycles per image", soft_wrap=True)
        console.print(fold_table(design.layers, timing.stages))
        console.print(choices_table(ways))
        if capacity is None:
            console.print(
                f"there are no estimates for {plan.device}: costs are counts of bits; --synth tells what fits"
            )
        else:
            console.print(f"cost: LUT + {BRAM_LUTS:g} per block RAM + {DSP_LUTS:g} per DSP block")
        if design.interface.pixels > 1:
            console.print(f"{design.interface.pixels} pixels per beat of the input")
        for line in more:
            console.print(line, soft_wrap=True)

    show(value, as_json, text)


def _generate_engine(
    program: Path | None, plan_file: Path | None, prefix: str, out: Path, as_json: bool, own: dict[str, Any],
    choices: dict[str, Any],
) -> None:  # fmt: skip
    """An engine of what was asked for; a network in it, or a choice that it does not have, is refused."""
    from ..hdl.cells.known import FABRICS
    from .engine import generate_engine

    if program is not None or plan_file is not None:
        raise UserError("an engine is generated without a network; make an image of it with 'addax compile'")
    if choices["lanes"] is not None or choices["fps"] is not None or choices["fill"]:
        raise UserError("the size of an engine is said with --pin and --pout")
    if choices["stream"] != "axi":
        raise UserError("--stream none is for an unrolled network; an engine has a memory that may make it wait")
    form, device = choices["form"], choices["device"]
    from ..reports.devices.devices import device as known

    fabric = "generic" if form == "generic" else known(device).family
    if form not in ("generic", "device") or fabric not in FABRICS:
        raise UserError(f"form must be generic, or device where its carry cells are known, not {form!r} for {device}")
    control = "axi-lite" if choices["control"] == "none" else choices["control"]
    generate_engine(
        out, prefix, as_json, device=device, clock_mhz=choices["clock_mhz"], control=control, fabric=fabric,
        counters=bool(choices["counters"]), **own,
    )  # fmt: skip


def _more(found: "Sequence[Offer]") -> list[str]:
    """What a design would cost that somebody asks for who has said no pace."""
    lines = ["no pace was asked for, so it is that of video; more costs more:"] if found else []
    for offer in found:
        cost = "" if offer.lut is None else f", about {offer.lut:,} LUT"
        lines.append(f"  {offer.option}: {offer.lanes:,} lanes, {offer.images_per_second:,.0f} images/s{cost}")
    return lines


@verb
@click.argument("build", metavar="BUILD", type=PATH)
@click.option("--board", "board_name", default="ulx3s-85f", show_default=True, help="ulx3s-85f, ulx3s-45f, ulx3s-25f.")
@click.option("--baud", type=int, help="Of the serial line.  [default: 1000000]")
@click.option("--seed", default=1, show_default=True, help="Of place and route.")
@click.option("-o", "--out", type=PATH, help="Folder of the bitstream.  [default: BUILD/BOARD]")
def bitstream(
    build: Path, board_name: str, baud: int | None, seed: int, out: Path | None, as_json: bool
) -> None:  # fmt: skip
    """A bitstream of a BUILD for a board, where a serial line brings images and takes scores."""
    from ..hdl.board.boards import board
    from ..hdl.folder.build import open_build
    from ..reports.synth.bitstream import DEFAULT_BAUD, make_bitstream

    target = board(board_name)
    with steps("bitstream") as step:
        made = make_bitstream(
            open_build(build), target, out or build / target.name, baud=DEFAULT_BAUD if baud is None else baud,
            seed=seed, step=step,
        )  # fmt: skip
    k = made.keys
    serial = k["serial"]
    rows = {
        "board": f"{k['board']}, {k['device']}",
        "LUT / FF / block RAM / DSP": f"{k['lut']:,} / {k['ff']:,} / {k['bram']} / {k['dsp']}",
        "Fmax": f"{k['fmax_mhz']:.1f} MHz, the board's clock is {k['clock_mhz']:g} MHz",
        "serial line": f"{k['baud']:,} baud; {serial['image_bytes']:,} bytes per image, {serial['answer_bytes']} back, "
        f"at most {serial['in_flight']} images unanswered",
        "images/s": f"{k['images_per_second']:,.0f}",
        "bitstream": f"{k['bitstream']}, {k['bytes']:,} bytes",
    }
    show(k, as_json, listing(f"{build} on {k['board']}", rows))
