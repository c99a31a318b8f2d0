"""The spatial shift: every channel moves by its own few pixels (Shift, GhostSR). A window without a parameter."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SpatialShift2d"]


class SpatialShift2d(nn.Module):
    """``y[c, i, j] = x[c, i - dy[c], j - dx[c]]``; zeros come in from outside. The offsets do not learn.

    Parameters
    ----------
    offsets : ``(dy, dx)`` for every channel, down and to the right

    Attributes
    ----------
    offsets : (C, 2) integers, a buffer: it is saved with the weights

    Raises
    ------
    ValueError
        for offsets that are not one pair of integers per channel.
    """

    offsets: Tensor

    def __init__(self, offsets: Tensor | Sequence[Sequence[int]]):
        super().__init__()
        given = torch.as_tensor(offsets)
        if given.ndim != 2 or given.shape[1] != 2 or given.is_floating_point() or not len(given):
            raise ValueError(
                f"offsets must be integers (dy, dx) for every channel, not {given.dtype} of {[*given.shape]}"
            )
        self.register_buffer("offsets", given.to(torch.int64).clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        channels, height, width = x.shape[1:]
        if channels != len(self.offsets):
            raise ValueError(f"offsets are for {len(self.offsets)} channels, the tensor has {channels}")
        result = torch.zeros_like(x)
        for down, right in self.offsets.unique(dim=0).tolist():
            some = (self.offsets == torch.tensor([down, right], device=x.device)).all(1)
            to_rows, rows = _overlap(height, down)
            to_columns, columns = _overlap(width, right)
            result[:, some, to_rows, to_columns] = x[:, some, rows, columns]
        return result

    def extra_repr(self) -> str:
        """Number of channels and of different offsets."""
        return f"{len(self.offsets)}, offsets={len(self.offsets.unique(dim=0))}"


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Where what moves by ``offset`` arrives, and where it comes from."""
    kept = max(size - abs(offset), 0)
    arrives, leaves = max(offset, 0), max(-offset, 0)
    return slice(arrives, arrives + kept), slice(leaves, leaves + kept)
