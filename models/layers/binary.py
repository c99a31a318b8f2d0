"""Binary layers: signs of features and of weights, with a gradient that is a value of the layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.surrogates import STRAIGHT_THROUGH, Surrogate
from .noise import NoiseAdaptation

__all__ = ["WEIGHT_SCALES", "BinaryConv2d", "Sign", "set_progress", "sign"]

WEIGHT_SCALES = ("none", "layer", "filter")
"""What multiplies signs of weights: nothing, or the mean magnitude of a layer's or of each filter's weights."""


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, at_zero: bool, surrogate: Surrogate, progress: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate, ctx.progress = surrogate, progress
        return torch.where(x >= 0 if at_zero else x > 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return upstream[0] * ctx.surrogate.slope(x, ctx.progress), None, None, None


def sign(x: Tensor, *, at_zero: bool = True, surrogate: Surrogate = STRAIGHT_THROUGH, progress: float = 0.0) -> Tensor:
    """+1 or -1 of the shape of ``x``.

    Parameters
    ----------
    at_zero : whether 0 gives +1
    surrogate : the gradient; that of Courbariaux et al. unless given, which passes where ``|x| <= 1``
    progress : share of the training that is over, 0..1, which a surrogate may depend on
    """
    result: Tensor = _Sign.apply(x, at_zero, surrogate, progress)
    return result


def set_progress(module: nn.Module, share: float) -> None:
    """Tell every binary layer of ``module`` which share of the training, 0..1, is over: gradients and the noise of
    FDA-BNN depend on it. To be called before each epoch, or each step."""
    for layer in module.modules():
        if isinstance(layer, Sign | BinaryConv2d):
            layer.progress = share


class Sign(nn.Module):
    """Binary activation; ``at_zero`` says whether it fires on ``x >= 0`` or only on ``x > 0``.

    Parameters
    ----------
    surrogate : its gradient
    noise : the noise adaptation of the channels, added to the signs in training mode only; None: none

    Attributes
    ----------
    progress : share of the training that is over, see `set_progress`
    """

    def __init__(
        self, *, at_zero: bool = True, surrogate: Surrogate = STRAIGHT_THROUGH, noise: NoiseAdaptation | None = None
    ):  # fmt: skip
        super().__init__()
        self.at_zero = at_zero
        self.surrogate = surrogate
        self.progress = 0.0
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ..), to -1 and +1."""
        found = sign(x, at_zero=self.at_zero, surrogate=self.surrogate, progress=self.progress)
        if self.noise is None or not self.training:
            return found
        return found + self.noise.alpha(self.progress) * self.noise(x.movedim(1, -1)).movedim(-1, 1)


class BinaryConv2d(nn.Module):
    """A convolution with weights -1 and +1 and without bias.

    Parameters
    ----------
    surrogate : gradient of the signs of the weights
    scale : one of `WEIGHT_SCALES`; no gradient passes through it
    noise : whether a noise adaptation of the filters is added to the signs in training mode
    at_zero : whether a weight of 0 counts as +1
    border : what a padded tap reads. -1 is binary, too; 0, as published networks pad, makes hardware hold features of
        two bits
    scale_gradient : whether the scale multiplies the gradient of the weights, too; that of DoReFa-Net does not

    Attributes
    ----------
    weight : (out_channels, in_channels / groups, kernel_size, kernel_size) real values whose signs are the weights
    progress : share of the training that is over, see `set_progress`

    Raises
    ------
    ValueError
        for an unknown scale or border.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0,
        dilation: int = 1, groups: int = 1, surrogate: Surrogate = STRAIGHT_THROUGH, scale: str = "none",
        noise: bool = False, at_zero: bool = True, border: int = -1, scale_gradient: bool = True,
    ):  # fmt: skip
        super().__init__()
        if scale not in WEIGHT_SCALES:
            raise ValueError(f"scale must be one of {', '.join(WEIGHT_SCALES)}, not {scale!r}")
        if border not in (-1, 0):
            raise ValueError(f"border must be -1 or 0, not {border}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.surrogate = surrogate
        self.scale = scale
        self.at_zero = at_zero
        self.border = border
        self.scale_gradient = scale_gradient
        self.progress = 0.0
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size))
        nn.init.uniform_(self.weight, -0.5, 0.5)
        self.noise = NoiseAdaptation(self.weight[0].numel()) if noise else None

    @property
    def gains(self) -> Tensor:
        """What the signs of each filter are multiplied by, (O,)."""
        magnitude = self.weight.detach().abs()
        if self.scale == "filter":
            return magnitude.mean((1, 2, 3))
        return (magnitude.mean() if self.scale == "layer" else magnitude.new_ones(())).expand(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        weight = sign(self.weight, at_zero=self.at_zero, surrogate=self.surrogate, progress=self.progress)
        if self.noise is not None and self.training:
            noise = self.noise(self.weight.flatten(1)).view_as(weight)
            weight = weight + self.noise.alpha(self.progress) * noise
        if self.scale != "none":
            scaled = weight * self.gains[:, None, None, None]
            weight = scaled if self.scale_gradient else scaled.detach() + (weight - weight.detach())
        padding = self.padding
        if padding and self.border:
            x, padding = F.pad(x, [padding] * 4, value=float(self.border)), 0
        return F.conv2d(x, weight, None, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Shape in torch's notation, and what is not as usual."""
        usual = (("dilation", 1), ("groups", 1), ("surrogate", STRAIGHT_THROUGH), ("scale", "none"), ("border", -1))
        other = "".join(f", {name}={getattr(self, name)}" for name, value in usual if getattr(self, name) != value)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}{other}"
        )
