"""The adder convolution on GPUs, by the kernels of `gpu_kernels`."""

import contextlib
import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .plain import PlainBackEnd
from .shape import ConvolutionShape

__all__ = ["TILES", "GpuBackEnd", "Tile", "gpu_back_end", "has_instructions", "on_device_of", "tile_for"]

_MOST_PIXELS = 1 << 30
"""Of all images: kernels number them in 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What one program of a kernel computes: ``threads_down * threads_right`` threads, each ``pixels`` x ``channels``.

    All are powers of two. With ``pixels < threads_right`` and ``channels < threads_down``, or with ``threads_right`` 1,
    Triton lays a tile out as it is meant.
    """

    pixels: int
    channels: int
    threads_down: int
    threads_right: int

    @property
    def down(self) -> int:
        """Pixels of a program."""
        return self.pixels * self.threads_down

    @property
    def right(self) -> int:
        """Channels of a program."""
        return self.channels * self.threads_right

    def options(self, inner: int) -> dict[str, int]:
        """How a kernel is compiled with this tile, whose innermost loop has ``inner`` rounds."""
        return {
            "RP": self.pixels, "RC": self.channels, "TP": self.threads_down, "TC": self.threads_right,
            "UNROLL": math.gcd(inner, 4), "num_warps": max(1, self.threads_down * self.threads_right // 32),
        }  # fmt: skip


def _tile(*sizes: int) -> Tile:
    return Tile(**dict(zip(("pixels", "channels", "threads_down", "threads_right"), sizes, strict=True)))


TILES = (
    _tile(8, 8, 16, 16), _tile(4, 8, 16, 8), _tile(2, 8, 32, 4), _tile(2, 16, 128, 1), _tile(4, 8, 128, 1),
    _tile(4, 4, 128, 1), _tile(4, 2, 128, 1), _tile(4, 1, 128, 1),
)  # fmt: skip
"""By the channels of a program, 128 to 1. In the machine code for Hopper more than two of three instructions of their
inner loops are the terms' own; no device has measured them."""
_FEW_PROGRAMS = 256
"""Below so many of the widest tile a GPU is not filled, and the next makes more of them."""


def tile_for(pixels: int, channels: int, groups: int) -> Tile:
    """The widest tile that ``channels`` of one group fill, or the next where ``pixels`` make too few programs of it."""
    widest, *narrower = (tile for tile in TILES if tile.right <= channels)
    programs = -(-pixels // widest.down) * -(-channels // widest.right) * groups
    return narrower[0] if widest is TILES[0] and programs < _FEW_PROGRAMS else widest


class GpuBackEnd:
    """Kernels in Triton for results and feature gradients, torch's own convolution for filter gradients; see
    `back_ends.BackEnd`.

    Maps are read by their strides; those whose pixels lie side by side, torch's usual format, are read fastest.

    Parameters
    ----------
    kernels : the module `gpu_kernels`
    asm : whether the device has the instructions of `has_instructions`
    """

    name = "triton"

    def __init__(self, kernels: Any, *, asm: bool):
        self.kernels, self._asm = kernels, asm

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, shape: ConvolutionShape, out: Tensor,
        tile: Tile | None = None,
    ) -> None:  # fmt: skip
        """As `BackEnd` says, by ``tile``, or one that is chosen by the sizes."""
        pixels = shape.images * shape.rows * shape.columns
        if max(pixels, shape.images * shape.height * shape.width) > _MOST_PIXELS:
            PlainBackEnd().forward(x, weight, bias, shape, out)
            return
        groups, inputs, outputs = _groups(shape)
        tile = tile or tile_for(pixels, outputs, groups)
        # [group][tap][input][filter]
        held = _filled(weight.unflatten(0, (groups, -1)).flatten(3).permute(0, 3, 2, 1), tile)
        pitch = held.shape[-1]
        grid = (-(-pixels // tile.down), groups * pitch // tile.right)
        with on_device_of(x):
            self.kernels.adder_forward[grid](
                x, held, None if bias is None else bias.float(), out, *_sizes(shape),
                x.stride(0), x.stride(2), x.stride(3), *out.stride(), INPUTS=inputs, OUTPUTS=outputs, PITCH=pitch,
                STEP=x.stride(1), BIAS=bias is not None, **tile.options(inputs),
            )  # fmt: skip

    def features(
        self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape, out: Tensor,
        tile: Tile | None = None,
    ) -> None:  # fmt: skip
        """As `BackEnd` says, by ``tile``, or one that is chosen by the sizes."""
        if shape.images * max(shape.rows * shape.columns, shape.height * shape.width) > _MOST_PIXELS:
            PlainBackEnd().features(x, weight, upstream, shape, out)
            return
        groups, inputs, outputs = _groups(shape)
        down, right = shape.stride
        pixels = shape.images * -(-shape.height // down) * -(-shape.width // right)
        tile = tile or tile_for(pixels * down * right, inputs, groups)
        # [group][tap][filter][input]
        held = _filled(weight.unflatten(0, (groups, -1)).flatten(3).permute(0, 3, 1, 2), tile)
        pitch = held.shape[-1]
        grid = (-(-pixels // tile.down), groups * pitch // tile.right, down * right)
        with on_device_of(x):
            self.kernels.adder_features[grid](
                x, held, upstream, out, *_sizes(shape), *x.stride(), upstream.stride(0), upstream.stride(2),
                upstream.stride(3), *out.stride(), INPUTS=inputs, OUTPUTS=outputs, PITCH=pitch,
                STEP=upstream.stride(1), ASM=self._asm, **tile.options(outputs),
            )  # fmt: skip

    def filters(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape) -> Tensor:
        """As `BackEnd` says."""
        return PlainBackEnd().filters(x, weight, upstream, shape)


@functools.cache
def gpu_back_end() -> GpuBackEnd | None:
    """The kernels of this process; None where there is no Triton, which torch brings for GPUs."""
    try:
        from . import gpu_kernels
    except ImportError:
        return None
    return GpuBackEnd(gpu_kernels, asm=has_instructions())


def has_instructions() -> bool:
    """Whether every GPU has PTX's minimum of magnitudes (Ampere, 8.6, and later): kernels use it as written."""
    if torch.version.cuda is None or not torch.cuda.is_available():
        return False
    return all(torch.cuda.get_device_capability(k) >= (8, 6) for k in range(torch.cuda.device_count()))


def on_device_of(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Kernels start on the device that is current, not on that of their operands."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _groups(shape: ConvolutionShape) -> tuple[int, int, int]:
    """How many, and the channels and the filters of each."""
    return shape.groups, shape.channels // shape.groups, shape.outputs // shape.groups


def _sizes(shape: ConvolutionShape) -> tuple[int, ...]:
    return (
        shape.images, shape.height, shape.width, shape.rows, shape.columns, *shape.kernel, *shape.stride,
        *shape.padding, *shape.dilation,
    )  # fmt: skip


def _filled(values: Tensor, tile: Tile) -> Tensor:
    """float32, the last axis filled up with zeros to whole tiles."""
    return F.pad(values.detach().float(), (0, -values.shape[-1] % tile.right)).contiguous()
