"""Verbs about torch networks: train, zoo."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ..common.console import meter
from ..common.errors import UserError
from .base import PATH, listing, show, verb

if TYPE_CHECKING:
    from ..models.training.history import Moment
    from ..models.training.recipe import TrainingRecipe

__all__ = ["train", "zoo"]


@verb
@click.argument("network")
@click.option(
    "--kernel", default="adder", show_default=True,
    help="adder, mult, xnor (xnor:fda, xnor:dorefa) or shift; then of layers: ,PATTERN=KERNEL.",
)  # fmt: skip
@click.option(
    "--data", "source",
    help="digits, a folder (idx, CIFAR-10, class folders), or a .npz file; for networks that enlarge pictures "
    "photographs, or a folder of pictures.  [default: digits, photographs]",
)  # fmt: skip
@click.option("--recipe", "recipe_file", type=PATH, help="A TOML file that says how.  [default: docs/training.md]")
@click.option("--epochs", type=int, help="Instead of the recipe's.  [default: 60, with --bits 20]")
@click.option("--seed", type=int, help="Instead of the recipe's.  [default: 0]")
@click.option("--bits", type=int, help="Go on with a float checkpoint, rounding to so many bits.")
@click.option("--from", "start", type=PATH, help="With --bits: that checkpoint.  [default: the one that comes along]")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped, if there is one.")
@click.option("--workers", default=2, show_default=True, help="Processes that read pictures too many for the memory.")
@click.option("-o", "--out", type=PATH, help="Checkpoint to write.  [default: NETWORK-KERNEL[-BITS].safetensors]")
def train(
    network: str, kernel: str, source: str | None, recipe_file: Path | None, epochs: int | None, seed: int | None,
    bits: int | None, start: Path | None, resume: bool, workers: int, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Train a network of the zoo.

    CSV and plot of the run stand beside the checkpoint. The state after every epoch does, too, until the checkpoint is
    written. torchrun starts several processes: torchrun --nproc-per-node 2 -m addax.cli train ..
    """
    from ..models.nets.zoo import network_called
    from ..models.training.run import Files, train_network
    from ..models.training.tasks import task_of

    if bits is None and start is not None:
        raise UserError("--from goes with --bits")
    if workers < 0:
        raise UserError(f"workers must be 0 or more, not {workers}")
    task = task_of(network_called(network))
    source = source or task.source
    recipe = _recipe(recipe_file, bits, task.recipe).changed(epochs=epochs, seed=seed)
    out = out or Path(f"{network}-{kernel}{'' if bits is None else f'-{bits}'}.safetensors")
    with meter("training") as tell:

        def progress(now: "Moment") -> None:
            done, total = now.epoch * now.steps + now.step + 1, now.epochs * now.steps
            reached = f"{task.metric.name} {task.metric.form.format(now.metric)}"
            tell(done, total, f"epoch {now.epoch + 1}, loss {now.loss:.3f}, {reached}")

        files = Files(out=out, resume=resume, progress=progress, workers=workers)
        if bits is None:
            value = train_network(network, kernel=kernel, source=source, recipe=recipe, files=files)
        else:
            from ..quant.qat.train import float_start, train_quantized

            value = train_quantized(
                float_start(network, kernel, start), bits=bits, source=source, recipe=recipe, files=files
            )
    if value is not None:
        show(value, as_json, listing(f"{network}, {kernel} kernel", value))


def _recipe(file: Path | None, bits: int | None, usual: "TrainingRecipe") -> "TrainingRecipe":
    """The recipe of a file, whose other values are as ``usual``; or the usual one for training from scratch or at few
    bits."""
    from ..models.training.recipe import read_recipe

    if file is not None:
        return read_recipe(file, usual=usual)
    if bits is None:
        return usual
    from ..quant.qat.train import qat_recipe

    return qat_recipe()


@verb
@click.argument("name", required=False)
@click.option("--kernel", help="Count every network with this kernel.  [default: the one that it is known for]")
@click.option(
    "--category", is_flag=False, flag_value="", metavar="[CATEGORY]",
    help="Transformers in the categories of the survey 2012.12556, or in one of them, modelled on an engine.",
)  # fmt: skip
@click.option("--engine", metavar="BUILD", type=PATH, help="With --category: the engine.  [default: 16 x 16 lanes]")
@click.option("-o", "--out", type=PATH, help="With --category: folder for a page and its JSON.")
def zoo(
    name: str | None, kernel: str | None, category: str | None, engine: Path | None, out: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Networks by name: papers, parameters, MACs, checkpoints that come along."""
    if category is not None:
        if name is not None:
            raise UserError(f"--category lists networks of the survey; leave out {name!r}, or --category")
        _survey(category or None, kernel, engine, out, as_json)
        return
    if engine is not None or out is not None:
        raise UserError(f"{'-o' if engine is None else '--engine'} of zoo goes with --category")
    from ..models.files.catalogue import catalogue
    from ..reports.terminal.verb_tables import zoo_table

    rows = catalogue(name, kernel=kernel)

    def text(console: Console) -> None:
        console.print(zoo_table(rows))
        for row in rows:
            for entry in row["checkpoints"]:
                accuracy = f"{100 * entry['accuracy']:.2f} % of {entry['data']}"
                console.print(f"{row['name']}, {entry['kernel']}: {accuracy}, {entry['checkpoint']}", soft_wrap=True)

    show(rows, as_json, text)


def _survey(category: str | None, kernel: str | None, engine: Path | None, out: Path | None, as_json: bool) -> None:
    """The survey as a table, and as a page where there is an ``out``."""
    from ..hdl.folder.engine import open_engine
    from ..models.nets.transformers.survey import survey_category
    from ..reports.compare.survey import SURVEY_ENGINE, survey_document, write_survey
    from ..reports.terminal.verb_tables import survey_tables
    from ..reports.tools.provenance import provenance

    if category is not None:
        survey_category(category)
    plan = SURVEY_ENGINE if engine is None else open_engine(engine).plan
    found = survey_document(category, kernel=kernel, plan=plan, build=None if engine is None else engine.name)
    files = () if out is None else write_survey(found, out, provenance(shlex.join(["addax", *sys.argv[1:]])))

    def text(console: Console) -> None:
        for table in survey_tables(found):
            console.print(table)
            console.print()
        console.print(
            f"Modelled for one image on an engine of {found['engine']['name']}, and a vector unit of "
            f"{found['engine']['vector']} elements a cycle beside its lanes; energy of lanes and buffers, at 45 nm."
        )
        for file in files:
            console.print(str(file), soft_wrap=True)

    show(found["rows"], as_json, text)
