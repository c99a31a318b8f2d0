"""Layers that round in the forward pass, on Brevitas: what they compute is what the Program computes.

An adder layer's features and weights go through one quantiser with one learned step, so that what is trained is what
the shared scale computes.
"""

import math
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.core.function_wrapper import Identity, RoundSte, TensorClamp, TensorClampSte
from brevitas.core.quant import IntQuant
from brevitas.core.scaling import ParameterScaling
from brevitas.quant import Int8WeightPerChannelFloat
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.layers.adder import AdderConv2d
from ...models.layers.shift import ShiftConv2d
from ..fold.calibrate import Grid
from ..formats import Format, signed

__all__ = [
    "FeatureQuantizer", "QuantizedConv2d", "QuantizedLinear", "QuantizedShiftConv2d", "SharedScaleAdderConv2d",
]  # fmt: skip


class FeatureQuantizer(nn.Module):
    """Rounds onto a grid whose step is learned; gradients pass straight through the rounding."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.format = grid.format
        self.scaling = ParameterScaling(scaling_init=grid.step)
        self.features = self._quantizer(TensorClamp())
        # What the clamp takes from a weight is given back, so its gradient passes the clamp as well.
        self.weights = self._quantizer(TensorClampSte())
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(grid.format.bits)), persistent=False)

    def _quantizer(self, clamp: nn.Module) -> nn.Module:
        return IntQuant(
            narrow_range=False, signed=self.format.signed, input_view_impl=Identity(), float_to_int_impl=RoundSte(),
            tensor_clamp_impl=clamp,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Features, any shape."""
        result: Tensor = self.features(self._step(x, x[0].numel()), self.zero_point, self.bit_width, x)
        return result

    def _step(self, values: Tensor, count: int) -> Tensor:
        """The step; its gradient, a sum over ``count`` values, is scaled to the size of a single parameter's (Esser et
        al., "Learned Step Size Quantization")."""
        step: Tensor = self.scaling(values)
        share = 1 / math.sqrt(count * self.format.hi)
        return step * share + (step * (1 - share)).detach()

    def shared(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (O, K) on the grid of the features, and what the clamp took from each filter, (O,)."""
        # An adder layer's weights have gradients of a set size (models/layers/adder_gradients.py), which say nothing
        # about the step.
        step = self.scaling(weight).detach()
        rounded = self.weights(step, self.zero_point, self.bit_width, weight)
        lo, hi = float(self.format.lo) * step, float(self.format.hi) * step
        lost = (weight - torch.minimum(torch.maximum(weight, lo), hi)).abs().sum(1)
        return rounded, lost.detach()

    @property
    def grid(self) -> Grid:
        """The grid of the features with the step as training has left it so far."""
        return Grid(format=self.format, step=float(self.scaling(torch.zeros(1)).detach()))


class _Trained(nn.Module):
    """A layer with a quantiser in front of it; pixels come on their own grid and have none."""

    quantiser: FeatureQuantizer | None

    @property
    def grid(self) -> Grid | None:
        """The grid on which the layer reads its features, and on which lowering stores them; None for pixels."""
        return None if self.quantiser is None else self.quantiser.grid

    def rounded(self, x: Tensor) -> Tensor:
        """Features on their grid."""
        return x if self.quantiser is None else self.quantiser(x)


class SharedScaleAdderConv2d(_Trained, AdderConv2d):
    """An adder convolution whose features and weights share one learned step."""

    def __init__(self, layer: AdderConv2d, grid: Grid):
        AdderConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
            dilation=layer.dilation, groups=layer.groups,
        )  # fmt: skip
        self.weight, self.bias = layer.weight, layer.bias
        self.quantiser = FeatureQuantizer(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        assert self.quantiser is not None
        weight, lost = self.quantiser.shared(self.weight.flatten(1))
        bias = -lost if self.bias is None else self.bias - lost
        return self.distances(self.rounded(x), weight.view_as(self.weight), bias)


class QuantizedConv2d(_Trained, qnn.QuantConv2d):
    """An ordinary convolution with Brevitas' symmetric weights, one scale per output channel."""

    def __init__(self, layer: nn.Conv2d, grid: Grid | None, bits: int):
        qnn.QuantConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
            groups=layer.groups, bias=layer.bias is not None, weight_quant=Int8WeightPerChannelFloat,
            weight_bit_width=bits,
        )  # fmt: skip
        _copy(layer, self)
        self.bits = bits
        self.quantiser = None if grid is None else FeatureQuantizer(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        result: Tensor = qnn.QuantConv2d.forward(self, self.rounded(x))
        return result

    def integer_weight(self) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
        """Integers, steps (O,) and format."""
        return _integers(self, self.bits)


class QuantizedLinear(_Trained, qnn.QuantLinear):
    """A dense layer with Brevitas' symmetric weights, one scale per output."""

    def __init__(self, layer: nn.Linear, grid: Grid | None, bits: int):
        qnn.QuantLinear.__init__(
            self, layer.in_features, layer.out_features, bias=layer.bias is not None,
            weight_quant=Int8WeightPerChannelFloat, weight_bit_width=bits,
        )  # fmt: skip
        _copy(layer, self)
        self.bits = bits
        self.quantiser = None if grid is None else FeatureQuantizer(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I) -> (B, O)."""
        result: Tensor = qnn.QuantLinear.forward(self, self.rounded(x))
        return result

    def integer_weight(self) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
        """Integers, steps (O,) and format."""
        return _integers(self, self.bits)


class QuantizedShiftConv2d(_Trained, ShiftConv2d):
    """A shift convolution that reads quantised features; its weights are powers of two anyway."""

    def __init__(self, layer: ShiftConv2d, grid: Grid | None):
        ShiftConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding
        )
        self.weight = layer.weight
        self.quantiser = None if grid is None else FeatureQuantizer(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        return ShiftConv2d.forward(self, self.rounded(x))


def _copy(source: nn.Conv2d | nn.Linear, target: nn.Conv2d | nn.Linear) -> None:
    """Into the parameters that the quantiser of ``target`` already knows."""
    target.load_state_dict(source.state_dict(), strict=False)


def _integers(layer: Any, bits: int) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
    with torch.no_grad():
        quantised = layer.quant_weight()
        steps = quantised.scale.double().flatten().numpy()
        words = torch.round(quantised.value.double() / quantised.scale.double()).numpy().astype(np.int64)
    return words, np.broadcast_to(steps, (len(words),)).copy(), signed(bits)
