"""EDSR (Lim et al. 2017) for super-resolution, and GhostSR (Nie et al. 2021), which computes half of its body.

Parameters have the names that the authors of EDSR gave them.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from ..layers.ghost import GhostConv2d, biased_convolution
from ..layers.kernels import Kernels
from ..layers.normalize import Normalise

__all__ = ["EDSR", "EDSRBlock", "centring", "convolution_at", "upsampling"]

_MEAN = (0.4488, 0.4371, 0.4040)
"""Of the pictures of DIV2K."""
_STEPS = {2: (2,), 3: (3,), 4: (2, 2)}
"""Pixel shuffles of an enlargement."""


class EDSRBlock(nn.Module):
    """``x + factor * conv(relu(conv(x)))``, without batch norm; the convolutions have biases. Those of adders have a
    batch norm instead, see `biased_convolution`."""

    def __init__(self, kernels: Kernels, path: str, features: int, *, factor: float, share: float | None):
        super().__init__()
        self.factor = factor
        first, second = (convolution_at(kernels, f"{path}.body.{k}", features, features, share=share) for k in (0, 2))
        self.body = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W), the same shape."""
        added: Tensor = self.body(x)
        return x + (added if self.factor == 1 else added * self.factor)


class EDSR(nn.Module):
    """Makes an image ``scale`` times as large in both directions.

    Parameters
    ----------
    kernel : of the body and the enlargement, ``mult`` or ``adder``; or a `Kernels`, or its text. The first and the
        last convolution are ordinary unless it names them
    shape : of a small image, (channels, height, width); any size
    scale : 2, 3 or 4
    blocks, features : of the body; EDSR has 32 of 256, its baseline 16 of 64
    factor : of what a block adds; EDSR has 0.1, its baseline 1
    share : of the channels that the convolutions of blocks compute, the rest being moved copies (GhostSR: 0.5); None:
        ordinary convolutions
    classes : None; an image has none

    Attributes
    ----------
    scale : as given

    Raises
    ------
    ValueError
        for another scale, fewer than one block or feature, classes, or a kernel whose layers have no bias.
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 360, 640), scale: int = 2,
        blocks: int = 16, features: int = 64, factor: float = 1.0, share: float | None = None,
        classes: int | None = None,
    ):  # fmt: skip
        super().__init__()
        name = type(self).__name__.lower()
        if classes is not None:
            raise ValueError(f"{name} makes an image, which has no classes")
        if scale not in _STEPS:
            raise ValueError(f"{name} enlarges by {', '.join(map(str, _STEPS))}, not by {scale}")
        if blocks < 1 or features < 1:
            raise ValueError(f"{name} needs a block and a feature at least, not {blocks} and {features}")
        self.scale = scale
        kernels = Kernels.of(kernel)
        convolution = partial(convolution_at, kernels, network=name)
        channels = shape[0]
        self.sub_mean = centring(channels)
        self.head = nn.Sequential(convolution("head.0", channels, features, edge=True))
        self.body = nn.Sequential(
            *(self._block(kernels, f"body.{k}", features, factor=factor, share=share) for k in range(blocks)),
            convolution(f"body.{blocks}", features, features),
        )
        larger = upsampling(lambda k, outputs: convolution(f"tail.0.{k}", features, outputs), features, scale)
        self.tail = nn.Sequential(larger, convolution("tail.1", features, channels, edge=True))

    def _block(
        self, kernels: Kernels, path: str, features: int, *, factor: float, share: float | None
    ) -> nn.Module:  # fmt: skip
        """The block at ``path``; networks of other blocks have their own."""
        return EDSRBlock(kernels, path, features, factor=factor, share=share)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, C, scale * H, scale * W), not clipped."""
        head = self.head(self.sub_mean(x))
        image: Tensor = self.tail(head + self.body(head)) + self.sub_mean.mean
        return image


def centring(channels: int) -> Normalise:
    """What takes the mean of pictures off images in 0..1: that of DIV2K off three channels, a half off others."""
    return Normalise(_MEAN if channels == len(_MEAN) else (0.5,) * channels, (1.0,) * channels)


def upsampling(convolution: Callable[[int, int], nn.Module], features: int, scale: int) -> nn.Sequential:
    """What makes a map of ``features`` ``scale`` times as large: convolutions and pixel shuffles.

    Parameters
    ----------
    convolution : makes the one at a place of the result, with so many channels
    scale : 1, 2, 3 or 4; 1 is nothing
    """
    larger: list[nn.Module] = []
    for step in _STEPS[scale] if scale > 1 else ():
        larger += [convolution(len(larger), features * step**2), nn.PixelShuffle(step)]
    return nn.Sequential(*larger)


def convolution_at(
    kernels: Kernels, path: str, inputs: int, outputs: int, *, edge: bool = False, share: float | None = None,
    size: int = 3, groups: int = 1, network: str = "edsr",
) -> nn.Module:  # fmt: skip
    """The convolution at ``path`` of a ``network``, of ``size`` x ``size`` windows, or where ``share`` is given a
    ghost of one; a ``ValueError`` names it where its kernel cannot be had."""
    kernel = kernels.at(path, edge=edge)
    try:
        if share is None:
            return biased_convolution(kernel, inputs, outputs, size=size, groups=groups)
        return GhostConv2d(kernel, inputs, outputs, share=share)
    except ValueError as error:
        raise ValueError(f"layer {path!r} of {network}: {error}") from error
