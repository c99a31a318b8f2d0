"""How a network of the zoo is trained and saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .. import data
from ..files.checkpoint import Recipe, save_checkpoint
from ..nets import zoo
from .loop import accuracy, train

__all__ = ["train_network"]


def train_network(
    name: str,
    *,
    kernel: str,
    source: str,
    epochs: int,
    seed: int,
    out: Path,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train ``name`` on the train split of ``source``, test it once, write its checkpoint.

    Raises
    ------
    UserError
        for an unknown network, kernel or data set.
    """
    shape = zoo.NETWORKS[name].shape if name in zoo.NETWORKS and source == "digits" else None
    torch.manual_seed(seed)
    if name not in zoo.NETWORKS:
        zoo.build(name, kernel=kernel)
    images = data.load(source, "train", shape=shape)
    test = data.load(source, "test", shape=images.shape)
    classes = int(images.y.max()) + 1
    module = zoo.build(name, kernel=kernel, shape=images.shape, classes=classes)
    train(module, images, epochs=epochs, seed=seed, progress=lambda epoch, loss: progress())
    share = accuracy(module, test)
    recipe = Recipe(
        network=name, kernel=kernel, shape=images.shape, classes=classes, data=Path(source).name, seed=seed,
        epochs=epochs, accuracy=share,
    )  # fmt: skip
    save_checkpoint(out, module, recipe)
    return {"accuracy": share, "images": len(test), "epochs": epochs, "seed": seed, "checkpoint": str(out)}
