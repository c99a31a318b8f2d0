"""What makes pictures worse, for networks that make them better: Gaussian noise, and synthetic rain.

Both are values that draw and are applied as an `Augmentation` is, to what a network is given alone: its target stays.
Results are the bytes that a picture in a file would have.
"""

import math
import zlib
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ...common.errors import UserError, within
from .augment import augmented
from .pairs import PicturePair, PicturePairs
from .quality import as_bytes

__all__ = ["Degradation", "GaussianNoise", "RainStreaks", "degraded_pairs"]


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Independent Gaussian noise on every pixel and channel, rounded and cut off at both ends of a byte.

    Attributes
    ----------
    sigma : its deviation, in steps of pixels 0..255
    """

    kind: ClassVar[str] = "noise"
    pairs: ClassVar[bool] = False
    sigma: float

    def __post_init__(self) -> None:
        within("sigma", self.sigma, 0, 255)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Normal numbers, (count, channels, height, width)."""
        return torch.randn(count, *shape, generator=generator)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, W) in 0..1 with noise, whole 255ths."""
        return as_bytes(x + drawn * (self.sigma / 255)) / 255


@dataclass(frozen=True, kw_only=True)
class RainStreaks:
    """Synthetic rain: bright straight lines, one pixel wide, that are added to all channels alike.

    All lines of an image have one length and one slant. Where lines cross, the brighter one counts. No veil of far
    drops, no blur: a simple model of our own, neither measured rain nor that of a published set.

    Attributes
    ----------
    density : lines that begin per pixel, of the image and of what is so near to it that lines reach into it
    shortest, longest : pixels of a line
    slant : degrees from upright in each direction, at most
    faint, bright : what a line adds, as shares of white
    """

    kind: ClassVar[str] = "rain"
    pairs: ClassVar[bool] = False
    density: float = 0.006
    shortest: int = 8
    longest: int = 20
    slant: float = 25.0
    faint: float = 0.15
    bright: float = 0.6

    def __post_init__(self) -> None:
        within("density", self.density, 0, 1)
        within("shortest", self.shortest, 1, 1024, whole=True)
        within("longest", self.longest, self.shortest, 1024, whole=True)
        within("slant", self.slant, 0, 89)
        within("faint", self.faint, 0, 1)
        within("bright", self.bright, self.faint, 1)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Of every image first (slant in radians, length, 0), then for each line the row and the column in which it
        begins, perhaps above the image or beside it, and what it adds: (count, 1 + lines, 3)."""
        _, height, width = shape
        above, aside = self.longest, math.ceil(self.longest * math.tan(math.radians(self.slant)))
        lines = max(1, round(self.density * (height + above) * (width + 2 * aside)))
        shares = torch.rand(count, 1 + lines, 3, generator=generator)
        slant = (2 * shares[:, 0, 0] - 1) * math.radians(self.slant)
        length = (self.shortest + shares[:, 0, 1] * (self.longest - self.shortest + 1)).floor().clamp(max=self.longest)
        row = (shares[:, 1:, 0] * (height + above) - above).floor()
        column = (shares[:, 1:, 1] * (width + 2 * aside) - aside).floor()
        added = self.faint + shares[:, 1:, 2] * (self.bright - self.faint)
        first = torch.stack([slant, length, torch.zeros_like(slant)], dim=1)[:, None]
        return torch.cat([first, torch.stack([row, column, added], dim=2)], dim=1)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, W) in 0..1 with rain, whole 255ths."""
        count, _, height, width = x.shape
        slant, length, _ = drawn[:, 0].unbind(1)
        row, column, added = (value[:, :, None] for value in drawn[:, 1:].unbind(2))
        along = torch.arange(self.longest, device=x.device)
        rows = row + along
        # A line goes down row by row, and to the side as its slant says.
        columns = (column + along * slant.tan()[:, None, None] + 0.5).floor()
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        inside &= along < length[:, None, None]
        places = torch.where(inside, rows.long() * width + columns.long(), 0).flatten(1)
        values = torch.where(inside, added, 0.0).flatten(1)
        rain = torch.zeros(count, height * width, dtype=x.dtype, device=x.device)
        rain = rain.scatter_reduce(1, places, values.to(x.dtype), "amax").view(count, 1, height, width)
        return as_bytes(x + rain) / 255


Degradation = GaussianNoise | RainStreaks
"""Ways in which pictures are made worse."""


def degraded_pairs(pairs: PicturePairs, kind: Degradation) -> PicturePairs:
    """Clean pictures as targets, and what ``kind`` makes of each as the input: always the same for one name and size,
    whatever other pictures are there.

    Raises
    ------
    UserError
        for pictures that are pairs already.
    """
    if not pairs.clean:
        raise UserError(f"pictures of {pairs.said} are pairs already; {kind.kind} is added to clean ones")

    def worse(pair: PicturePair) -> PicturePair:
        generator = Generator().manual_seed(zlib.crc32(pair.name.encode()))
        x = torch.from_numpy(pair.high)[None].float() / 255
        low = as_bytes(augmented(x, (kind,), generator))[0].to(torch.uint8).numpy()
        return PicturePair(name=pair.name, low=low, high=pair.high)

    return replace(pairs, pairs=tuple(map(worse, pairs.pairs)), clean=False)
