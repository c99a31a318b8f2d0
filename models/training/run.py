"""A run of training from data to checkpoint: what ``addax train`` does, float or at few bits."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError
from ..data.examples import Examples
from ..files.checkpoint import Recipe, read_checkpoint, save_checkpoint
from ..nets import zoo
from .history import EpochRow, Moment, write_csv, write_plot
from .loop import Lesson, Watch, measured, train_by
from .objective import ACCURACY, Metric
from .ranks import Ranks, started_ranks
from .recipe import TrainingRecipe
from .state import Keeping
from .tasks import task_of

__all__ = ["Files", "Subject", "finished", "run_training", "state_path", "train_network"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network with what it learns from, and what its checkpoint will say.

    Attributes
    ----------
    made : the record of the checkpoint, whose metric is filled in
    twin : makes the network with multiplications of the same architecture
    test_batch : inputs that are tested together
    lessons : in which it learns several things; they take the place of ``train`` and ``test``
    """

    module: nn.Module
    train: Examples
    test: Examples
    made: Recipe
    twin: Callable[[], nn.Module] | None = None
    test_batch: int = 256
    lessons: tuple[Lesson, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a run writes.

    Attributes
    ----------
    out : the checkpoint; CSV and plot of the run stand beside it, and until it is there the state
    resume : go on where an interrupted run stopped, if there is one
    progress : told after every step
    workers : processes that read pictures which are not held in memory
    """

    out: Path
    resume: bool = False
    progress: Callable[[Moment], None] = lambda moment: None
    workers: int = 2


def state_path(out: Path) -> Path:
    """Where the state of the run stands that will write the checkpoint ``out``."""
    return out.with_name(f"{out.stem}.state.safetensors")


def train_network(
    name: str, *, kernel: str, source: str, recipe: TrainingRecipe, files: Files
) -> dict[str, Any] | None:
    """Train ``name`` on the train split of ``source``, test it once, write its checkpoint; what `run_training` says.

    Raises
    ------
    UserError
        for an unknown network, kernel or data set, and as `train_by`.
    """
    known = zoo.network_called(name)
    with torch.device("meta"):
        zoo.build(name, kernel=kernel)  # names what is wrong with the kernel
    task = task_of(known)
    with started_ranks() as ranks:
        found = task.material(source, recipe, workers=files.workers)
        made = Recipe(
            network=name, kernel=kernel, shape=found.train.shape, classes=found.classes, data=Path(source).name,
            seed=recipe.seed, epochs=recipe.epochs, training=recipe.values(),
        )  # fmt: skip

        def fresh(with_kernel: str) -> nn.Module:
            return zoo.build(name, kernel=with_kernel, shape=made.shape, classes=made.classes)

        if files.resume and (value := finished(files.out, made)) is not None:
            return value
        torch.manual_seed(recipe.seed)
        module = fresh(kernel)
        if recipe.start is not None:
            recipe.start.begin(module, seed=recipe.seed)
        subject = Subject(
            module=module, train=found.train, test=found.test, made=made, twin=lambda: fresh("mult"),
            test_batch=found.batch, lessons=found.lessons,
        )  # fmt: skip
        return run_training(subject, recipe, files, ranks, metric=task.metric)


def run_training(
    subject: Subject, recipe: TrainingRecipe, files: Files, ranks: Ranks, *, metric: Metric = ACCURACY
) -> dict[str, Any] | None:
    """Train, test once, write the checkpoint with CSV and plot of the run beside it.

    Returns
    -------
    dict | None
        what scripts read; None in all processes but the first
    """
    state, out = state_path(files.out), files.out
    open_yet = ("accuracy", "psnr", "training", "grids")
    told = {name: value for name, value in vars(subject.made).items() if name not in open_yet}
    keeping = Keeping(path=state, told={**told, "images": len(subject.train), "recipe": recipe.values()})

    def tell(rows: list[EpochRow]) -> None:
        write_csv(out.with_suffix(".csv"), rows, metric.name)

    rows = train_by(
        recipe, subject.module, subject.lessons or subject.train, metric=metric, twin=subject.twin, ranks=ranks,
        keeping=keeping, resume=files.resume and state.is_file(), watch=Watch(step=files.progress, epoch=tell),
    )  # fmt: skip
    value = None
    if ranks.first:
        reached = _tested(subject, metric, ranks.device)
        results: dict[str, Any] = {metric.name: sum(reached.values()) / len(reached)}
        made = replace(subject.made, **results)
        write_plot(out.with_suffix(".svg"), rows, metric.name)
        save_checkpoint(out, subject.module, made)
        state.unlink(missing_ok=True)
        value = _told(made, len(subject.test), out)
        value |= {"tasks": reached} if subject.lessons else {}
    ranks.wait()
    return value


def _tested(subject: Subject, metric: Metric, device: torch.device) -> dict[str, float]:
    """What a trained network reaches on the test images, by the name of what it learned; it ends with the first."""
    lessons = subject.lessons or (Lesson(found=subject.train, test=subject.test, metric=metric),)
    reached = {}
    for lesson in lessons:
        assert lesson.test is not None
        lesson.begin(subject.module)
        reached[lesson.name] = measured(
            subject.module, lesson.test, lesson.metric.total, batch=subject.test_batch, device=device
        )  # fmt: skip
    lessons[0].begin(subject.module)
    return reached


def finished(out: Path, made: Recipe) -> dict[str, Any] | None:
    """What the checkpoint of a run says that had come to its end already; None where there is none of this run."""
    if state_path(out).is_file() or not out.is_file():
        return None
    with contextlib.suppress(UserError):
        _, there = read_checkpoint(out)
        if replace(there, accuracy=None, psnr=None, grids=None) == made:
            return _told(there, None, out)
    return None


def _told(made: Recipe, images: int | None, out: Path) -> dict[str, Any]:
    value = {"accuracy": made.accuracy, "psnr": made.psnr, "images": images, "epochs": made.epochs, "seed": made.seed}
    value |= {} if made.bits is None else {"bits": made.bits}
    return {**{name: held for name, held in value.items() if held is not None}, "checkpoint": os.fspath(out)}
