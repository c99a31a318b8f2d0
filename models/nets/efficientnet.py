"""EfficientNet-B0 (Tan and Le 2019), and TinyNet A to E (Han et al. 2020): the same, smaller in three directions.

Parameters have timm's names.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ..layers.kernels import Kernels
from ..layers.normalize import Normalise
from .blocks import large_image_statistics, named_convolution

__all__ = ["EFFICIENTNET_B0", "TINYNETS", "EfficientNet", "Scaling"]

_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Blocks, window, stride of the first of them, expansion, channels."""
_STEM, _HEAD = 32, 1280
_NAME = "efficientnet"
_SQUEEZE = 4
"""Inputs of a block for each channel of its squeeze."""
_RESOLUTION, _MULTIPLE, _LEAST_SHARE = 224, 8, 0.9


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How a network is scaled from EfficientNet-B0, whose three factors are 1.

    Attributes
    ----------
    resolution : of the 224 rows and columns
    width : of the channels of blocks; those of the first convolution (32) and of the last (1,280) stay
    depth : of the blocks of a stage, of which one is left at least
    """

    resolution: float = 1.0
    width: float = 1.0
    depth: float = 1.0

    def __post_init__(self) -> None:
        for name in ("resolution", "width", "depth"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)}")

    @property
    def pixels(self) -> int:
        """Rows, and columns, of an image."""
        return int(_RESOLUTION * self.resolution)

    def channels(self, base: int) -> int:
        """``base`` channels scaled, to a multiple of 8 that is not below nine tenths of that."""
        exact = base * self.width
        rounded = max(_MULTIPLE, int(exact + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
        return rounded if rounded >= _LEAST_SHARE * exact else rounded + _MULTIPLE

    def blocks(self, base: int) -> int:
        """``base`` blocks scaled."""
        return max(1, round(base * self.depth))


EFFICIENTNET_B0 = Scaling()
TINYNETS = {
    "a": Scaling(resolution=0.86, width=1.0, depth=1.2),
    "b": Scaling(resolution=0.84, width=0.75, depth=1.1),
    "c": Scaling(resolution=0.825, width=0.54, depth=0.85),
    "d": Scaling(resolution=0.68, width=0.54, depth=0.695),
    "e": Scaling(resolution=0.475, width=0.51, depth=0.60),
}
"""The published points, by the budgets of 339, 202, 100, 52 and 24 million multiplications."""


class SqueezeExcite(nn.Module):
    """Scales every channel by a number of 0 to 1 that two ordinary dense layers make of the means of all channels."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act1 = nn.SiLU()
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        result: Tensor = x * self.gate(self.conv_expand(self.act1(self.conv_reduce(self.pool(x)))))
        return result


class SeparableBlock(nn.Module):
    """A depthwise convolution, squeeze-excite, and a 1x1 convolution with nothing behind it."""

    def __init__(self, kernels: Kernels, path: str, inputs: int, outputs: int, window: int, stride: int):
        super().__init__()
        self.conv_dw = _depthwise(kernels, f"{path}.conv_dw", inputs, window, stride)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.act1 = nn.SiLU()
        self.se = SqueezeExcite(inputs, inputs // _SQUEEZE)
        self.conv_pw = named_convolution(_NAME, kernels, f"{path}.conv_pw", inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.joins = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), rounded up."""
        result: Tensor = self.bn2(self.conv_pw(self.se(self.act1(self.bn1(self.conv_dw(x))))))
        return x + result if self.joins else result


class WideningBlock(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, squeeze-excite, and a 1x1 convolution that narrows, with nothing
    behind it; a shortcut where the shape stays."""

    def __init__(
        self, kernels: Kernels, path: str, inputs: int, outputs: int, window: int, stride: int, expansion: int
    ):  # fmt: skip
        super().__init__()
        wide = inputs * expansion
        self.conv_pw = named_convolution(_NAME, kernels, f"{path}.conv_pw", inputs, wide, 1)
        self.bn1 = nn.BatchNorm2d(wide)
        self.act1 = nn.SiLU()
        self.conv_dw = _depthwise(kernels, f"{path}.conv_dw", wide, window, stride)
        self.bn2 = nn.BatchNorm2d(wide)
        self.act2 = nn.SiLU()
        self.se = SqueezeExcite(wide, inputs // _SQUEEZE)
        self.conv_pwl = named_convolution(_NAME, kernels, f"{path}.conv_pwl", wide, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.joins = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), rounded up."""
        wide = self.act1(self.bn1(self.conv_pw(x)))
        wide = self.se(self.act2(self.bn2(self.conv_dw(wide))))
        result: Tensor = self.bn3(self.conv_pwl(wide))
        return x + result if self.joins else result


def _depthwise(kernels: Kernels, path: str, channels: int, window: int, stride: int) -> nn.Module:
    """The depthwise convolution at ``path``, padded so that only its stride makes a map smaller."""
    return named_convolution(
        _NAME, kernels, path, channels, channels, window, stride=stride, padding=window // 2, groups=channels
    )


class EfficientNet(nn.Module):
    """EfficientNet-B0 scaled by ``scaling``, for images of ``shape`` (channels, height, width).

    Parameters
    ----------
    kernel : of all convolutions but the first, depthwise ones too; or a `Kernels`, or its text. Squeeze-excite, whose
        layers read one pixel, and the classifier are ordinary
    shape : of the images; any of 32 pixels or more in both directions. Unless given, those of ``scaling``
    """

    def __init__(
        self, *, scaling: Scaling = EFFICIENTNET_B0, kernel: str | Kernels = "mult",
        shape: tuple[int, int, int] | None = None, classes: int = 1000,
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape or (3, scaling.pixels, scaling.pixels)
        if min(height, width) < _STEM:
            raise ValueError(f"efficientnet needs a height and width of at least 32, not {height}x{width}")
        kernels = Kernels.of(kernel)
        if kernels.at("classifier", edge=True) != "mult":
            raise ValueError("layer 'classifier' of efficientnet is an ordinary dense layer")
        self.normalise = Normalise(*large_image_statistics(channels))
        self.conv_stem = named_convolution(
            _NAME, kernels, "conv_stem", channels, _STEM, 3, stride=2, padding=1, edge=True
        )
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.act1 = nn.SiLU()
        stages, inputs = [], _STEM
        for number, (count, window, first, expansion, base) in enumerate(_STAGES):
            blocks: list[nn.Module] = []
            outputs = scaling.channels(base)
            for k in range(scaling.blocks(count)):
                path, stride = f"blocks.{number}.{k}", first if k == 0 else 1
                if expansion == 1:
                    blocks.append(SeparableBlock(kernels, path, inputs, outputs, window, stride))
                else:
                    blocks.append(WideningBlock(kernels, path, inputs, outputs, window, stride, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = named_convolution(_NAME, kernels, "conv_head", inputs, _HEAD, 1)
        self.bn2 = nn.BatchNorm2d(_HEAD)
        self.act2 = nn.SiLU()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.blocks(self.act1(self.bn1(self.conv_stem(self.normalise(x)))))
        x = self.flatten(self.global_pool(self.act2(self.bn2(self.conv_head(x)))))
        scores: Tensor = self.classifier(self.dropout(x))
        return scores
