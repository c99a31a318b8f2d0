"""The stem: the first layer, whose few channels would leave most lanes of a block idle. And how its input is stored."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from .....quant.ops.window import Window, pair
from .....quant.program import Convolution, Program, Unfold
from ...plan import EnginePlan
from .layers import EngineNetwork, Ints

__all__ = ["StemFold", "stem_fold", "stored_input", "with_folded_stem"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StemFold:
    """How the input is stored: stored channel ``tap * C + c`` of column x is column ``x * stride + tap * dilation -
    left`` of channel c, or its pad where there is none.

    Attributes
    ----------
    columns : taps; 1 where the input is stored as it is
    pad : (C,), of each channel
    """

    columns: int
    stride: int
    dilation: int
    left: int
    pad: Ints


def stem_fold(network: EngineNetwork) -> StemFold:
    """How the input of ``network`` is stored."""
    if network.columns == 1:
        pad = np.zeros(network.program.input.shape[0], np.int64)
        return StemFold(columns=1, stride=1, dilation=1, left=0, pad=pad)
    stem = _stem(network.program)
    window = stem.window
    return StemFold(
        columns=network.columns, stride=window.strides[1], dilation=window.dilations[1], left=window.pads[1],
        pad=stem.pad,
    )  # fmt: skip


def stored_input(network: EngineNetwork, image: NDArray[np.integer]) -> Ints:
    """(C, H, W) pixels as the engine reads them: window columns folded where the stem is, or the windows of an
    `Unfold`, where nothing else reads them."""
    pixels = image.astype(np.int64)
    if network.unfold is not None:
        return _windows(pixels, network.unfold)
    if network.columns == 1:
        return pixels
    return _folded(pixels, _stem(network.program), network.shapes[network.program.input.name][2])


def with_folded_stem(network: EngineNetwork, plan: EnginePlan) -> EngineNetwork:
    """Window columns of a stem of few channels become channels: the input is stored with, at every output column, all
    columns of its window side by side. A 3 x 3 window over 3 channels is then one of 3 x 1 over 9, in a block of 16
    that would hold 3. Nothing of it is hardware."""
    name = network.input
    readers = [layer for layer in network.layers if name in layer.reads]
    if any(name in network.stored(view) for view in (*network.views, *network.moves)):
        return network
    channels, height, width = network.shapes[name]
    stem = readers[0] if readers else None
    if stem is None or len(readers) != 1 or stem.weight is None or stem.residual == name or stem.together:
        return network
    rows, columns = stem.window.kernel
    if columns == 1 or -(-channels * columns // plan.pin) >= columns * -(-channels // plan.pin):
        return network
    window = stem.window
    folded = replace(
        stem, weight=stem.weight.transpose(0, 3, 1, 2).reshape(len(stem.weight), columns * channels, rows, 1),
        pad=np.tile(stem.pad, columns),
        window=Window(
            kernel=(rows, 1), strides=(window.strides[0], 1), dilations=(window.dilations[0], 1),
            pads=(window.pads[0], 0, window.pads[2], 0),
        ),
    )  # fmt: skip
    shapes = {**network.shapes, name: (columns * channels, height, window.result((height, width))[1])}
    layers = tuple(folded if layer is stem else layer for layer in network.layers)
    return replace(network, layers=layers, shapes=shapes, columns=columns)


def _stem(program: Program) -> Convolution:
    """The one convolution that reads the input."""
    return next(op for op in program.ops if isinstance(op, Convolution) and op.source == program.input.name)


def _folded(pixels: Ints, stem: Convolution, columns: int) -> Ints:
    """(C, H, W) pixels as (kernel columns * C, H, output columns)."""
    window, (_, height, width) = stem.window, pixels.shape
    _, left, _, right = window.pads
    wide = np.empty((len(pixels), height, left + width + right), np.int64)
    wide[:] = stem.pad[:, None, None]
    wide[:, :, left : left + width] = pixels
    taps = [
        wide[:, :, k * window.dilations[1] :][:, :, : (columns - 1) * window.strides[1] + 1 : window.strides[1]]
        for k in range(window.kernel[1])
    ]
    return np.concatenate(taps)


def _windows(pixels: Ints, op: Unfold) -> Ints:
    """(C, H, W) pixels as (channels and taps, blocks, windows of a block)."""
    window, (down, right) = op.window, pair(op.block)
    (top, left, bottom, behind), (channels, height, width) = window.pads, pixels.shape
    blocks = pixels.reshape(channels, height // down, down, width // right, right).transpose(1, 3, 0, 2, 4)
    wide = np.empty((*blocks.shape[:3], top + down + bottom, left + right + behind), np.int64)
    wide[:] = op.pad[:, None, None]
    wide[..., top : top + down, left : left + right] = blocks
    found = np.lib.stride_tricks.sliding_window_view(wide, window.kernel, axis=(3, 4))
    found = found[:, :, :, :: window.strides[0], :: window.strides[1]]
    taps, count = channels * prod(window.kernel), height // down * (width // right)
    return found.transpose(2, 5, 6, 0, 1, 3, 4).reshape(taps, count, -1)
