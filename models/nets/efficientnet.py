"""EfficientNet-B0 (Tan and Le 2019) for large images with a choice of kernel; parameters have torchvision's names."""

from torch import Tensor, nn

from ..layers.kernels import Kernels
from ..layers.normalize import Normalise
from .blocks import large_image_statistics, layer_at

__all__ = ["EfficientNetB0", "SqueezeExcitation"]

_NAME = "efficientnet-b0"
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
"""Expansion, size of the depthwise window, stride of the first block, channels, blocks."""
_STEM, _HEAD = 32, 1280
_SQUEEZED = 4
"""What a block reads has so many times the channels that its gate is computed with."""


class SqueezeExcitation(nn.Module):
    """A gate for each channel of a map, computed of the means of all: two ordinary 1x1 convolutions."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.SiLU()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        gate: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return gate * x


class MBConv(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, squeeze-and-excitation, a 1x1 that narrows; a shortcut where the
    shape stays."""

    def __init__(
        self, kernels: Kernels, path: str, inputs: int, outputs: int, *, size: int, stride: int, expansion: int
    ):  # fmt: skip
        super().__init__()
        wide, place = inputs * expansion, f"{path}.block"
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_normed(kernels, f"{place}.0", inputs, wide))
        layers.append(_normed(kernels, f"{place}.{len(layers)}", wide, wide, size, stride=stride, groups=wide))
        for name in ("fc1", "fc2"):
            _check_ordinary(kernels, f"{place}.{len(layers)}.{name}")
        layers.append(SqueezeExcitation(wide, max(1, inputs // _SQUEEZED)))
        layers.append(_normed(kernels, f"{place}.{len(layers)}", wide, outputs, active=False))
        self.block = nn.Sequential(*layers)
        self.joins = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        result: Tensor = self.block(x) + x if self.joins else self.block(x)
        return result


class EfficientNetB0(nn.Module):
    """EfficientNet-B0 for images of ``shape`` (channels, height, width); height and width multiples of 32.

    Parameters
    ----------
    kernel : of all convolutions but the first, depthwise ones too; or a `Kernels`, or its text. Those of gates and the
        classifier are ordinary layers
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        if height % 32 or width % 32:
            raise ValueError(f"{_NAME} needs a height and width that are multiples of 32, not {height}x{width}")
        kernels = Kernels.of(kernel)
        _check_ordinary(kernels, "classifier.1")
        self.normalise = Normalise(*large_image_statistics(channels))
        stages: list[nn.Module] = [_normed(kernels, "features.0", channels, _STEM, 3, stride=2, edge=True)]
        inputs = _STEM
        for expansion, size, first, outputs, count in _STAGES:
            blocks = []
            for number in range(count):
                path, stride = f"features.{len(stages)}.{number}", first if number == 0 else 1
                blocks.append(MBConv(kernels, path, inputs, outputs, size=size, stride=stride, expansion=expansion))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        stages.append(_normed(kernels, f"features.{len(stages)}", inputs, _HEAD))
        self.features = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_HEAD, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        scores: Tensor = self.classifier(self.flatten(self.avgpool(self.features(self.normalise(x)))))
        return scores


def _check_ordinary(kernels: Kernels, path: str) -> None:
    if kernels.at(path, edge=True) != "mult":
        raise ValueError(f"layer {path!r} of {_NAME} is an ordinary layer")


def _normed(
    kernels: Kernels, path: str, inputs: int, outputs: int, size: int = 1, *, stride: int = 1, groups: int = 1,
    edge: bool = False, active: bool = True,
) -> nn.Sequential:  # fmt: skip
    """The convolution at ``path`` with batch norm, and SiLU where it is ``active``."""
    kernel = kernels.at(f"{path}.0", edge=edge)
    made = layer_at(
        _NAME, f"{path}.0", kernel, inputs, outputs, size, stride=stride, padding=size // 2, groups=groups
    )  # fmt: skip
    return nn.Sequential(made, nn.BatchNorm2d(outputs), *[nn.SiLU()] * active)
