"""Normalisation of images as a layer, so that it is part of the network that is quantised."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Normalise", "standardised"]


FIRST = "standardise"
"""Name of the layer that `standardised` puts in front."""


class Normalise(nn.Module):
    """``(x - mean) / deviation`` per channel.

    Parameters
    ----------
    mean, deviation : one value per channel, for images in 0..1
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        if not len(mean) or len(mean) != len(deviation) or min(deviation) <= 0:
            raise ValueError("normalisation needs as many deviations as means, all positive")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), the same shape."""
        return (x - self.mean) / self.deviation


def standardised(module: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> nn.Module:
    """``module`` behind a `Normalise`; its layers keep their names.

    Parameters
    ----------
    module : it becomes part of the result, and must not be used on its own afterwards
    """
    first, kind = Normalise(mean, deviation), type(module)
    if kind.forward is nn.Sequential.forward:
        layers = dict(module._modules)
        module._modules.clear()
        module._modules.update({FIRST: first, **layers})
        return module

    def forward(self: Any, x: Tensor) -> Tensor:
        result: Tensor = kind.forward(self, getattr(self, FIRST)(x))
        return result

    # A layer's name is its way from the root; so the root stays the root, and has another forward.
    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    module.add_module(FIRST, first)
    return module
