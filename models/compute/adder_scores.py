"""Scores of adder attention as an operator of torch: ``torch.ops.addax.adder_scores``."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["adder_scores"]

_ELEMENTS = 1 << 24
"""Differences that the gradient holds at once."""


def adder_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Minus the L1 distance of every query to every key.

    The gradient of both is that of features of an adder convolution: the sum of ``upstream * clip(difference, -1, 1)``,
    where the exact one has the sign of the difference.

    Parameters
    ----------
    queries : (.., Q, D)
    keys : (.., K, D)

    Returns
    -------
    (.., Q, K), never positive; float64 where both are, else float32
    """
    result: Tensor = torch.ops.addax.adder_scores(queries, keys)
    return result


def _type(queries: Tensor, keys: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)


@torch.library.custom_op("addax::adder_scores", mutates_args=())
def _forward(queries: Tensor, keys: Tensor) -> Tensor:
    kind = _type(queries, keys)
    return -torch.cdist(queries.to(kind).contiguous(), keys.to(kind).contiguous(), p=1.0)


@_forward.register_fake
def _shape_of(queries: Tensor, keys: Tensor) -> Tensor:
    return queries.new_empty((*queries.shape[:-1], keys.shape[-2]), dtype=_type(queries, keys))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
    queries, keys = ctx.saved_tensors
    to_queries = torch.empty_like(queries)
    to_keys = torch.zeros_like(keys, dtype=upstream.dtype)
    rows = max(1, _ELEMENTS // max(1, keys.numel()))
    for first in range(0, queries.shape[-2], rows):
        some = slice(first, first + rows)
        clipped = (keys.unsqueeze(-3) - queries[..., some, :].unsqueeze(-2)).clamp(-1, 1).to(upstream.dtype)
        weighted = clipped * upstream[..., some, :].unsqueeze(-1)
        to_queries[..., some, :] = weighted.sum(-2)
        to_keys -= weighted.sum(-3)
    return to_queries, to_keys.to(keys.dtype)


_forward.register_autograd(_backward, setup_context=_keep)
