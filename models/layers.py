"""Layers whose kernel is a parameter, so that a network can be built like for like with every kernel."""

from torch import nn

from .adder import AdderConv2d

__all__ = ["KERNELS", "convolution"]

KERNELS = ("adder", "mult")
"""Kernels that a network can be trained with."""


def convolution(
    kernel: str, in_channels: int, out_channels: int, size: int, *, stride: int = 1, padding: int = 0
) -> nn.Module:
    """A convolution without bias whose inner product is ``kernel``: ``adder`` or ``mult``."""
    if kernel == "adder":
        return AdderConv2d(in_channels, out_channels, size, stride=stride, padding=padding)
    if kernel == "mult":
        return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=padding, bias=False)
    raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")
