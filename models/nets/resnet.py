"""ResNet-20 and ResNet-32 for 32x32 images with a choice of kernel.

Of adders, multipliers and shifts they are built as the AdderNet authors built theirs: an ordinary first convolution and
an ordinary classifier with a batch norm of its own; shortcuts that change the shape are 1x1 convolutions of the
network's kernel with batch norm (He et al. 2016; Chen et al. 2020). Of binary layers they are built as FDA-BNN's were
released: `BinaryBlock`, shortcuts without weights, one ReLU in front of the pool, a classifier with a bias.
"""

from torch import Tensor, nn

from ..layers.kernels import Kernels, convolution, is_binary
from ..layers.normalize import Normalise
from .blocks import BinaryBlock, basic_block, image_statistics, pad_shortcut

__all__ = ["CIFAR10_DEVIATION", "CIFAR10_MEAN", "ResNet20", "ResNet32"]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_DEVIATION = (0.2023, 0.1994, 0.2010)
_WIDTHS = (16, 32, 64)


class ResNet20(nn.Module):
    """ResNet-20 for images of ``shape`` (channels, height, width); height and width equal and multiples of 4.

    Parameters
    ----------
    kernel : of all convolutions but the first, and not of the classifier; or a `Kernels`, or its text
    """

    blocks = 3
    """Blocks per stage."""

    def __init__(
        self, *, kernel: str | Kernels = "adder", shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        name = type(self).__name__.lower()
        if height != width or height % 4:
            raise ValueError(f"{name} needs square images whose side is a multiple of 4, not {height}x{width}")
        kernels = Kernels.of(kernel)
        self.normalise = Normalise(*image_statistics(channels, CIFAR10_MEAN, CIFAR10_DEVIATION))
        self.conv1 = convolution(kernels.at("conv1", edge=True), channels, _WIDTHS[0], 3, padding=1)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu: nn.Module = nn.Identity() if is_binary(kernels.at("layer1.0.conv1")) else nn.ReLU()
        inputs = _WIDTHS[0]
        for stage, outputs in enumerate(_WIDTHS, start=1):
            self.add_module(f"layer{stage}", self._stage(kernels, stage, inputs, outputs))
            inputs = outputs
        self.avgpool = nn.AvgPool2d(height // 4)
        binary = isinstance(self.get_submodule(f"layer{len(_WIDTHS)}.{self.blocks - 1}"), BinaryBlock)
        self.end: nn.Module = nn.ReLU() if binary else nn.Identity()
        last = kernels.at("fc", edge=True)
        # The classifier of the AdderNet authors has a batch norm behind it, that of FDA-BNN a bias.
        biased = binary and last == "mult"
        self.fc = nn.Conv2d(inputs, classes, 1) if biased else convolution(last, inputs, classes, 1)
        self.bn2: nn.Module = nn.Identity() if biased else nn.BatchNorm2d(classes)
        self.scores = nn.Flatten()

    def _stage(self, kernels: Kernels, stage: int, inputs: int, outputs: int) -> nn.Sequential:
        blocks = []
        for number in range(self.blocks):
            stride = 2 if stage > 1 and number == 0 else 1
            read = inputs if number == 0 else outputs
            path = f"layer{stage}.{number}"
            blocks.append(basic_block(kernels, path, read, outputs, stride, shortcut=pad_shortcut, each=False))
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.relu(self.bn1(self.conv1(self.normalise(x))))
        for stage in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        scores: Tensor = self.scores(self.bn2(self.fc(self.avgpool(self.end(x)))))
        return scores


class ResNet32(ResNet20):
    """ResNet-32: as `ResNet20`, with five blocks per stage."""

    blocks = 5
