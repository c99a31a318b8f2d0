"""VGG-small for 32x32 images with a choice of kernel: six convolutions and one dense layer, as binary networks have it.

Two convolutions of 128, 256 and 512 channels each, a max pool behind the second of every pair, an ordinary first
convolution and an ordinary classifier. Binary convolutions have a PReLU of one slope in front of their batch norm and a
sign in front of them, as the blocks of FDA-BNN do; the others have ReLUs.
"""

from torch import Tensor, nn

from ..layers.kernels import Kernels, activation, convolution, is_binary
from ..layers.normalize import Normalise
from .blocks import image_statistics
from .resnet import CIFAR10_DEVIATION, CIFAR10_MEAN

__all__ = ["VGGSmall"]

_LAYERS = 6


class VGGSmall(nn.Module):
    """VGG-small for images of ``shape`` (channels, height, width), height and width multiples of 8.

    Parameters
    ----------
    kernel : of all convolutions but the first; or a `Kernels`, or its text. The classifier is an ordinary dense layer
    width : channels of the first pair of convolutions
    """

    def __init__(
        self, *, kernel: str | Kernels = "adder", shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10,
        width: int = 128,
    ):  # fmt: skip
        super().__init__()
        channels, height, columns = shape
        if height % 8 or columns % 8:
            raise ValueError(f"vgg-small needs a height and width that are multiples of 8, not {height}x{columns}")
        kernels = Kernels.of(kernel)
        found = [kernels.at(f"conv{k}", edge=k == 1) for k in range(1, _LAYERS + 1)]
        if kernels.at("fc", edge=True) != "mult":
            raise ValueError("layer 'fc' of vgg-small is an ordinary dense layer")
        self.normalise = Normalise(*image_statistics(channels, CIFAR10_MEAN, CIFAR10_DEVIATION))
        for k, (kernel_here, kernel_behind) in enumerate(zip(found, [*found[1:], "mult"], strict=True), start=1):
            outputs = width * 2 ** ((k - 1) // 2)
            self.add_module(f"conv{k}", convolution(kernel_here, channels, outputs, 3, padding=1))
            self.add_module(f"prelu{k}", nn.PReLU() if is_binary(kernel_here) else nn.Identity())
            self.add_module(f"bn{k}", nn.BatchNorm2d(outputs))
            self.add_module(f"pool{k}", nn.Identity() if k % 2 else nn.MaxPool2d(2))
            self.add_module(f"act{k}", activation(kernel_behind, outputs))
            channels = outputs
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels * (height // 8) * (columns // 8), classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.normalise(x)
        for k in range(1, _LAYERS + 1):
            for name in ("conv", "prelu", "bn", "pool", "act"):
                x = self.get_submodule(f"{name}{k}")(x)
        scores: Tensor = self.fc(self.flatten(x))
        return scores
