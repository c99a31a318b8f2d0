"""The verb that runs RTL against the golden model: simulate."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from ..common.console import bar, stderr
from ..common.errors import UserError
from ..common.files import write_json
from .base import MISMATCH, PATH, listing, percent, positive, show, verb

if TYPE_CHECKING:
    from ..hdl.folder.build import Build
    from ..sim.cosim import Outcome

__all__ = ["simulate"]


@verb
@click.argument("build", metavar="BUILD", type=PATH)
@click.option("--data", "source", required=True, help="digits, a folder, or a .npz file.")
@click.option("--split", default="test", show_default=True)
@click.option("--images", type=int, help="Only the first so many.")
@click.option("--stall", type=float, default=0.0, help="Share of stalled cycles: 0.3 or 30 (percent).")
@click.option(
    "--stall-pattern", default="both", show_default=True, help="both, source, sink: per cycle; burst: in bursts, both."
)
@click.option("--seed", default=1, show_default=True, help="Of the stalls.")
@click.option("--waves", type=PATH, help="Waveform file, .vcd or .fst, of the first part.")
@click.option("--weights", type=PATH, help="Load another .addax of the same shapes into the same RTL.")
@click.option("--trace-stages", is_flag=True, help="Compare the output of every stage: where is the first difference?")
@click.option(
    "--perfetto", type=PATH, help="When every stage works on the first images, as a trace for ui.perfetto.dev."
)
@click.option("--jobs", type=int, help="Simulators side by side.  [default: the processors]")
def simulate(
    build: Path, source: str, split: str, images: int | None, stall: float, stall_pattern: str, seed: int,
    waves: Path | None, weights: Path | None, trace_stages: bool, perfetto: Path | None, jobs: int | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run images through the RTL and compare every score, or element of a raw result, with the golden model."""
    from ..common.executor import pool, processors
    from ..hdl.folder.build import open_build
    from ..models import data
    from ..quant.files.archive import load_program
    from ..sim.cosim import simulate, simulator_name
    from ..sim.perfetto import TRACED, chrome_trace
    from ..sim.stall import Stall
    from ..sim.stopwatch import watch

    opened = open_build(build)
    if perfetto is not None and perfetto.is_dir():
        raise UserError(f"{perfetto} is a folder; expected the name of a file to write")
    program = load_program(weights) if weights else opened.program
    chosen = data.load(source, split, shape=program.input.shape).head(positive("images", images))
    share = stall if stall < 1 else stall / 100
    workers = processors() if jobs is None else jobs
    with pool(workers) as executor, bar("images", len(chosen)) as advance:
        outcome = simulate(
            opened, chosen.x, program=program, stall=share, stall_pattern=stall_pattern, seed=seed, waves=waves,
            trace_stages=trace_stages, executor=executor, workers=workers, progress=advance,
        )  # fmt: skip
    if perfetto is not None:
        # The same stalls and seed give the run's own cycles again.
        seen = watch(
            opened, chosen.x[:TRACED], program=program, stall=Stall(share=share, pattern=stall_pattern), seed=seed
        )
        write_json(perfetto, chrome_trace(seen))
    accuracy = float((outcome.classes == chosen.y).mean()) if program.classifies else None
    value = _keys(opened, outcome, accuracy=accuracy, simulator=simulator_name())
    if trace_stages:
        differs = outcome.first_difference
        value["stages"] = [asdict(stage) for stage in outcome.stages]
        value["first_difference"] = None if differs is None else {"stage": differs.stage, **asdict(differs.place)}
    rows = _table(opened, outcome, value)
    if share:
        rows["stalled cycles, source / sink"] = f"{percent(outcome.source_stalls)} / {percent(outcome.sink_stalls)}"

    from ..reports.terminal.verb_tables import stage_table

    def text(console: Console) -> None:
        listing(f"{build} on {source}, {split}", rows)(console)
        if trace_stages:
            console.print(stage_table(outcome.stages))

    show(value, as_json, text)
    if outcome.bit_exact:
        return 0
    _say_where(outcome, classifies=program.classifies)
    return MISMATCH


def _keys(opened: "Build", outcome: "Outcome", *, accuracy: float | None, simulator: str) -> dict[str, Any]:
    """What the verb says as JSON of any run."""
    timing = opened.schedule
    return {
        "images": outcome.images,
        "mismatches": outcome.mismatches,
        "bit_exact": outcome.bit_exact,
        "accuracy": accuracy,
        "cycles_first_image": outcome.cycles_first_image,
        "predicted_cycles_first_image": timing.latency,
        "cycles_per_image": outcome.cycles_per_image,
        "predicted_cycles_per_image": timing.interval,
        "lanes": timing.lanes,
        "lane_utilization": timing.lane_utilization(outcome.cycles_per_image),
        "sim_cycles_per_second": outcome.cycles / max(outcome.seconds, 1e-9),
        "simulator": simulator,
        "cached_build": outcome.cached_build,
        "clock_mhz": opened.plan.clock_mhz,
        "images_per_second": opened.plan.clock_mhz * 1e6 / outcome.cycles_per_image,
        "first_mismatch": outcome.first_mismatch,
        "parts": outcome.parts,
        "cycles": outcome.cycles,
        "source_stalls": outcome.source_stalls,
        "sink_stalls": outcome.sink_stalls,
    }


def _table(opened: "Build", outcome: "Outcome", value: dict[str, Any]) -> dict[str, Any]:
    """What the verb says to people of any run; a Program that gives classes has an accuracy in ``value``."""
    timing, accuracy = opened.schedule, value["accuracy"]
    return {
        "images": outcome.images,
        "wrong elements" if accuracy is None else "wrong scores": outcome.mismatches,
        **({} if accuracy is None else {"accuracy": percent(accuracy)}),
        "cycles, first image": f"{outcome.cycles_first_image:,} (predicted {timing.latency:,})",
        "cycles per image": f"{outcome.cycles_per_image:,} (predicted {timing.interval:,})",
        "lanes": f"{timing.lanes}, those of {timing.bottleneck.name} busy {percent(value['lane_utilization'])}",
        f"images/s at {opened.plan.clock_mhz:g} MHz": f"{value['images_per_second']:,.0f}",
        "simulated cycles/s": f"{value['sim_cycles_per_second']:,.0f} ({value['simulator']})",
    }


def _say_where(outcome: "Outcome", *, classifies: bool) -> None:
    """On standard error, where RTL and golden model differ first."""
    if outcome.mismatches or outcome.class_mismatches:
        what = "class" if classifies else "row, column, channel"
        stderr.print(
            f"addax: RTL and golden model differ, first at image, {what} {outcome.first_mismatch}", soft_wrap=True
        )
    if (differs := outcome.first_difference) is not None:
        stderr.print(f"addax: first difference: stage {differs.stage}, {differs.place}", soft_wrap=True)
