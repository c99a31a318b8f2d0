"""The adder convolution as a layer: minus the L1 distance between a filter and a patch."""

import torch
from torch import Tensor, nn

from ..compute.adder import adder_conv2d
from ..compute.shape import pair_of

__all__ = ["AdderConv2d"]

_Pair = int | tuple[int, int]


class AdderConv2d(nn.Module):
    """A 2-D convolution whose product is an L1 distance; batch norm is expected behind it.

    ``out[b, o, y, x] = bias[o] - sum |patch - weight[o]|``; a padded tap reads 0 and so contributes ``-|weight|``.
    Whoever trains it with a loop of their own scales the filters' gradients once per step, as its authors do, by
    `addax.nn.scale_adder_gradients` or `addax.nn.scale_at_each_step`; `addax train` does.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : one number, or (vertical, horizontal)
    groups : parts of channels and filters, a filter reads the channels of its own part; ``in_channels`` with as many
        filters is the depthwise convolution
    bias : whether a number is added to each channel; the published networks have none

    Attributes
    ----------
    weight : (out_channels, in_channels / groups, rows, columns), initialised from N(0, 1)
    bias : (out_channels,), initialised with 0, or None

    Raises
    ------
    ValueError
        when ``groups`` does not divide the channels and the filters.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: _Pair, *, stride: _Pair = 1, padding: _Pair = 0,
        dilation: _Pair = 1, groups: int = 1, bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups must divide {in_channels} channels and {out_channels} filters, not be {groups}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels // groups, *pair_of(kernel_size)))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        return self.distances(x, self.weight, self.bias)

    def distances(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's result for other filters and biases than its own, (B, O, H', W')."""
        return adder_conv2d(
            x, weight, bias, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )

    def extra_repr(self) -> str:
        """Shape in torch's notation."""
        more = f", dilation={self.dilation}" * (self.dilation != 1) + f", groups={self.groups}" * (self.groups != 1)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}{more}{', bias=True' * (self.bias is not None)}"
        )
