"""Layers whose kernel is a parameter, so that a network can be built like for like with every kernel."""

from torch import nn

from .adder import AdderConv2d
from .binary import BinaryConv2d, Sign
from .shift import ShiftConv2d

__all__ = ["KERNELS", "activation", "convolution"]

KERNELS = ("adder", "mult", "xnor", "shift")
"""Kernels that a network can be trained with."""


def convolution(
    kernel: str, in_channels: int, out_channels: int, size: int, *, stride: int = 1, padding: int = 0
) -> nn.Module:
    """A convolution without bias whose inner product is ``kernel``, one of `KERNELS`."""
    match kernel:
        case "adder":
            return AdderConv2d(in_channels, out_channels, size, stride=stride, padding=padding)
        case "mult":
            return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=padding, bias=False)
        case "xnor":
            return BinaryConv2d(in_channels, out_channels, size, stride=stride, padding=padding)
        case "shift":
            return ShiftConv2d(in_channels, out_channels, size, stride=stride, padding=padding)
    raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")


def activation(kernel: str) -> nn.Module:
    """What stands in front of a convolution of ``kernel``: a sign for ``xnor``, else a ReLU."""
    return Sign() if kernel == "xnor" else nn.ReLU()
