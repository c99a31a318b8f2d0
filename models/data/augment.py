"""Augmentation of a batch of images, each kind a value: what is drawn at random, and what is done with it.

An augmentation draws for a whole batch and is applied to any part of it, so that several processes, each with a part,
do to every image what one process would.

Where the target of an image is a larger image, both are changed alike: what was drawn is said in pixels of the small
one, and `apply` is told by how much its image is larger.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ...common.errors import UserError, within

__all__ = ["Augmentation", "Crop", "Flip", "Jitter", "Patch", "QuarterTurn", "augmented", "augmented_pairs"]


class Augmentation(Protocol):
    """One kind of augmentation.

    Attributes
    ----------
    pairs : whether an image and a larger one that is its target still belong together when both are changed
    """

    kind: ClassVar[str]
    pairs: ClassVar[bool]

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Random numbers for ``count`` images of ``shape`` (channels, height, width): (count, ..)."""
        ...

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, W) float, ``scale`` times as large as those that ``drawn`` (B, ..) is for, changed as it
        says; all of one shape."""
        ...


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Every image is framed with ``padding`` black pixels on each side, and a window of its own size cut out."""

    kind: ClassVar[str] = "crop"
    pairs: ClassVar[bool] = True
    padding: int = 4

    def __post_init__(self) -> None:
        within("padding", self.padding, 1, 1024, whole=True)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Row and column at which each window begins, (count, 2)."""
        return torch.randint(0, 2 * self.padding + 1, (count, 2), generator=generator)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """The windows of images (B, C, H, W)."""
        _, _, height, width = x.shape
        return _windows(F.pad(x, [scale * self.padding] * 4), scale * drawn, height, width)


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A square of ``size`` by ``size`` pixels is cut out of every image."""

    kind: ClassVar[str] = "patch"
    pairs: ClassVar[bool] = True
    size: int = 24

    def __post_init__(self) -> None:
        within("size", self.size, 1, 1 << 16, whole=True)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Row and column at which each square begins, (count, 2); raises `UserError` where images are smaller."""
        _, height, width = shape
        if min(height, width) < self.size:
            raise UserError(f"a patch of {self.size} pixels cannot be cut out of an image of {height}x{width}")
        ends = (height, width)
        return torch.stack([torch.randint(0, n - self.size + 1, (count,), generator=generator) for n in ends], dim=1)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """The squares of images (B, C, H, W)."""
        return _windows(x, scale * drawn, scale * self.size, scale * self.size)


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Every image is mirrored left to right with probability ``share``."""

    kind: ClassVar[str] = "flip"
    pairs: ClassVar[bool] = True
    share: float = 0.5

    def __post_init__(self) -> None:
        within("share", self.share, 0, 1)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Whether each image is mirrored, (count,)."""
        return torch.rand(count, generator=generator) < self.share

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, W), some of them mirrored."""
        return torch.where(drawn.view(-1, 1, 1, 1), x.flip(3), x)


@dataclass(frozen=True, kw_only=True)
class QuarterTurn:
    """Every image, which is square, is turned by none, one, two or three quarters."""

    kind: ClassVar[str] = "turn"
    pairs: ClassVar[bool] = True

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Quarters of each image, (count,); raises `UserError` where images are not square."""
        _, height, width = shape
        if height != width:
            raise UserError(f"only square images can be turned, not of {height}x{width}; cut a patch out first")
        return torch.randint(0, 4, (count,), generator=generator)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, H), turned."""
        quarters = drawn.view(-1, 1, 1, 1)
        half = torch.where(quarters >= 2, x.flip(2, 3), x)
        return torch.where(quarters % 2 == 1, half.rot90(1, (2, 3)), half)


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Every image is moved, turned and scaled a little, with bilinear sampling.

    Attributes
    ----------
    shift : pixels in each direction, at most
    angle : radians in each direction, at most
    scale : relative, in each direction, at most
    """

    kind: ClassVar[str] = "jitter"
    pairs: ClassVar[bool] = False
    shift: float = 2
    angle: float = 0.15
    scale: float = 0.1

    def __post_init__(self) -> None:
        within("shift", self.shift, 0, 1024)
        within("angle", self.angle, 0, 3.2)
        within("scale", self.scale, 0, 0.9)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Angle, scale, shift to the right and shift down of each image, the shifts in half widths: (count, 4)."""
        _, height, width = shape
        bounds = (self.angle, self.scale, 2 * self.shift / width, 2 * self.shift / height)
        columns = [(2 * torch.rand(count, generator=generator) - 1) * bound for bound in bounds]
        return torch.stack(columns, dim=1)

    def apply(self, x: Tensor, drawn: Tensor, *, scale: int = 1) -> Tensor:
        """Images (B, C, H, W), moved."""
        angle, growth, right, down = drawn.unbind(1)
        cosine, sine = (1 + growth) * angle.cos(), (1 + growth) * angle.sin()
        rows = torch.stack([cosine, -sine, right, sine, cosine, down], dim=1)
        grid = F.affine_grid(rows.view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


def augmented(
    x: Tensor, kinds: tuple[Augmentation, ...], generator: Generator, *, count: int | None = None,
    rows: slice | None = None,
) -> Tensor:  # fmt: skip
    """Images (B, C, H, W) after all ``kinds``, in order.

    Parameters
    ----------
    generator : of random numbers, on the CPU
    count, rows : ``x`` are the images ``rows`` of a batch of ``count``; the whole batch when None

    Raises
    ------
    UserError
        for images that a kind cannot take.
    """
    for kind in kinds:
        x = kind.apply(x, _drawn(kind, x, generator, count, rows))
    return x


def augmented_pairs(
    x: Tensor, y: Tensor, kinds: tuple[Augmentation, ...], generator: Generator, *, count: int | None = None,
    rows: slice | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `augmented`, of images (B, C, H, W) and the larger ones ``y`` (B, C, scale * H, scale * W) that are their
    targets; raises `UserError` also for a kind after which they do not belong together."""
    scale = y.shape[2] // x.shape[2]
    for kind in kinds:
        if not kind.pairs:
            raise UserError(f"{kind.kind} changes an image so that it does not belong to a larger one any more")
        drawn = _drawn(kind, x, generator, count, rows)
        x, y = kind.apply(x, drawn), kind.apply(y, drawn, scale=scale)
    return x, y


def _drawn(kind: Augmentation, x: Tensor, generator: Generator, count: int | None, rows: slice | None) -> Tensor:
    """What ``kind`` draws for a whole batch, of it the part for the images ``x``."""
    _, channels, height, width = x.shape
    drawn = kind.draw(len(x) if count is None else count, (channels, height, width), generator)
    return (drawn if rows is None else drawn[rows]).to(x.device)


def _windows(x: Tensor, begins: Tensor, height: int, width: int) -> Tensor:
    """Of each of (B, C, H, W) the window of ``height`` by ``width`` at its row and column of ``begins`` (B, 2)."""
    rows = begins[:, :1] + torch.arange(height, device=x.device)
    columns = begins[:, 1:] + torch.arange(width, device=x.device)
    index = torch.arange(len(x), device=x.device)
    # Indices on both sides of a slice put the indexed axes in front: (B, H, W, C).
    return x[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
