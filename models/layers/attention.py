"""Attention without weights of its own: scores of queries and keys, their softmax, and the context it makes of values.

Both products of two tensors are modules, so that whatever counts or reads a network finds them by name.
"""

import math

import torch
from torch import Tensor, nn

from ..compute.adder_scores import adder_scores

__all__ = ["Attention", "AttentionContext", "AttentionScores", "StochasticDepth"]

_SPREAD = 2 - 4 / math.pi
"""Variance of the distance of two numbers from N(0, 1), whose mean is 2 / sqrt(pi)."""


class AttentionScores(nn.Module):
    """How well each key fits each query, scaled so that unrelated ones from N(0, 1) have a variance of 1.

    ``mult``: their product over ``sqrt(width)``. ``adder``: minus their L1 distance over ``sqrt((2 - 4/pi) width)``,
    that is 0.853 sqrt(width); its mean is left as it is, for a softmax does not see it.

    Parameters
    ----------
    kernel : ``mult`` or ``adder``
    width : numbers of a query

    Raises
    ------
    ValueError
        for another kernel.
    """

    def __init__(self, kernel: str, width: int):
        super().__init__()
        if kernel not in ("mult", "adder"):
            raise ValueError(f"scores of attention have the kernel mult or adder, not {kernel}")
        self.kernel = kernel
        self.width = width
        self.scale = (width if kernel == "mult" else _SPREAD * width) ** -0.5

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(.., Q, width) and (.., K, width) -> (.., Q, K)."""
        if self.kernel == "adder":
            return adder_scores(queries, keys) * self.scale
        return queries @ keys.transpose(-2, -1) * self.scale

    def extra_repr(self) -> str:
        """Its kernel and width."""
        return f"{self.kernel}, width={self.width}"


class AttentionContext(nn.Module):
    """The mean of values that a map of attention asks for, an ordinary product.

    Parameters
    ----------
    identity : the map of a token has a 1 more for the token itself, so that its value is added: maps of adder scores
        lie near a few directions, and lack that (Adder Attention, NeurIPS 2021)
    """

    def __init__(self, *, identity: bool = False):
        super().__init__()
        self.identity = identity

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        """(.., Q, K) and (.., K, width) -> (.., Q, width); with ``identity`` Q is K."""
        found = weights @ values
        return found + values if self.identity else found

    def extra_repr(self) -> str:
        """Whether it has the identity."""
        return f"identity={self.identity}"


class Attention(nn.Module):
    """``softmax(scores) values`` for each head, which are equal parts of the channels.

    Parameters
    ----------
    kernel : of the scores
    identity : of the context, see `AttentionContext`; None: where scores are of adders

    Raises
    ------
    ValueError
        when ``heads`` does not divide ``width``, and for kernels that scores do not have.
    """

    def __init__(self, kernel: str, width: int, heads: int, *, identity: bool | None = None):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide the width {width}, not be {heads}")
        self.heads = heads
        self.scores = AttentionScores(kernel, width // heads)
        self.softmax = nn.Softmax(-1)
        self.context = AttentionContext(identity=kernel == "adder" if identity is None else identity)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, width), (B, K, width), (B, K, width) -> (B, Q, width)."""
        weights = self.softmax(self.scores(self._parted(queries), self._parted(keys)))
        found: Tensor = self.context(weights, self._parted(values))
        return found.transpose(1, 2).flatten(2)

    def _parted(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, heads, N, width / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class StochasticDepth(nn.Module):
    """Leaves out what a block adds, for a random ``rate`` of the examples of a batch; what is kept grows by as much.
    In evaluation it does nothing (Huang et al. 2016).

    Raises
    ------
    ValueError
        for a rate outside of 0..1, 1 excluded.
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a rate of stochastic depth is 0 or more and below 1, not {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..), the same shape."""
        if not self.training or not self.rate:
            return x
        kept = torch.rand((len(x), *(1,) * (x.ndim - 1)), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)

    def extra_repr(self) -> str:
        """Its rate."""
        return f"{self.rate}"
