"""Images as patches and back, and whole pictures by overlapping tiles."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ....common.errors import UserError

__all__ = ["by_tiles", "grid_of", "image_of", "patches_of", "tile_overlap"]


def grid_of(network: str, shape: tuple[int, int, int], patch: int) -> tuple[int, int]:
    """Rows and columns of patches of images of ``shape`` (C, H, W); a ``ValueError`` where they do not fit."""
    _, height, width = shape
    if height % patch or width % patch or not height or not width:
        raise ValueError(f"{network} needs a height and width of {patch}, {2 * patch}, .., not {height}x{width}")
    return height // patch, width // patch


def patches_of(x: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, patches, C, patch, patch), row by row."""
    parted = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    return parted.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def image_of(patches: Tensor, rows: int) -> Tensor:
    """(B, patches, C, patch, patch) -> (B, C, H, W), what `patches_of` took apart, of ``rows`` rows of patches."""
    parted = patches.unflatten(1, (rows, -1))
    return parted.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def tile_overlap(tile: int) -> int:
    """Pixels by which squares of ``tile`` pixels overlap at least, unless said otherwise: a quarter, as IPT has it."""
    return tile // 4


def by_tiles(network: Callable[[Tensor], Tensor], x: Tensor, *, tile: int, overlap: int, scale: int) -> Tensor:
    """What a ``network`` that takes only square tiles makes of images of any size.

    Tiles overlap by ``overlap`` pixels or more, and each pixel is taken from the tile in which it lies further from the
    border: overlaps are cut in the middle.

    Parameters
    ----------
    network : (B, C, tile, tile) -> (B, C', scale * tile, scale * tile)
    x : (B, C, H, W)

    Raises
    ------
    UserError
        for images smaller than a tile.
    ValueError
        for an overlap that leaves nothing of a tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"an overlap of tiles is 0 or more and below their {tile} pixels, not {overlap}")
    height, width = x.shape[-2:]
    if min(height, width) < tile:
        raise UserError(f"the network takes images of {tile}x{tile} pixels or more, not of {height}x{width}")
    rows, columns = (_kept(length, tile, overlap, scale) for length in (height, width))
    bands = []
    for top, above, below in rows:
        parts = [
            network(x[..., top : top + tile, left : left + tile])[..., above:below, before:behind]
            for left, before, behind in columns
        ]
        bands.append(torch.cat(parts, -1))
    return torch.cat(bands, -2)


def _kept(length: int, tile: int, overlap: int, scale: int) -> list[tuple[int, int, int]]:
    """Of each tile along ``length``: where it begins, and from which to which pixel its result is kept."""
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    cuts = [0, *(scale * (one + tile + other) // 2 for one, other in pairwise(starts)), scale * length]
    return [
        (start, first - scale * start, last - scale * start)
        for start, (first, last) in zip(starts, pairwise(cuts), strict=True)
    ]
