"""What networks of the zoo are trained to do: their data, loss and metric, and the recipe where none is given."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ...common.errors import UserError
from ..data.augment import Flip, Patch, QuarterTurn
from ..data.degrade import Degradation
from ..data.examples import Examples, LabelledExamples, examples
from ..data.pairs import PHOTOGRAPHS, PicturePairs, load_pairs
from ..data.picture_tasks import PICTURE_TASKS, PictureTask
from ..data.sets import DIGITS, SPLITS
from ..data.tiles import TileExamples, WholeExamples
from ..nets.zoo import ZooNetwork
from .loop import Lesson
from .objective import ACCURACY, Alternation, L1Loss, Metric, peak_ratio
from .recipe import TrainingRecipe
from .schedule import AdamW, Cosine

__all__ = ["Classifying", "Enlarging", "Material", "Processing", "Task", "matching_test", "task_of"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a network learns from and is tested with.

    Attributes
    ----------
    train, test : the splits of a data set
    classes : how many the labels tell apart; None where targets are no labels
    batch : inputs that can be tested together
    lessons : in which it learns several things, each with both splits; ``train`` and ``test`` are those of the first
    """

    train: Examples
    test: Examples
    classes: int | None = None
    batch: int = 256
    lessons: tuple[Lesson, ...] = ()


class Task(Protocol):
    """What a network does."""

    @property
    def metric(self) -> Metric:
        """What people read of it."""
        ...

    @property
    def recipe(self) -> TrainingRecipe:
        """By which it is trained, unless said otherwise."""
        ...

    @property
    def source(self) -> str:
        """The embedded data set."""
        ...

    def material(self, source: str, recipe: TrainingRecipe, *, workers: int) -> Material:
        """Both splits of ``source``; raises `UserError` for what is none for this task."""
        ...


@dataclass(frozen=True, kw_only=True)
class Classifying:
    """Telling classes apart.

    Attributes
    ----------
    shape : (C, H, W) of images that `DIGITS` are enlarged to
    """

    shape: tuple[int, int, int]

    @property
    def metric(self) -> Metric:
        """The accuracy."""
        return ACCURACY

    @property
    def recipe(self) -> TrainingRecipe:
        """The default recipe."""
        return TrainingRecipe()

    @property
    def source(self) -> str:
        """Handwritten digits."""
        return DIGITS

    def material(self, source: str, recipe: TrainingRecipe, *, workers: int) -> Material:
        """Images with labels, as `examples` reads them."""
        found = examples(source, "train", shape=self.shape if source == DIGITS else None, workers=workers)
        return Material(train=found, test=matching_test(source, found, workers=workers), classes=found.classes)


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """Making images larger.

    Attributes
    ----------
    scale : how many times
    channels : of the images
    """

    scale: int
    channels: int

    @property
    def metric(self) -> Metric:
        """The PSNR of whole pictures."""
        return peak_ratio(self.scale)

    @property
    def recipe(self) -> TrainingRecipe:
        """As EDSR was trained, for small networks and few pictures: Adam on patches, mirrored and turned."""
        return TrainingRecipe(
            epochs=100, batch=16, loss=L1Loss(), augment=(Patch(size=24), Flip(), QuarterTurn()),
            optimiser=AdamW(learning_rate=1e-3, weight_decay=0.0), schedule=Cosine(by="step"),
        )  # fmt: skip

    @property
    def source(self) -> str:
        """Photographs."""
        return PHOTOGRAPHS

    def material(self, source: str, recipe: TrainingRecipe, *, workers: int) -> Material:
        """Tiles of pictures that patches are cut out of, and whole pictures; all are held in memory."""
        patch = _patch(recipe, source)
        train, test = (load_pairs(source, split, scale=self.scale, channels=self.channels) for split in SPLITS)
        return Material(train=TileExamples(pairs=train, patch=patch), test=WholeExamples(pairs=test), batch=1)


