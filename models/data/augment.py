"""Augmentation of a batch of images, each kind a value: what is drawn at random, and what is done with it.

An augmentation draws for a whole batch and is applied to any part of it, so that several processes, each with a part,
do to every image what one process would.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ...common.errors import within

__all__ = ["Augmentation", "Crop", "Flip", "Jitter", "augmented"]


class Augmentation(Protocol):
    """One kind of augmentation."""

    kind: ClassVar[str]

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Random numbers for ``count`` images of ``shape`` (channels, height, width): (count, ..)."""
        ...

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Images (B, C, H, W) float, changed as ``drawn`` (B, ..) says; the same shape."""
        ...


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Every image is framed with ``padding`` black pixels on each side, and a window of its own size cut out."""

    kind: ClassVar[str] = "crop"
    padding: int = 4

    def __post_init__(self) -> None:
        within("padding", self.padding, 1, 1024, whole=True)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Row and column at which each window begins, (count, 2)."""
        return torch.randint(0, 2 * self.padding + 1, (count, 2), generator=generator)

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The windows of images (B, C, H, W)."""
        _, _, height, width = x.shape
        framed = F.pad(x, [self.padding] * 4)
        rows = drawn[:, :1] + torch.arange(height, device=x.device)
        columns = drawn[:, 1:] + torch.arange(width, device=x.device)
        index = torch.arange(len(x), device=x.device)
        # Indices on both sides of a slice put the indexed axes in front: (B, H, W, C).
        return framed[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Every image is mirrored left to right with probability ``share``."""

    kind: ClassVar[str] = "flip"
    share: float = 0.5

    def __post_init__(self) -> None:
        within("share", self.share, 0, 1)

    def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Whether each image is mirrored, (count,)."""
        return torch.rand(count, generator=generator) < self.share

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Images (B, C, H, W), some of them mirrored."""
        return torch.where(drawn.view(-1, 1, 1, 1), x.flip(3), x)


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

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Images (B, C, H, W), moved."""
        angle, scale, right, down = drawn.unbind(1)
        cosine, sine = (1 + scale) * angle.cos(), (1 + scale) * angle.sin()
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
    """
    _, channels, height, width = x.shape
    for kind in kinds:
        drawn = kind.draw(len(x) if count is None else count, (channels, height, width), generator)
        x = kind.apply(x, (drawn if rows is None else drawn[rows]).to(x.device))
    return x
