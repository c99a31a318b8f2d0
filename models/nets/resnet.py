"""ResNet-20 for 32x32 images with a choice of kernel, built as the AdderNet authors built theirs.

An ordinary first convolution and an ordinary classifier with a batch norm of its own; shortcuts that change the shape
are 1x1 convolutions of the network's kernel with batch norm (He et al. 2016; Chen et al. 2020).
"""

from torch import Tensor, nn

from ..layers.kernels import convolution
from ..layers.normalize import Normalise

__all__ = ["CIFAR10_DEVIATION", "CIFAR10_MEAN", "ResNet20"]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_DEVIATION = (0.2023, 0.1994, 0.2010)
_WIDTHS = (16, 32, 64)
_BLOCKS = 3


class _Block(nn.Module):
    def __init__(self, kernel: str, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = convolution(kernel, inputs, outputs, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(kernel, outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                convolution(kernel, inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(out + self.downsample(x))
        return result


class ResNet20(nn.Module):
    """ResNet-20 for images of ``shape`` (channels, height, width); height and width equal and multiples of 4.

    Parameters
    ----------
    kernel : of all convolutions but the first, and not of the classifier
    """

    def __init__(self, *, kernel: str = "adder", shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10):
        super().__init__()
        channels, height, width = shape
        if height != width or height % 4:
            raise ValueError(f"resnet20 needs square images whose side is a multiple of 4, not {height}x{width}")
        if kernel == "xnor":
            raise ValueError("resnet20 has no binary form: its additions need features of several bits")
        statistics = (CIFAR10_MEAN, CIFAR10_DEVIATION) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
        self.normalise = Normalise(*statistics)
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        inputs = _WIDTHS[0]
        for stage, outputs in enumerate(_WIDTHS, start=1):
            strides = (1 if stage == 1 else 2, *[1] * (_BLOCKS - 1))
            blocks = [_Block(kernel, inputs if k == 0 else outputs, outputs, s) for k, s in enumerate(strides)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            inputs = outputs
        self.avgpool = nn.AvgPool2d(height // 4)
        self.fc = nn.Conv2d(inputs, classes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(classes)
        self.scores = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.relu(self.bn1(self.conv1(self.normalise(x))))
        for stage in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        scores: Tensor = self.scores(self.bn2(self.fc(self.avgpool(x))))
        return scores
