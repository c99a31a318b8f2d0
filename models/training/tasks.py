"""What networks of the zoo are trained to do: their data, loss and metric, and the recipe where none is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...common.errors import UserError
from ..data.augment import Flip, Patch, QuarterTurn
from ..data.examples import Examples, LabelledExamples, examples
from ..data.pairs import PHOTOGRAPHS, load_pairs
from ..data.sets import DIGITS, SPLITS
from ..data.tiles import TileExamples, WholeExamples
from ..nets.zoo import ZooNetwork
from .objective import ACCURACY, L1Loss, Metric, peak_ratio
from .recipe import TrainingRecipe
from .schedule import AdamW, Cosine

__all__ = ["Classifying", "Enlarging", "Material", "Task", "matching_test", "task_of"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a network learns from and is tested with.

    Attributes
    ----------
    train, test : the splits of a data set
    classes : how many the labels tell apart; None where targets are no labels
    batch : inputs that can be tested together
    """

    train: Examples
    test: Examples
    classes: int | None = None
    batch: int = 256


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
            )
        train, test = (load_pairs(source, split, scale=self.scale, channels=self.channels) for split in SPLITS)
        return Material(train=TileExamples(pairs=train, patch=patch), test=WholeExamples(pairs=test), batch=1)


def task_of(network: ZooNetwork) -> Task:
    """What ``network`` does."""
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
