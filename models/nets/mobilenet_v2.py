"""MobileNetV2 (Sandler et al. 2018) for large images with a choice of kernel; parameters have torchvision's names."""

from torch import Tensor, nn

from ..layers.kernels import Kernels
from ..layers.normalize import Normalise
from .blocks import large_image_statistics, named_convolution

__all__ = ["MobileNetV2"]

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first of them."""
_STEM, _HEAD = 32, 1280
_NAME = "mobilenet-v2"


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise 3x3, a 1x1 that narrows and has no ReLU behind it; a shortcut where
    the shape stays."""

    def __init__(self, kernels: Kernels, path: str, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        layers = [] if expansion == 1 else [_normed(kernels, f"{path}.conv.0", inputs, wide, 1)]
        layers.append(
            _normed(kernels, f"{path}.conv.{len(layers)}", wide, wide, 3, stride=stride, padding=1, groups=wide)
        )
        last = named_convolution(_NAME, kernels, f"{path}.conv.{len(layers)}", wide, outputs, 1)
        self.conv = nn.Sequential(*layers, last, nn.BatchNorm2d(outputs))
        self.joins = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        result: Tensor = x + self.conv(x) if self.joins else self.conv(x)
        return result


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1 for images of ``shape`` (channels, height, width); height and width multiples of 32.

    Parameters
    ----------
    kernel : of all convolutions but the first, depthwise ones too; or a `Kernels`, or its text. The classifier is an
        ordinary dense layer
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        if height % 32 or width % 32:
            raise ValueError(f"mobilenet-v2 needs a height and width that are multiples of 32, not {height}x{width}")
        kernels = Kernels.of(kernel)
        if kernels.at("classifier.1", edge=True) != "mult":
            raise ValueError("layer 'classifier.1' of mobilenet-v2 is an ordinary dense layer")
        self.normalise = Normalise(*large_image_statistics(channels))
        layers: list[nn.Module] = [_normed(kernels, "features.0", channels, _STEM, 3, stride=2, padding=1, edge=True)]
        inputs = _STEM
        for expansion, outputs, count, first in _STAGES:
            for number in range(count):
                path, stride = f"features.{len(layers)}", first if number == 0 else 1
                layers.append(InvertedResidual(kernels, path, inputs, outputs, stride, expansion))
                inputs = outputs
        layers.append(_normed(kernels, f"features.{len(layers)}", inputs, _HEAD, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_HEAD, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        scores: Tensor = self.classifier(self.flatten(self.avgpool(self.features(self.normalise(x)))))
        return scores


def _normed(
    kernels: Kernels, path: str, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0,
    groups: int = 1, edge: bool = False,
) -> nn.Sequential:  # fmt: skip
    """The convolution at ``path`` with batch norm and ReLU6."""
    made = named_convolution(
        _NAME, kernels, f"{path}.0", inputs, outputs, size, stride=stride, padding=padding, groups=groups, edge=edge
    )
    return nn.Sequential(made, nn.BatchNorm2d(outputs), nn.ReLU6())
