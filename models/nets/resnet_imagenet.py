"""ResNet-18, -34 and -50 for large images with a choice of kernel, with torchvision's names of parameters.

The first convolution and the classifier are ordinary; shortcuts that change the shape are 1x1 convolutions of the
network's kernel (He et al. 2016; Chen et al. 2020). Of binary layers, ResNet-18 and -34 have a shortcut for every
convolution (Bi-Real Net) with PReLUs, and their shortcuts stay ordinary: a mean of 2x2 pixels, a 1x1 convolution.
"""

from typing import ClassVar

from torch import Tensor, nn

from ..layers.kernels import Kernels, convolution, is_binary
from ..layers.normalize import Normalise
from .blocks import BinaryBlock, basic_block, large_image_statistics

__all__ = ["ResNet18", "ResNet34", "ResNet50"]

_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm; the middle one has a quarter of the result's channels, and the
    stride."""

    def __init__(self, kernels: Kernels, path: str, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * _EXPANSION
        names = ("conv1", "conv2", "conv3", "downsample.0")
        first, second, third, beside = (kernels.at(f"{path}.{name}") for name in names)
        if any(is_binary(kernel) for kernel in (first, second, third, beside)):
            raise ValueError(f"block {path!r} is a bottleneck, which has no binary form")
        self.conv1 = convolution(first, inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(second, width, width, 3, stride=stride, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = convolution(third, width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                convolution(beside, inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs)
            )
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 * width, H / stride, W / stride), never negative."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        result: Tensor = self.relu3(out + self.downsample(x))
        return result


def _ordinary_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """What stands beside a binary block."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class ResNet18(nn.Module):
    """ResNet-18 for images of ``shape`` (channels, height, width); height and width multiples of 32.

    Parameters
    ----------
    kernel : of all convolutions but the first; or a `Kernels`, or its text. The classifier is an ordinary dense layer
    """

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)
    """Blocks of each stage."""
    bottleneck: ClassVar[bool] = False

    def __init__(
        self, *, kernel: str | Kernels = "adder", shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        name = type(self).__name__.lower()
        if height % 32 or width % 32:
            raise ValueError(f"{name} needs a height and width that are multiples of 32, not {height}x{width}")
        kernels = Kernels.of(kernel)
        if kernels.at("fc", edge=True) != "mult":
            raise ValueError(f"layer 'fc' of {name} is an ordinary dense layer")
        self.normalise = Normalise(*large_image_statistics(channels))
        self.conv1 = convolution(kernels.at("conv1", edge=True), channels, _WIDTHS[0], 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = _WIDTHS[0]
        for stage, outputs in enumerate(_WIDTHS, start=1):
            layers, inputs = self._stage(kernels, stage, inputs, outputs)
            self.add_module(f"layer{stage}", layers)
        binary = isinstance(layers[-1], BinaryBlock)
        self.end: nn.Module = nn.ReLU() if binary else nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(inputs, classes)

    def _stage(self, kernels: Kernels, stage: int, inputs: int, width: int) -> tuple[nn.Sequential, int]:
        """The blocks of a stage, and the channels of what they make."""
        blocks: list[nn.Module] = []
        outputs = width * _EXPANSION if self.bottleneck else width
        for number in range(self.blocks[stage - 1]):
            stride, path = 2 if stage > 1 and number == 0 else 1, f"layer{stage}.{number}"
            if self.bottleneck:
                blocks.append(Bottleneck(kernels, path, inputs, width, stride))
            else:
                blocks.append(
                    basic_block(kernels, path, inputs, outputs, stride, shortcut=_ordinary_shortcut, each=True)
                )
            inputs = outputs
        return nn.Sequential(*blocks), outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalise(x)))))
        for stage in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        scores: Tensor = self.fc(self.flatten(self.avgpool(self.end(x))))
        return scores


class ResNet34(ResNet18):
    """ResNet-34: as `ResNet18`, with more blocks."""

    blocks = (3, 4, 6, 3)


class ResNet50(ResNet18):
    """ResNet-50: as `ResNet34`, of `Bottleneck` blocks, which have no binary form."""

    blocks = (3, 4, 6, 3)
    bottleneck = True