@dataclass(frozen=True, kw_only=True)
class Processing:
    """Making images larger or better, in several tasks that a network chooses between.

    Attributes
    ----------
    tasks : that it has, names of `PICTURE_TASKS`
    channels : of the images
    patch : pixels of the squares that it learns from
    """

    tasks: tuple[str, ...]
    channels: int
    patch: int

    @property
    def metric(self) -> Metric:
        """The PSNR; of several tasks the mean of theirs."""
        return _ratio_of(PICTURE_TASKS[self.tasks[0]])

    @property
    def recipe(self) -> TrainingRecipe:
        """As IPT was pre-trained, for few pictures: Adam at a low rate on patches of its own size."""
        return TrainingRecipe(
            epochs=100, batch=8, loss=L1Loss(), augment=(Patch(size=self.patch), Flip(), QuarterTurn()),
            optimiser=AdamW(learning_rate=5e-5, weight_decay=0.0), schedule=Cosine(by="step"),
        )  # fmt: skip

    @property
    def source(self) -> str:
        """Photographs."""
        return PHOTOGRAPHS

    def material(self, source: str, recipe: TrainingRecipe, *, workers: int) -> Material:
        """Tiles and whole pictures of every task that the recipe names. What the tiles are made worse by is drawn in
        each step, and of each whole picture it is always the same."""
        wanted = recipe.tasks or Alternation(names=self.tasks)
        if unknown := [name for name in wanted.names if name not in self.tasks]:
            raise UserError(f"the network has the tasks {', '.join(self.tasks)}, not {unknown[0]}")
        if recipe.held_out:
            raise UserError("pictures of a network with tasks cannot be held out; leave held_out out")
        patch = _patch(recipe, source)
        shares = wanted.shares or (1.0,) * len(wanted.names)
        lessons = tuple(
            self._lesson(source, name, share, patch) for name, share in zip(wanted.names, shares, strict=True)
        )
        assert lessons[0].test is not None
        return Material(train=lessons[0].found, test=lessons[0].test, batch=1, lessons=lessons)

    def _lesson(self, source: str, name: str, share: float, patch: int) -> Lesson:
        task = PICTURE_TASKS[name]
        train = task.clean_pairs(source, "train", channels=self.channels)
        test = task.fixed_pairs(source, "test", channels=self.channels)
        return Lesson(
            name=name, share=share, metric=_ratio_of(task), found=TileExamples(pairs=train, patch=patch),
            test=WholeExamples(pairs=test), spoils=_spoils(task, train), begin=partial(_choose, name),
        )  # fmt: skip


def _spoils(task: PictureTask, train: PicturePairs) -> tuple[Degradation, ...]:
    """What clean pictures are made worse by in each step; nothing of pairs."""
    return (task.degradation,) if task.degradation is not None and train.clean else ()


def _choose(name: str, module: nn.Module) -> None:
    chooser: Any = module
    chooser.choose(name)


def _ratio_of(task: PictureTask) -> Metric:
    return peak_ratio(task.border, colour=task.colour)


def _patch(recipe: TrainingRecipe, source: str) -> int:
    """Pixels of the patches by which a network that makes images is trained; raises `UserError` where it cannot be by
    ``recipe`` or with what lies in ``source``."""
    if recipe.distil is not None:
        raise UserError("distillation compares class scores; a network that makes images has none")
    if source != PHOTOGRAPHS and not all((Path(source) / split).is_dir() for split in SPLITS):
        raise UserError(
            f"to train, {source} must hold a folder {' and a folder '.join(SPLITS)} of pictures each, so that none "
            "is tested on that was trained on"
        )
    patch = next((kind.size for kind in recipe.augment if isinstance(kind, Patch)), None)
    if patch is None:
        raise UserError(
            "a network that makes images is trained on patches; the recipe needs an augment of kind patch"
        )  # fmt: skip
    return patch


def task_of(network: ZooNetwork) -> Task:
    """What ``network`` does."""
    if network.tasks:
        return Processing(tasks=network.tasks, channels=network.shape[0], patch=network.shape[1])
    if network.scale is not None:
        return Enlarging(scale=network.scale, channels=network.shape[0])
    return Classifying(shape=network.shape)


def matching_test(source: str, train: LabelledExamples, *, workers: int = 2) -> Examples:
    """The test split, which must look like the train split and have no other classes; raises `UserError`."""
    test = examples(source, "test", shape=train.shape, workers=workers)
    if test.classes > train.classes:
        raise UserError(
            f"the test split of {source} has a label {test.classes - 1}; its train split only 0..{train.classes - 1}"
        )
    return test
