"""Training at few bits: a float checkpoint trained on as it will round, and the checkpoint that comes of it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...common.errors import UserError
from ...models.data.examples import Examples, examples
from ...models.files.checkpoint import Recipe, build_for, fit, read_checkpoint
from ...models.nets import zoo
from ...models.training.ranks import started_ranks
from ...models.training.recipe import TrainingRecipe
from ...models.training.run import Files, Subject, finished, run_training
from ...models.training.schedule import Sgd
from ...models.training.tasks import matching_test
from ..fold.scheme import chosen_scheme
from ..lower.calibration import calibrate
from .prepare import LayerGrid, layer_grids, prepare

__all__ = ["EPOCHS", "float_start", "load_trained", "qat_recipe", "train_quantized"]

EPOCHS = 20
_LEARNING_RATE = 0.01


def qat_recipe() -> TrainingRecipe:
    """How a float network is trained on at few bits, unless said otherwise."""
    return TrainingRecipe(epochs=EPOCHS, optimiser=Sgd(learning_rate=_LEARNING_RATE))


def train_quantized(
    start: Path, *, bits: int, source: str, recipe: TrainingRecipe, files: Files, images: int = 1000
) -> dict[str, Any] | None:
    """Go on training a float checkpoint at ``bits`` bits, test it once, write its checkpoint; what `run_training` says.

    Parameters
    ----------
    images : of the train split, on which the first grids are calibrated

    Raises
    ------
    UserError
        for a checkpoint that is missing or already quantised, unknown data, bits out of range, and as `train_by`.
    """
    scheme = chosen_scheme(bits=bits)
    module, given = load_trained(start)
    if given.bits is not None:
        raise UserError(f"{start} is trained at {given.bits} bits already; start from a float checkpoint")
    if given.classes is None:
        raise UserError(f"{start} makes images, and only classifiers are trained at few bits; addax quantize takes it")
    if recipe.start is not None:
        raise UserError(f"start takes the place of fresh weights; training at few bits begins with those of {start}")
    with started_ranks() as ranks:
        found = examples(source, "train", shape=given.shape, workers=files.workers)
        made = replace(
            given, data=Path(source).name, seed=recipe.seed, epochs=recipe.epochs, accuracy=None, bits=bits,
            training=recipe.values(),
        )  # fmt: skip
        if files.resume and (value := finished(files.out, made)) is not None:
            return value
        test = matching_test(source, found, workers=files.workers)
        torch.manual_seed(recipe.seed)
        grids = layer_grids(calibrate(module, _first(found, images), scheme=scheme), scheme)
        made = replace(made, grids={path: asdict(entry) for path, entry in grids.items()})
        subject = Subject(module=prepare(module, grids), train=found, test=test, made=made)
        return run_training(subject, recipe, files, ranks)


def _first(found: Examples, count: int) -> NDArray[np.uint8]:
    """The pixels of the first ``count`` images."""
    parts = [x.numpy() for x, _ in found.batches([np.arange(min(count, len(found)))])]
    return parts[0]


def float_start(network: str, kernel: str, path: Path | None) -> Path:
    """The float checkpoint that training at few bits starts from: ``path``, or the one that comes with ``network``.

    Raises
    ------
    UserError
        when none comes with it, or ``path`` holds another network.
    """
    zoo.build(network, kernel=kernel)  # names what is wrong with either
    if path is None:
        path = zoo.shipped_checkpoint(network, kernel)
        if path is None:
            raise UserError(f"no checkpoint comes with {network}, kernel {kernel}; name a float one with --from")
    _, recipe = read_checkpoint(path)
    if (recipe.network, recipe.kernel) != (network, kernel):
        raise UserError(f"{path} holds {recipe.network} with kernel {recipe.kernel}, not {network} with {kernel}")
    return path


def load_trained(path: Path) -> tuple[nn.Module, Recipe]:
    """Read a checkpoint, float or trained at few bits, and build its network in evaluation mode.

    Raises
    ------
    UserError
        as `load_checkpoint`.
    """
    path = Path(path)
    tensors, recipe = read_checkpoint(path)
    module = build_for(recipe, tensors, path, extra=recipe.grids is not None)
    try:
        if recipe.grids is not None:
            module = prepare(module, {layer: LayerGrid(**entry) for layer, entry in recipe.grids.items()})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is a broken checkpoint: {error}") from error
    return fit(module, tensors, str(path), recipe.network), recipe
