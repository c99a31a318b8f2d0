"""Blocks that several networks are built of: residual ones of any kernel, binary ones, and shortcuts."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.kernels import Kernels, activation, convolution, is_binary

__all__ = [
    "BasicBlock", "BinaryBlock", "PadShortcut", "basic_block", "image_statistics", "large_image_statistics",
    "named_convolution", "pad_shortcut",
]  # fmt: skip

Floats = tuple[float, ...]
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

Shortcut = Callable[[int, int, int], nn.Module]
"""Makes what stands beside a binary block, of its inputs, outputs and stride."""


class PadShortcut(nn.Module):
    """A shortcut without weights: every ``stride``-th row and column, and channels of zeros on both sides.

    Attributes
    ----------
    stride, before, behind : the last two are channels
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.behind = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))

    def extra_repr(self) -> str:
        """Its numbers."""
        return f"stride={self.stride}, before={self.before}, behind={self.behind}"


def pad_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A `PadShortcut`, or nothing where the shape stays."""
    return nn.Identity() if (stride, inputs) == (1, outputs) else PadShortcut(inputs, outputs, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut that is a 1x1 convolution where the shape changes (He et al.
    2016); all of the kernels that ``kernels`` has for their paths."""

    def __init__(self, kernels: Kernels, path: str, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = convolution(kernels.at(f"{path}.conv1"), inputs, outputs, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(kernels.at(f"{path}.conv2"), outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                convolution(kernels.at(f"{path}.downsample.0"), inputs, outputs, 1, stride=stride),
                nn.BatchNorm2d(outputs),
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), never negative."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(out + self.downsample(x))
        return result


class BinaryBlock(nn.Module):
    """Sign, binary 3x3 convolution, PReLU of one slope (0.25), batch norm, and all of it again; beside it a shortcut of
    several bits, and no ReLU behind the sum (FDA-BNN's CIFAR networks as released).

    Parameters
    ----------
    shortcut : of the block, from ``inputs`` to ``outputs`` channels with ``stride``
    each : the second convolution has a shortcut of its own, the sum behind the first (Bi-Real Net); else one shortcut
        passes both
    """

    def __init__(
        self, kernels: Kernels, path: str, inputs: int, outputs: int, stride: int, *, shortcut: nn.Module,
        each: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.each = each
        first, second = kernels.at(f"{path}.conv1"), kernels.at(f"{path}.conv2")
        self.sign1 = activation(first, inputs)
        self.conv1 = convolution(first, inputs, outputs, 3, stride=stride, padding=1)
        self.prelu1 = nn.PReLU()
        self.bn1 = nn.BatchNorm2d(outputs)
        self.sign2 = activation(second, outputs)
        self.conv2 = convolution(second, outputs, outputs, 3, padding=1)
        self.prelu2 = nn.PReLU()
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), of either sign."""
        beside = self.downsample(x)
        out = self.bn1(self.prelu1(self.conv1(self.sign1(x))))
        if self.each:
            out = beside = out + beside
        out = self.bn2(self.prelu2(self.conv2(self.sign2(out))))
        result: Tensor = out + beside
        return result


def basic_block(
    kernels: Kernels, path: str, inputs: int, outputs: int, stride: int, *, shortcut: Shortcut, each: bool
) -> nn.Module:  # fmt: skip
    """A `BinaryBlock` with a ``shortcut`` where both convolutions at ``path`` are binary, else a `BasicBlock`.

    Raises
    ------
    ValueError
        where only one of them is.
    """
    binary = [is_binary(kernels.at(f"{path}.{name}")) for name in ("conv1", "conv2")]
    if binary[0] != binary[1]:
        raise ValueError(f"block {path!r} must have two binary convolutions, or none")
    if binary[0]:
        beside = shortcut(inputs, outputs, stride)
        return BinaryBlock(kernels, path, inputs, outputs, stride, shortcut=beside, each=each)
    return BasicBlock(kernels, path, inputs, outputs, stride)


def named_convolution(
    network: str, kernels: Kernels, path: str, inputs: int, outputs: int, size: int, *, stride: int = 1,
    padding: int = 0, groups: int = 1, edge: bool = False,
) -> nn.Module:  # fmt: skip
    """The convolution at ``path`` of a ``network`` whose blocks have no binary form.

    Raises
    ------
    ValueError
        naming layer and network, where the layer's kernel cannot be had.
    """
    kernel = kernels.at(path, edge=edge)
    if is_binary(kernel):
        raise ValueError(f"layer {path!r} of {network} has no binary form")
    try:
        return convolution(kernel, inputs, outputs, size, stride=stride, padding=padding, groups=groups)
    except ValueError as error:
        raise ValueError(f"layer {path!r} of {network}: {error}") from error


def image_statistics(channels: int, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each channel of images: those of a set of pictures where there are as many, else some."""
    return (mean, deviation) if channels == len(mean) else ((0.5,) * channels, (0.25,) * channels)


def large_image_statistics(channels: int) -> tuple[Floats, Floats]:
    """`image_statistics` of large images: ImageNet's where there are three channels."""
    return image_statistics(channels, _IMAGENET_MEAN, _IMAGENET_DEVIATION)
