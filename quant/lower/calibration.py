"""Calibration: what the values of a float network are over images from the training split."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...common.errors import UserError
from ...models.data.sets import check_pixels
from ...models.training.loop import to_float
from ..fold.calibrate import Ranges, observe
from ..fold.scheme import Scheme
from ..program import Shape
from .graph.export import trace
from .graph.weights import Weighted, is_convolution, weighted

__all__ = ["Calibration", "batches", "calibrate"]

_BATCH = 64
_SATURATED = 0.99
"""Share of white pixels beyond which images say nothing about a network."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A traced network and what its values were over the calibration images of ``shape``."""

    traced: fx.GraphModule
    ranges: Ranges
    shape: Shape

    def convolutions(self) -> dict[str, Weighted]:
        """All convolutions and dense layers, by their paths."""
        traced = self.traced
        found = [weighted(traced, node) for node in traced.graph.nodes if is_convolution(traced, node)]
        return {layer.path: layer for layer in found}


def calibrate(module: nn.Module, images: NDArray[np.uint8], *, scheme: Scheme | None = None) -> Calibration:
    """Run ``module`` over (N, C, H, W) uint8 images; raises `UserError` as `lowering.lower` does."""
    masks = {name for name, value in module.named_buffers() if _is_mask(value)}
    for name, value in module.state_dict().items():
        if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise UserError(f"tensor {name!r} has no values yet; run the network once, or read its weights")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()) and name not in masks:
            raise UserError(f"tensor {name!r} holds NaN or infinite values; it cannot be quantised")
    _check_calibration(images)
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    traced = trace(module, shape)
    try:
        ranges = observe(traced, batches(images), quantile=(scheme or Scheme()).quantile)
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the network cannot take images of {'x'.join(map(str, shape))}: {reason}") from error
    return Calibration(traced=traced, ranges=ranges, shape=shape)


def _is_mask(value: Tensor) -> bool:
    """Whether it hides scores of attention: minus infinity is added to these, 0 to the others."""
    return value.ndim > 1 and bool(((value == 0) | (value == -torch.inf)).all())


def batches(pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Images in 0..1, a few at a time."""
    for begin in range(0, len(pixels), _BATCH):
        yield to_float(pixels[begin : begin + _BATCH])


def _check_calibration(images: NDArray[np.uint8]) -> None:
    check_pixels(images, "calibration images")
    if len(images) == 0:
        raise UserError("calibration needs at least one image")
    if int(images.min()) == int(images.max()):
        raise UserError(f"calibration images are constant: every pixel is {int(images.max())}")
    white = float((images == 255).mean())
    if white > _SATURATED:
        raise UserError(f"calibration images are saturated: {100 * white:.1f} % of their pixels are 255")
