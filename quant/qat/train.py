"""Training at few bits: a float checkpoint trained on as it will round, and the checkpoint that comes of it."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError
from ...models import data
from ...models.files.checkpoint import Recipe, build_for, fit, read_checkpoint, save_checkpoint
from ...models.nets import zoo
from ...models.training.loop import accuracy, train
from ..fold.scheme import chosen_scheme
from ..lower.calibration import calibrate
from .prepare import LayerGrid, layer_grids, prepare

__all__ = ["float_start", "load_trained", "train_quantized"]

_LEARNING_RATE = 0.01


def train_quantized(
    start: Path,
    *,
    bits: int,
    source: str,
    epochs: int,
    seed: int,
    out: Path,
    images: int = 1000,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Go on training a float checkpoint at ``bits`` bits, test it once, write its checkpoint.

    Raises
    ------
    UserError
        for a checkpoint that is missing or already quantised, unknown data, bits out of range.
    """
    scheme = chosen_scheme(bits=bits)
    module, recipe = load_trained(start)
    if recipe.bits is not None:
        raise UserError(f"{start} is trained at {recipe.bits} bits already; start from a float checkpoint")
    chosen = data.load(source, "train", shape=recipe.shape)
    test = data.load(source, "test", shape=recipe.shape)
    torch.manual_seed(seed)
    grids = layer_grids(calibrate(module, chosen.head(images).x, scheme=scheme), scheme)
    trained = prepare(module, grids)
    train(
        trained, chosen, epochs=epochs, seed=seed, learning_rate=_LEARNING_RATE,
        progress=lambda epoch, loss: progress(),
    )  # fmt: skip
    share = accuracy(trained, test)
    made = replace(
        recipe, data=Path(source).name, seed=seed, epochs=epochs, accuracy=share, bits=bits,
        grids={path: asdict(entry) for path, entry in grids.items()},
    )  # fmt: skip
    save_checkpoint(out, trained, made)
    return {
        "accuracy": share,
        "images": len(test),
        "epochs": epochs,
        "seed": seed,
        "bits": bits,
        "checkpoint": str(out),
    }


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
