"""Binary layers: signs of features and of weights, with the straight-through gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BinaryConv2d", "Sign", "sign"]


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, at_zero: bool) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0 if at_zero else x > 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return upstream[0] * (x.abs() <= 1), None


def sign(x: Tensor, *, at_zero: bool = True) -> Tensor:
    """+1 or -1; the gradient passes where ``|x| <= 1`` (Courbariaux et al., "Binarized Neural Networks").

    Parameters
    ----------
    at_zero : whether 0 gives +1
    """
    result: Tensor = _Sign.apply(x, at_zero)
    return result


class Sign(nn.Module):
    """Binary activation; ``at_zero`` says whether it fires on ``x >= 0`` or only on ``x > 0``."""

    def __init__(self, *, at_zero: bool = True):
        super().__init__()
        self.at_zero = at_zero

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to -1 and +1."""
        return sign(x, at_zero=self.at_zero)


class BinaryConv2d(nn.Module):
    """A convolution with weights -1 and +1 and without bias; a padded tap reads -1, so that the border is binary, too.

    Attributes
    ----------
    weight : (out_channels, in_channels, kernel_size, kernel_size) real values whose signs are the weights
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.uniform_(self.weight, -0.5, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        framed = F.pad(x, [self.padding] * 4, value=-1.0) if self.padding else x
        return F.conv2d(framed, sign(self.weight), stride=self.stride)

    def extra_repr(self) -> str:
        """Shape in torch's notation."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )
