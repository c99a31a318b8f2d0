"""Lowering of pools: the largest of a window, or its mean."""

import numpy as np
from torch import nn

from ...common.errors import UserError
from ..fold.assembly import Pending
from ..formats import unsigned
from ..program import AveragePool, Convolution, MaxPool
from .geometry import square
from .state import Lowering, Value
from .table import Layer, lowers

__all__ = ["average_pool", "global_pool", "max_pool"]


@lowers(nn.MaxPool2d)
def max_pool(lowering: Lowering, layer: Layer) -> Value:
    """The largest of each window, on the grid of what it reads."""
    pool, path = layer.module, layer.path
    if pool.dilation not in (1, (1, 1)) or pool.ceil_mode or pool.return_indices:
        raise UserError(f"max pool at {path!r}: dilation, ceil_mode and return_indices are not supported")
    stride = pool.stride if pool.stride is not None else pool.kernel_size
    return lowering.moved(
        layer.node, layer.source,
        lambda name, op: MaxPool(
            name=name, source=op, size=square(pool.kernel_size, path), stride=square(stride, path),
            padding=square(pool.padding, path),
        ), path,
    )  # fmt: skip


@lowers(nn.AvgPool2d)
def average_pool(lowering: Lowering, layer: Layer) -> Pending:
    """The mean of each window."""
    pool, path = layer.module, layer.path
    if pool.padding not in (0, (0, 0)) or pool.ceil_mode or pool.divisor_override is not None:
        raise UserError(f"average pool at {path!r}: padding and ceil_mode and divisor_override are not supported")
    size = square(pool.kernel_size, path)
    stride = square(pool.stride if pool.stride is not None else pool.kernel_size, path)
    return _average(lowering, layer, size, stride)


@lowers(nn.AdaptiveAvgPool2d)
def global_pool(lowering: Lowering, layer: Layer) -> Pending:
    """The mean of each channel."""
    _, height, width = lowering.shape_of(layer.source)
    if layer.module.output_size not in (1, (1, 1)):
        raise UserError(f"adaptive average pool at {layer.path!r} must make one pixel, not {layer.module.output_size}")
    return _average(lowering, layer, height, height) if height == width else _mean(lowering, layer)


def _average(lowering: Lowering, layer: Layer, size: int, stride: int) -> Pending:
    """Sums of square windows; the requantise behind them divides."""
    stored = lowering.store(layer.source)
    name = lowering.emit(AveragePool(name=lowering.unique(layer.path), source=stored.op, size=size, stride=stride))
    channels = lowering.shape(name)[0]
    zero = np.zeros(channels)
    relu = not lowering.format(stored.op).signed
    return Pending(op=name, gain=np.full(channels, stored.step / size**2), centre=zero, bias=zero, relu=relu)


def _mean(lowering: Lowering, layer: Layer) -> Pending:
    """The mean of a map that is not square: a sum by a convolution of ones; the requantise behind it divides."""
    stored = lowering.store(layer.source)
    channels, height, width = lowering.shape(stored.op)
    name = lowering.emit(
        Convolution(
            name=lowering.unique(layer.path), source=stored.op, kernel="mult", weight_format=unsigned(1),
            weight=np.ones((channels, 1, height, width), np.int64), pad=np.zeros(channels, np.int64),
            groups=channels,
        )
    )  # fmt: skip
    zero = np.zeros(channels)
    gain = np.full(channels, stored.step / (height * width))
    return Pending(op=name, gain=gain, centre=zero, bias=zero, relu=not lowering.format(stored.op).signed)
