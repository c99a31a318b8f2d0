"""The verb that runs RTL against the golden model: simulate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ..api.build import as_share
from ..common.console import stderr
from ..common.errors import UserError, positive
from ..common.files import write_json
from .base import MISMATCH, PATH, listing, show, verb

if TYPE_CHECKING:
    from ..sim.cosim import Outcome

__all__ = ["simulate"]

ENGINE_LATENCY = 20
"""Cycles to the first beat of a read of an engine's memory, where none are said."""


@verb
@click.argument("build", metavar="BUILD", type=PATH)
@click.argument("image", metavar="[NET.image]", type=PATH, required=False)
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
@click.option("--memory-latency", type=int, help="Of an engine's memory: cycles to a read.  [default: 20]")
@click.option("--jobs", type=int, help="Simulators side by side.  [default: the processors]")
def simulate(
    build: Path, image: Path | None, source: str, split: str, images: int | None, stall: float, stall_pattern: str,
    seed: int, waves: Path | None, weights: Path | None, trace_stages: bool, perfetto: Path | None,
    memory_latency: int | None, jobs: int | None, as_json: bool,
) -> int:  # fmt: skip
    """Run images through the RTL and compare every score, or element of a raw result, with the golden model."""
    from ..hdl.folder.engine import is_engine

    if image is not None:
        _refuse_dataflow_choices({"stall": stall, "waves": waves, "weights": weights, "perfetto": perfetto})
        from .engine import simulate_engine

        latency = positive("memory-latency", memory_latency) or ENGINE_LATENCY
        return simulate_engine(
            build, image, source, split, positive("images", images), latency, jobs, trace_stages, as_json
        )
    if is_engine(build):
        raise UserError(f"{build} is an engine; say which network: addax simulate {build} NET.image --data ..")
    if memory_latency is not None:
        raise UserError("--memory-latency is for an engine, which needs a NET.image behind its BUILD")

    from ..api import load, open_build
    from ..api.given import given
    from ..sim.perfetto import TRACED, chrome_trace
    from ..sim.stall import Stall
    from ..sim.stopwatch import watch

    opened = open_build(build)
    if perfetto is not None and perfetto.is_dir():
        raise UserError(f"{perfetto} is a folder; expected the name of a file to write")
    program = load(weights).program if weights else opened.program
    chosen = given(program, source, split, limit=positive("images", images))
    found = opened.simulate(
        chosen, stall=stall, stall_pattern=stall_pattern, seed=seed,
        waves=waves, program=program, trace_stages=trace_stages, jobs=jobs,
    )  # fmt: skip
    if perfetto is not None:
        # The same stalls and seed give the run's own cycles again.
        few, how = chosen.x[:TRACED], Stall(share=as_share(stall), pattern=stall_pattern)
        write_json(perfetto, chrome_trace(watch(opened.folder, few, program=program, stall=how, seed=seed)))

    from ..reports.terminal.verb_tables import stage_table

    def text(console: Console) -> None:
        listing(f"{build} on {source}, {split}", found.rows())(console)
        if trace_stages:
            console.print(stage_table(found.outcome.stages))

    show(found.keys(), as_json, text)
    if found.bit_exact:
        return 0
    _say_where(found.outcome, classifies=program.classifies)
    return MISMATCH


def _refuse_dataflow_choices(choices: Mapping[str, object]) -> None:
    """Raise `UserError` for a choice that an engine's simulation does not have."""
    if given := [name for name, value in choices.items() if value]:
        raise UserError(f"--{given[0]} is for a BUILD of the dataflow family; an engine's simulation has none")


def _say_where(outcome: "Outcome", *, classifies: bool) -> None:
    """On standard error, where RTL and golden model differ first."""
    if outcome.mismatches or outcome.class_mismatches:
        what = "class" if classifies else "row, column, channel"
        stderr.print(
            f"addax: RTL and golden model differ, first at image, {what} {outcome.first_mismatch}", soft_wrap=True
        )
    if (differs := outcome.first_difference) is not None:
        stderr.print(f"addax: first difference: stage {differs.stage}, {differs.place}", soft_wrap=True)
