"""Training with the schedule of the AdderNet authors: SGD with momentum under a cosine."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.sets import Images
from ..layers.adder_gradients import scale_at_each_step

__all__ = ["accuracy", "predict", "scores", "to_float", "train"]

_STEP_RATE = 0.1
"""Learning rate of quantisers' steps, relative to that of weights."""


def to_float(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels 0..255 to floats 0..1; a network that wants other statistics learns them in its first batch norm."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)


def scores(module: nn.Module, pixels: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.float32]:
    """Class scores of every image by the float network, (N, classes)."""
    module.eval()
    with torch.no_grad():
        parts = [module(to_float(pixels[i : i + batch])) for i in range(0, len(pixels), batch)]
    return np.asarray(torch.cat(parts).numpy())


def predict(module: nn.Module, pixels: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.int64]:
    """Class of every image by the float network, (N,)."""
    return np.asarray(scores(module, pixels, batch=batch).argmax(1), np.int64)


def accuracy(module: nn.Module, images: Images) -> float:
    """Share of images that the float network classifies correctly."""
    return float((predict(module, images.x) == images.y).mean())


def train(
    module: nn.Module,
    images: Images,
    *,
    epochs: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    shift: int = 2,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:
    """Train in place.

    Parameters
    ----------
    shift : images are moved by up to this many pixels in each direction and turned and scaled a little
    progress : called after every epoch with its number and mean loss
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = to_float(images.x), torch.from_numpy(images.y)
    # Steps of quantisers are scalars: decay would shrink their grids, and a small change of one moves a whole layer.
    steps = [p for p in module.parameters() if p.ndim == 0]
    others = [p for p in module.parameters() if p.ndim > 0]
    groups = [{"params": others, "share": 1.0}, {"params": steps, "share": _STEP_RATE, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(
        [g for g in groups if g["params"]],
        lr=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=True,
    )
    scale_at_each_step(optimiser, module)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * 0.5 * learning_rate * (1 + math.cos(math.pi * epoch / epochs))
        module.train()
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        # A last batch of one image has no batch statistics.
        batches = [order[i : i + batch] for i in range(0, len(order), batch)]
        for chosen in (b for b in batches if len(b) > 1):
            scores = module(_jitter(x[chosen], shift, generator))
            loss = F.cross_entropy(scores, y[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
        progress(epoch, total / len(x))
    module.eval()


def _jitter(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """A random small rotation, scale and shift of every image."""
    count, _, height, width = x.shape

    def uniform(bound: float) -> Tensor:
        return (2 * torch.rand(count, generator=generator) - 1) * bound

    angle, scale = uniform(0.15), 1 + uniform(0.1)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cosine, -sine, uniform(2 * shift / width), sine, cosine, uniform(2 * shift / height)], dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
