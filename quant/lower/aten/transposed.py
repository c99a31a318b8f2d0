"""Transposed convolutions as ordinary ones: each phase of the enlarged map is a channel, and a shuffle makes pixels."""

from dataclasses import replace

import torch
from torch import Tensor

from ....common.errors import UserError
from ...program import Shape
from ..graph.weights import Weighted
from .geometry import square

__all__ = ["as_ordinary"]


def as_ordinary(layer: Weighted, shape: Shape) -> tuple[Weighted, int]:
    """The ordinary convolution on a map of ``shape`` whose channels, shuffled into pixels by the factor that comes with
    it, are the result of the transposed convolution ``layer``.

    With stride ``s``, output ``s*q + r`` reads input ``q + d`` through tap ``r + p - s*d``; phase ``r`` of filter ``o``
    becomes filter ``(o*s + ry)*s + rx`` of the ordinary convolution.

    Raises
    ------
    UserError
        for a dilated one, and for one whose result is no whole multiple of what it reads.
    """
    path = layer.path
    if layer.dilation != (1, 1):
        raise UserError(f"transposed convolution at {path!r}: dilation is not supported")
    factor = square(layer.stride, path)
    taps, before = zip(
        *(_axis(layer, axis, shape[1 + axis], factor) for axis in (0, 1)), strict=True
    )  # fmt: skip
    weight = _phases(layer.weight.detach(), taps, factor, layer.groups)
    bias = None if layer.bias is None else layer.bias.detach().repeat_interleave(factor**2)
    (top, left), (bottom, right) = before, before
    return replace(
        layer, weight=weight, bias=bias, stride=(1, 1), padding=(top, left, bottom, right), transposed=False,
        output_padding=(0, 0),
    ), factor  # fmt: skip


def _axis(layer: Weighted, axis: int, size: int, factor: int) -> tuple[list[list[int | None]], int]:
    """For each phase the taps that the offsets ``-before..`` of the ordinary convolution read (None: none); and
    ``before``, the padding on both sides."""
    taps, padding, more = layer.weight.shape[2 + axis], layer.padding[axis], layer.output_padding[axis]
    result = (size - 1) * factor - 2 * padding + taps + more
    if result % factor:
        raise UserError(
            f"transposed convolution at {layer.path!r} makes {result} of {size} rows or columns, no whole multiple of "
            f"its stride {factor}; choose its padding or output_padding so that it is one"
        )
    rows = result // factor
    offsets = [(phase + padding - tap) // factor for phase in range(factor) for tap in range(taps)
               if (phase + padding - tap) % factor == 0]  # fmt: skip
    least, most = min(offsets), max(offsets)
    before = max(-least, most + rows - size, 0)
    after = before + size - rows  # the last offset, with as much padding behind as before
    return [
        [tap if 0 <= (tap := phase + padding - factor * offset) < taps else None
         for offset in range(-before, after + 1)]
        for phase in range(factor)
    ], before  # fmt: skip


def _phases(weight: Tensor, taps: tuple[list[list[int | None]], ...], factor: int, groups: int) -> Tensor:
    """(O * factor * factor, I / groups, Kh, Kw) of a transposed weight (I, O / groups, ..)."""
    inputs, filters = weight.shape[0] // groups, weight.shape[1]
    rows, columns = (len(axis[0]) for axis in taps)
    found = torch.zeros(groups, filters, factor, factor, inputs, rows, columns, dtype=weight.dtype)
    parts = weight.reshape(groups, inputs, filters, *weight.shape[2:]).transpose(1, 2)
    for down, line in enumerate(taps[0]):
        for right, other in enumerate(taps[1]):
            for row, ky in enumerate(line):
                for column, kx in enumerate(other):
                    if ky is not None and kx is not None:
                        found[:, :, down, right, :, row, column] = parts[..., ky, kx]
    return found.reshape(-1, inputs, rows, columns)
