"""Normalisation of images as a layer, so that it is part of the network that is quantised."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Normalise"]


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
        if len(mean) != len(deviation) or min(deviation) <= 0:
            raise ValueError("normalisation needs as many deviations as means, all positive")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), the same shape."""
        return (x - self.mean) / self.deviation
