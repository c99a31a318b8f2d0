"""The adder convolution: minus the L1 distance between a filter and a patch, with its own training rule."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AdderConv2d", "adder_product"]

ETA = 0.2
"""RMS of the filter gradient of every layer (the authors' value for all their networks)."""

_CHUNK_ELEMENTS = 1 << 24


class _AdderProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(patches, weight)
        return -torch.cdist(patches, weight, p=1.0)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        patches, weight = ctx.saved_tensors
        (grad,) = upstream
        grad_patches = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_patches = torch.zeros_like(patches)
            step = max(1, _CHUNK_ELEMENTS // patches.numel())
            for begin in range(0, weight.shape[0], step):
                some = slice(begin, begin + step)
                clipped = (weight[some, None] - patches).clamp_(-1, 1)
                grad_patches += torch.einsum("onk,no->nk", clipped, grad[:, some])
        if ctx.needs_input_grad[1]:
            # sum_n (x[n,k] - w[o,k]) g[n,o] needs no pass over the differences: it is a matrix product and a scaling.
            full = grad.T @ patches - weight * grad.sum(0)[:, None]
            grad_weight = full * (ETA * math.sqrt(full.numel()) / full.norm().clamp_min(1e-12))
        return grad_patches, grad_weight


def adder_product(patches: Tensor, weight: Tensor) -> Tensor:
    """``out[n, o] = -sum_k |patches[n, k] - weight[o, k]|`` with the AdderNet gradients.

    The gradient that reaches ``weight`` is the full-precision ``sum_n (patches - weight) * grad``, scaled so that its
    RMS over the whole layer is 0.2. The gradient that reaches ``patches`` is ``sum_o clip(weight - patches, -1, 1) *
    grad`` (Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?").

    Parameters
    ----------
    patches : (N, K) float
    weight : (O, K) float

    Returns
    -------
    (N, O) float, never positive
    """
    result: Tensor = _AdderProduct.apply(patches, weight)
    return result


class AdderConv2d(nn.Module):
    """A 2-D convolution whose product is an L1 distance; no bias, batch norm is expected behind it.

    ``out[b, o, y, x] = -sum |patch - weight[o]|``; a padded tap reads 0 and so contributes ``-|weight|``.

    Attributes
    ----------
    weight : (out_channels, in_channels, kernel_size, kernel_size), initialised from N(0, 1)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        batch, _, height, width = x.shape
        k, s, p = self.kernel_size, self.stride, self.padding
        rows = (height + 2 * p - k) // s + 1
        columns = (width + 2 * p - k) // s + 1
        patches = F.unfold(x, k, padding=p, stride=s).transpose(1, 2).reshape(batch * rows * columns, -1)
        out = adder_product(patches, self.weight.flatten(1))
        return out.view(batch, rows * columns, self.out_channels).transpose(1, 2).view(batch, -1, rows, columns)

    def extra_repr(self) -> str:
        """Shape in torch's notation."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )
