"""What a network that enlarges images learns from, is measured on and is calibrated with: tiles of pictures, and whole
pictures one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...common.errors import UserError
from .pairs import PicturePairs

__all__ = ["TileExamples", "WholeExamples", "crops"]


@dataclass(frozen=True, kw_only=True)
class TileExamples:
    """Square tiles of the small images, each with what it is in the large one.

    Neighbours overlap by ``patch - 1`` pixels, so that every place at which a patch can be cut out lies in one tile:
    whoever cuts a patch out of each tile, anywhere, takes all places equally often, borders of pictures aside.

    Attributes
    ----------
    patch : pixels of what will be cut out, in both directions; a tile has twice as many, where the pictures have

    Raises
    ------
    UserError
        from the constructor: for a picture smaller than a patch, by name.
    """

    pairs: PicturePairs
    patch: int

    def __post_init__(self) -> None:
        for pair in self.pairs.pairs:
            if min(pair.low.shape[1:]) < self.patch:
                height, width = pair.low.shape[1:]
                raise UserError(
                    f"{pair.name} is {height}x{width} pixels{_when_small(self.pairs)}, and patches of {self.patch} are "
                    "cut out"
                )

    @cached_property
    def size(self) -> int:
        """Rows and columns of a tile of a small image."""
        return min(2 * self.patch, *(size for pair in self.pairs.pairs for size in pair.low.shape[1:]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every tile of a small image."""
        return len(self.pairs.pairs[0].low), self.size, self.size

    @cached_property
    def places(self) -> list[tuple[int, int, int]]:
        """Of every tile: which picture, row and column."""
        step = self.size - self.patch + 1
        return [
            (index, row, column)
            for index, pair in enumerate(self.pairs.pairs)
            for row, column in product(*(_starts(size, self.size, step) for size in pair.low.shape[1:]))
        ]

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels of the small tiles (B, C, H, W) and of the large ones (B, C, scale * H, scale * W), uint8."""
        for chosen in order:
            tiles = [self._tile(int(number)) for number in chosen]
            yield (
                torch.from_numpy(np.stack([low for low, _ in tiles])),
                torch.from_numpy(np.stack([high for _, high in tiles])),
            )

    def _tile(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        index, row, column = self.places[number]
        pair, scale, size = self.pairs.pairs[index], self.pairs.scale, self.size
        low = pair.low[:, row : row + size, column : column + size]
        row, column, size = scale * row, scale * column, scale * size
        return low, pair.high[:, row : row + size, column : column + size]


@dataclass(frozen=True, kw_only=True)
class WholeExamples:
    """Pictures as they are; each is a batch of its own, for they differ in size."""

    pairs: PicturePairs

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first small image."""
        channels, height, width = self.pairs.pairs[0].low.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.pairs)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels of the small and of the large image, (1, C, ..) uint8; a ``ValueError`` for more than one at once."""
        for (number,) in order:
            pair = self.pairs.pairs[int(number)]
            yield torch.from_numpy(pair.low)[None], torch.from_numpy(pair.high)[None]


def crops(pairs: PicturePairs, shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    """``count`` pieces of the small images, (N, C, H, W) of ``shape``, from all pictures alike, always the same; fewer
    where there are no more places for them.

    Raises
    ------
    UserError
        where all pictures are smaller.
    """
    channels, height, width = shape
    if any(len(pair.low) != channels for pair in pairs.pairs):
        raise UserError(f"pictures of {pairs.said} have other than {channels} channels")
    large = [pair.low for pair in pairs.pairs if pair.low.shape[1] >= height and pair.low.shape[2] >= width]
    if not large:
        raise UserError(
            f"no picture of {pairs.said} has {height}x{width} pixels{_when_small(pairs)}; ask for less with --size"
        )
    random = np.random.default_rng(0)
    rooms = [(low.shape[1] - height + 1, low.shape[2] - width + 1) for low in large]
    places = [random.permutation(rows * columns) for rows, columns in rooms]
    count = min(count, sum(map(len, places)))
    pieces: list[NDArray[np.uint8]] = []
    for turn in range(max(map(len, places))):
        for low, (_, columns), own in zip(large, rooms, places, strict=True):
            if len(pieces) < count and turn < len(own):
                row, column = divmod(int(own[turn]), columns)
                pieces.append(low[:, row : row + height, column : column + width])
        if len(pieces) == count:
            break
    return np.stack(pieces)


def _when_small(pairs: PicturePairs) -> str:
    return "" if pairs.scale == 1 else " when made small"


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where pieces of ``size`` begin that cover ``length``."""
    return [*range(0, length - size, step), length - size]
