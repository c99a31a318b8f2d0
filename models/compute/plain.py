"""The adder convolution by operations of torch: on any device, in any type, with bounded memory."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .shape import ConvolutionShape

__all__ = ["PlainBackEnd"]

_CHUNK_ELEMENTS = 1 << 22


class PlainBackEnd:
    """The plain definition, a tap and a few images at a time; see `back_ends.BackEnd`."""

    name = "torch"

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, shape: ConvolutionShape, out: Tensor) -> None:
        """As `BackEnd` says."""
        kind = _kind(x, weight)
        filters = weight.to(kind).unflatten(0, (shape.groups, -1))  # (groups, O, I, Kh, Kw)
        for images in _chunks(shape, shape.channels + shape.outputs):
            padded = _padded(x[images].to(kind), shape)
            sums: Tensor | None = None
            for ky, kx, window in _windows(shape):
                seen = padded[window].unflatten(1, (shape.groups, -1))  # (B, groups, I, rows, columns)
                rows = seen.permute(1, 0, 3, 4, 2).flatten(1, 3)
                found = torch.cdist(rows, filters[..., ky, kx], p=1.0)  # (groups, B * rows * columns, O)
                sums = found if sums is None else sums.add_(found)
            assert sums is not None
            maps = sums.unflatten(1, (-1, shape.rows, shape.columns)).permute(1, 0, 4, 2, 3).flatten(1, 2)
            out[images] = -maps if bias is None else bias.to(kind)[:, None, None] - maps

    def features(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape, out: Tensor) -> None:
        """As `BackEnd` says."""
        kind = _kind(x, weight)
        filters = weight.to(kind).unflatten(0, (shape.groups, -1))
        for images in _chunks(shape, shape.channels):
            padded = _padded(x[images].to(kind), shape)
            found = torch.zeros_like(padded)
            blame = upstream[images].to(kind).unflatten(1, (shape.groups, -1))  # (B, groups, O, rows, columns)
            for ky, kx, window in _windows(shape):
                seen = padded[window].unflatten(1, (shape.groups, -1))  # (B, groups, I, rows, columns)
                sums = torch.zeros_like(seen)
                for o in range(shape.outputs // shape.groups):
                    difference = filters[None, :, o, :, ky, kx, None, None] - seen
                    sums.addcmul_(difference.clamp_(-1, 1), blame[:, :, o, None])
                found[window] += sums.flatten(1, 2)
            top, left = shape.padding
            out[images] = found[:, :, top : top + shape.height, left : left + shape.width]

    def filters(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape) -> Tensor:
        """As `BackEnd` says; torch's own convolution has the products."""
        total: Tensor | None = None
        kind = _kind(x, weight)
        for images in [slice(None)] if x.dtype == upstream.dtype == kind else _chunks(shape, shape.channels):
            features, blame = x[images].to(kind), upstream[images].to(kind)
            like = features.new_empty(1).expand(shape.filters)
            _, found, _ = torch.ops.aten.convolution_backward(
                blame, features, like, None, list(shape.stride), list(shape.padding), list(shape.dilation), False,
                [0, 0], shape.groups, [False, True, False],
            )  # fmt: skip
            total = found if total is None else total.add_(found)
        assert total is not None
        blame = upstream.sum((0, 2, 3), dtype=kind)
        return total.addcmul_(weight.to(kind), blame[:, None, None, None], value=-1)


def _kind(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type of the sums: float32, or float64 where an operand has it."""
    return torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)


def _chunks(shape: ConvolutionShape, channels: int) -> Iterator[slice]:
    """Images whose maps of so many channels have about `_CHUNK_ELEMENTS` values, at least one."""
    step = max(1, _CHUNK_ELEMENTS // (channels * max(shape.height * shape.width, shape.rows * shape.columns)))
    for begin in range(0, shape.images, step):
        yield slice(begin, begin + step)


def _padded(x: Tensor, shape: ConvolutionShape) -> Tensor:
    top, left = shape.padding
    return F.pad(x, (left, left, top, top))


def _windows(shape: ConvolutionShape) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """Every tap, and what all windows see of a padded map through it."""
    (down, right), (dy, dx) = shape.stride, shape.dilation
    for ky in range(shape.kernel[0]):
        for kx in range(shape.kernel[1]):
            rows = slice(ky * dy, ky * dy + (shape.rows - 1) * down + 1, down)
            columns = slice(kx * dx, kx * dx + (shape.columns - 1) * right + 1, right)
            yield ky, kx, (slice(None), slice(None), rows, columns)
