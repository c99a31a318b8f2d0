"""The noise adaptation module of FDA-BNN: a small perceptron that learns, in training, what a gradient misses."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NoiseAdaptation"]

_REDUCTION, _SMALL_REDUCTION = 64, 4


class NoiseAdaptation(nn.Module):
    """``e(t) = relu(t W1) W2 + 0.1 * sin(t)`` over the last dimension, without biases (Xu et al. 2021).

    It stands beside a sign while a network is trained, ``sign(t) + alpha * e(t)``, with an alpha that falls to 0, and
    is no part of the network that results. The paper's gradient of ``e`` lacks the factor alpha that this sum implies;
    here it has it. What d is for weights and features the paper does not say: here, as in re-implementations, all
    weights of a filter, and all channels of a pixel.

    Parameters
    ----------
    features : d, size of the last dimension; the perceptron has ``d // 64`` hidden units, ``d // 4`` where that is
        none, and one at least
    strength : alpha at the begin of the training

    Attributes
    ----------
    first, second : W1 (hidden, d) and W2 (d, hidden), drawn around 0

    Raises
    ------
    ValueError
        for fewer than one feature, or a negative strength.
    """

    def __init__(self, features: int, *, strength: float = 0.1):
        super().__init__()
        if features < 1 or strength < 0:
            raise ValueError(f"noise adaptation needs features and no negative strength, not {features}, {strength}")
        hidden = features // _REDUCTION or max(features // _SMALL_REDUCTION, 1)
        self.strength = strength
        self.first = nn.Parameter(torch.randn(hidden, features) * (2 / features) ** 0.5)
        self.second = nn.Parameter(torch.randn(features, hidden) * hidden**-0.5)

    def alpha(self, progress: float) -> float:
        """The weight of the noise when a share ``progress`` of the training is over: half a cosine, 0 at the end."""
        return self.strength / 2 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))

    def forward(self, t: Tensor) -> Tensor:
        """(.., d), the same shape."""
        return F.linear(F.relu(F.linear(t, self.first)), self.second) + 0.1 * torch.sin(t)

    def extra_repr(self) -> str:
        """Sizes of the perceptron."""
        return f"{self.first.shape[1]}, hidden={self.first.shape[0]}, strength={self.strength}"
