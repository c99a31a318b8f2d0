"""Layers of GhostSR (Nie et al. 2021): half of a convolution's channels are the others, moved by a pixel or by none."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .adder import AdderConv2d
from .kernels import check_kernel, is_binary, layer_of

__all__ = ["GhostConv2d", "LearnedShift2d", "biased_convolution", "set_ghost_noise"]

_SIZE = 3
_FADING = 0.97
"""Of the noise, from one epoch to the next."""


class LearnedShift2d(nn.Module):
    """All channels move by the same pixel, one of nine moves (or none) that is learned; zeros come in from outside.

    The move is that of the largest magnitude in ``choice``. In training, Gumbel noise times ``noise`` is added to
    ``choice`` first, and the gradient passes through as if ``choice`` itself had been the 3x3 window.

    Parameters
    ----------
    channels : of the map

    Attributes
    ----------
    choice : (3, 3), a parameter; row and column are where a pixel comes from, the middle is no move
    noise : of 1 at the begin of the training, see `set_ghost_noise`
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.noise = 1.0
        self.choice = nn.Parameter(torch.randn(_SIZE, _SIZE))

    @property
    def offsets(self) -> Tensor:
        """(C, 2), the ``(dy, dx)`` by which the channels move, down and to the right, as in a `SpatialShift2d`."""
        row, column = divmod(int(self.choice.detach().abs().argmax()), _SIZE)
        return torch.tensor([[1 - row, 1 - column]]).repeat(self.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        choice = self.choice.flatten()
        if self.training:
            uniform = torch.rand_like(choice).clamp(torch.finfo(choice.dtype).tiny, 1 - torch.finfo(choice.dtype).eps)
            choice = choice - self.noise * torch.log(-torch.log(uniform))
        chosen = F.one_hot(choice.abs().argmax(), _SIZE * _SIZE).to(x.dtype)
        if self.training:
            chosen = chosen - choice.detach() + choice
        window = chosen.view(1, 1, _SIZE, _SIZE).expand(self.channels, 1, _SIZE, _SIZE)
        return F.conv2d(x, window, padding=_SIZE // 2, groups=self.channels)

    def extra_repr(self) -> str:
        """Number of channels."""
        return f"{self.channels}"


class GhostConv2d(nn.Module):
    """A 3x3 convolution to a share of the channels, and behind these the first of them again, moved.

    Parameters
    ----------
    kernel : of the convolution: ``mult`` or ``adder``
    share : of the channels that are computed, one half at least; rounded up

    Raises
    ------
    ValueError
        for a share outside of 0.5..1, and a kernel whose layers have no bias.
    """

    def __init__(self, kernel: str, in_channels: int, out_channels: int, *, share: float = 0.5):
        super().__init__()
        if not 0.5 <= share <= 1:
            raise ValueError(f"a ghost convolution computes a share of 0.5 to 1 of its channels, not {share}")
        computed = math.ceil(out_channels * share)
        self.ghosts = out_channels - computed
        self.primary = biased_convolution(kernel, in_channels, computed)
        self.shift = LearnedShift2d(self.ghosts) if self.ghosts else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        computed: Tensor = self.primary(x)
        if self.shift is None:
            return computed
        return torch.cat([computed, self.shift(computed[:, : self.ghosts])], 1)


def biased_convolution(
    kernel: str, in_channels: int, out_channels: int, size: int = _SIZE, *, stride: int = 1,
    padding: int | None = None, groups: int = 1,
) -> nn.Module:  # fmt: skip
    """A convolution with bias whose inner product is ``kernel``; ``ValueError`` where its layers have no bias.

    One of adders has a batch norm behind it instead: its sums are large and all negative, so that a ReLU of them would
    be zero everywhere, and stay it.

    Parameters
    ----------
    size : rows and columns of a window, 3 unless given
    padding : half of the window unless given, so that only ``stride`` makes a map smaller
    """
    check_kernel(kernel)
    padding = size // 2 if padding is None else padding
    if is_binary(kernel) or kernel == "shift":
        raise ValueError(f"the {kernel} kernel has no bias, and nothing stands behind it that adds one")
    if kernel == "adder":
        adders = AdderConv2d(in_channels, out_channels, size, stride=stride, padding=padding, groups=groups)
        return nn.Sequential(adders, nn.BatchNorm2d(out_channels))
    return layer_of(kernel)(in_channels, out_channels, size, stride=stride, padding=padding, groups=groups, bias=True)


def set_ghost_noise(module: nn.Module, epoch: int) -> None:
    """Set the noise of each `LearnedShift2d` of ``module`` for ``epoch``, from 0: it fades by 3 % each time."""
    for layer in module.modules():
        if isinstance(layer, LearnedShift2d):
            layer.noise = _FADING**epoch
