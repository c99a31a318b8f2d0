"""The ten papers that addax begins with, as far as each has come: its idea against a definition, its network as
integers, its RTL against the golden model, its report. `make seeds` runs it.

python -m tests.bench.seeds [RUNS.csv] [PAPER ..]

A step that is refused is told as missing, with the line of the refusal. Each row is appended to RUNS.csv (of the day,
in `out`, unless said) when it is over, with its date, commit and command; a paper that stands there for the same commit
is not run again. All ten take some minutes, mostly builds of simulators.
"""

import shlex
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from addax.api.build import generated
from addax.api.engine import report_engine
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.folder.engine import generate_engine
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.reports.tools.provenance import commit
from addax.sim.cosim import simulate
from addax.sim.engine import engine_simulator, run_engine
from addax.sim.engine_trace import compare_tensors
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torchnets import pictures

from .dated import append, done
from .seed_papers import PAPERS

__all__ = ["main", "run_paper", "seed_table"]

STEPS = ("algorithm", "quantised", "rtl", "report")
FIELDS = ("date", "commit", "paper", "name", *STEPS, "seconds", "command")
MISSING, WRONG = "missing: ", "wrong: "
COMPARED, SIMULATED = 32, 2
"""Images that the float network and the golden model both see, and that go through the RTL."""


class _Way:
    """One paper's network on its way; every step needs those before it."""

    def __init__(self, paper, folder):
        self.paper, self.folder = paper, folder

    def algorithm(self):
        return self.paper.check()

    def quantised(self):
        if self.paper.network is None:
            raise UserError("needs algorithm")
        module = self.paper.network()
        self.program = lower(module, pictures(64, self.paper.shape))
        images = pictures(COMPARED, self.paper.shape, seed=1)
        with torch.no_grad():
            floats = module(to_float(images)).numpy()
        found = golden.run(self.program, images.astype(np.int64))
        if floats.ndim == 2:
            return f"{np.mean(found.classes == floats.argmax(1)):.0%} of {COMPARED} images as float"
        error = found.output * self.program.steps[self.program.output] - floats
        return f"{np.sqrt(np.mean(error**2) / np.mean(floats**2)):.1%} off float, {COMPARED} images"

    def rtl(self):
        images = pictures(SIMULATED, self.paper.shape, seed=2)
        return self._on_engine(images) if self.paper.engine else self._as_dataflow(images)

    def _as_dataflow(self, images):
        self.build = generated(self.program, self.folder / "build", device="ecp5-85k", lanes=self.paper.lanes)
        outcome = simulate(self.build.folder, images)
        wrong = outcome.mismatches + outcome.class_mismatches
        assert not wrong, f"{wrong} words of {outcome.images} images differ"
        return f"0 mismatches, {outcome.images} images, {outcome.cycles_per_image:,} cycles"

    def _on_engine(self, images):
        self.build = generate_engine(self.paper.engine, self.folder / "build")
        image, simulator = compiled(self.program, self.paper.engine), engine_simulator(self.build)
        cycles = predicted(image).total
        for own in images.astype(np.int64):
            run = run_engine(simulator, image, own)
            wrong = sum(stage.mismatches for stage in compare_tensors(image, own[None], [run.words]))
            assert not wrong, f"{wrong} values of stored tensors differ"
            assert run.cycles == cycles, f"{run.cycles} cycles, predicted {cycles}"
        return f"0 mismatches, {len(images)} images, {cycles:,} cycles"

    def report(self):
        out = self.folder / "report"
        made = report_engine(self.build, out=out) if self.paper.engine else self.build.report(out=out)
        keys = made.keys()
        return f"{keys['lut']:,} LUT, {keys['source']}"


def run_paper(paper):
    """What each step of a paper says, by its name. Behind one that failed nothing is tried; a network needs no check of
    its idea, though."""
    found, stopped = {}, None
    with tempfile.TemporaryDirectory() as folder:
        way = _Way(paper, Path(folder))
        for step in STEPS:
            if stopped is not None and step != "algorithm":
                found[step] = f"{MISSING}needs {stopped}"
                continue
            try:
                found[step] = getattr(way, step)()
            except (UserError, ValueError) as error:
                found[step] = MISSING + " ".join(str(error).split())
            except AssertionError as error:
                found[step] = WRONG + " ".join(str(error).split())
            if step != "algorithm" and _failed(found[step]):
                stopped = step
    return found


def seed_table(rows):
    """The rows for a terminal, red where something is missing or wrong; `refusals` says why."""
    table = Table(title="Ten papers", title_justify="left")
    for head in ("paper", *STEPS, "date"):
        table.add_column(head)
    for row in rows:
        cells = [Text(row[step].partition(":")[0], "red") if _failed(row[step]) else row[step] for step in STEPS]
        table.add_row(f"{row['name']}\n{row['paper']}", *cells, row["date"])
    return table


def refusals(rows):
    """A line for each step that is missing or wrong by itself: the paper, the step, and what was said, to its first
    semicolon."""
    for row in rows:
        for step in STEPS:
            if _failed(row[step]) and not row[step].startswith(f"{MISSING}needs "):
                yield f"{row['name']}, {step} {row[step].partition('; ')[0]}"


def _failed(text):
    return text.startswith((MISSING, WRONG))


def main(path, names):
    """Run the papers called ``names`` that ``path`` does not have for this commit; returns the exit status: 3 where
    something is wrong, 0 where at most something is missing."""
    torch.set_num_threads(1)
    at = commit() or "unknown"
    for paper in PAPERS:
        if paper.name not in names:
            continue
        if any((row["commit"], row["name"]) == (at, paper.name) for row in done(path)):
            continue
        begin, command = time.perf_counter(), shlex.join(["python", "-m", "tests.bench.seeds", str(path), paper.name])
        print(f"{paper.name} ..", file=sys.stderr, flush=True)
        steps = run_paper(paper)
        seconds = round(time.perf_counter() - begin, 1)
        row = {"date": date.today().isoformat(), "commit": at, "paper": paper.number, "name": paper.name}
        append(path, FIELDS, {**row, **steps, "seconds": seconds, "command": command})
    latest = {row["name"]: row for row in done(path) if row["name"] in names}
    rows = [latest[paper.name] for paper in PAPERS if paper.name in latest]
    console = Console(highlight=False)
    console.print(seed_table(rows))
    for line in refusals(rows):
        console.print(line, style="red", soft_wrap=True)
    for row in rows:
        console.print(f"{row['name']}: {row['command']}", soft_wrap=True)
    return 3 if any(row[step].startswith(WRONG) for row in rows for step in STEPS) else 0


def asked(arguments):
    """The file and the papers that the command line names; all papers unless it names some."""
    known = [paper.name for paper in PAPERS]
    files = [argument for argument in arguments if argument.endswith(".csv")]
    names = [argument for argument in arguments if argument not in files]
    if len(files) > 1 or (unknown := [name for name in names if name not in known]):
        raise UserError(
            "one .csv file is asked for" if len(files) > 1 else f"no paper {unknown[0]!r}; known: {', '.join(known)}"
        )
    path = Path(files[0]) if files else Path("out") / f"seeds-{date.today().isoformat()}.csv"
    return path, names or known


if __name__ == "__main__":
    try:
        sys.exit(main(*asked(sys.argv[1:])))
    except UserError as mistake:
        sys.exit(f"seeds: {mistake}")
