"""The shift convolution: weights are 0 or signed powers of two, so that a product is a shift (DeepShift)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["OCTAVES", "ShiftConv2d", "nearest_powers"]

OCTAVES = 7
"""Different magnitudes of one layer's weights: a code of three bits, one of which is zero."""


class _Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return nearest_powers(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0]


def nearest_powers(weight: Tensor) -> Tensor:
    """Every value as the nearest power of two (nearest exponent) within ``OCTAVES`` below the largest, or as 0."""
    magnitude = weight.abs()
    exponent = torch.log2(magnitude.clamp_min(1e-30)).round()
    top = torch.log2(magnitude.max().clamp_min(1e-30)).round()
    power = torch.exp2(exponent.clamp(top - OCTAVES + 1, top)) * weight.sign()
    return torch.where(magnitude < torch.exp2(top - OCTAVES + 0.5), torch.zeros_like(weight), power)


class ShiftConv2d(nn.Module):
    """A convolution whose weights are rounded to powers of two in the forward pass; gradients pass straight through.

    Attributes
    ----------
    weight : (out_channels, in_channels / groups, kernel_size, kernel_size) real values, before rounding
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0,
        dilation: int = 1, groups: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        return F.conv2d(x, _Powers.apply(self.weight), None, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Shape in torch's notation."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}" + (f", groups={self.groups}" if self.groups != 1 else "")
        )
