"""Which pixels of an image are smooth, textured or full of detail: the bands of its block-wise DCT."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError, within

__all__ = ["BRANCHES", "FrequencyBands", "band_images", "band_masks", "grey", "transform"]

BRANCHES = ("high", "mid", "low")
"""Of frequency-aware blocks, the most expensive first; numbers of masks are places in it."""
_GREY = (0.299, 0.587, 0.114)
"""Of red, green and blue, ITU-R BT.601, full range."""


@dataclass(frozen=True, kw_only=True)
class FrequencyBands:
    """How pixels are told apart by frequency.

    Xie et al. (2021) guide their predictor by masks made of DCT bands; how they cut the bands, and what is much, is not
    published. Here the luminance is cut into blocks (the border repeated where they do not fit), and coefficient (u, v)
    of a block belongs to the band of its diagonal ``u + v``. A band's strength at a pixel is the mean magnitude, over a
    window around it, of the image that its coefficients alone make. Where the high band is as strong as its threshold
    the pixel is high; else, where the mid band is, mid; else low.

    Attributes
    ----------
    block : rows and columns of a block, 4..32
    cuts : first diagonal of the mid band, and of the high band; the diagonal 0 is the mean, and low
    thresholds : strength from which a pixel is high, and mid; of pixels 0..1
    window : rows and columns over which magnitudes are averaged, odd

    Raises
    ------
    UserError
        for values out of range, by name.
    """

    block: int = 8
    cuts: tuple[int, int] = (2, 5)
    thresholds: tuple[float, float] = (0.02, 0.01)
    window: int = 5

    def __post_init__(self) -> None:
        within("block", self.block, 4, 32, whole=True)
        within("window", self.window, 1, 31, whole=True)
        if self.window % 2 == 0:
            raise UserError(f"window must be odd, not {self.window}")
        for name in ("cuts", "thresholds"):
            values = tuple(getattr(self, name))
            if len(values) != 2:
                raise UserError(f"{name} must be two numbers, not {values}")
            object.__setattr__(self, name, values)
        mid, high = self.cuts
        within("cuts", mid, 1, high - 1, whole=True)
        within("cuts", high, mid + 1, 2 * (self.block - 1), whole=True)
        for value in self.thresholds:
            within("thresholds", value, 1e-6, 1)


def grey(images: Tensor) -> Tensor:
    """The luminance (B, H, W) of (B, C, H, W): of three channels by BT.601, of others their mean."""
    if images.shape[1] != len(_GREY):
        return images.mean(1)
    return (images * images.new_tensor(_GREY).view(1, -1, 1, 1)).sum(1)


def transform(size: int) -> Tensor:
    """The orthonormal DCT-II, (size, size) float64: row u holds ``c(u) cos(pi (2 i + 1) u / (2 size))`` for i."""
    places = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / (2 * size) * torch.outer(places, 2 * places + 1)) * (2 / size) ** 0.5
    rows[0] *= 0.5**0.5
    return rows


def band_images(images: Tensor, bands: FrequencyBands) -> Tensor:
    """What the coefficients of each band alone make of the luminance: (B, C, H, W) to (B, 3, H, W), in the order of
    `BRANCHES`; their sum is the luminance."""
    size = bands.block
    light = grey(images)[:, None]
    height, width = light.shape[2:]
    padded = F.pad(light, (0, -width % size, 0, -height % size), mode="replicate")[:, 0]
    dct = transform(size).to(padded)
    blocks = padded.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, rows, size, columns, size)
    coefficients = torch.einsum("ui,brica,va->brcuv", dct, blocks, dct)
    places = torch.arange(size, device=images.device)
    diagonal = places[:, None] + places
    mid, high = bands.cuts
    kept = torch.stack([diagonal >= high, (diagonal >= mid) & (diagonal < high), diagonal < mid])
    alone = torch.einsum("ui,kuv,brcuv,va->bkrica", dct, kept.to(dct), coefficients, dct)
    return alone.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]


def band_masks(images: Tensor, bands: FrequencyBands) -> Tensor:
    """The number in `BRANCHES` of every pixel, (B, C, H, W) in 0..1 to (B, H, W) int64, see `FrequencyBands`."""
    with torch.no_grad():
        strength = F.avg_pool2d(
            band_images(images.float(), bands).abs(), bands.window, 1, bands.window // 2, count_include_pad=False
        )
        high, mid = (strength[:, k] >= bands.thresholds[k] for k in (0, 1))
        return torch.where(high, 0, torch.where(mid, 1, 2))
