"""The frequency-aware dynamic network (Xie et al. 2021) on EDSR: every pixel of a block takes one of three branches, by
how much detail there is around it, and only that one needs to be computed for it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.adder import AdderConv2d
from ..layers.bands import BRANCHES, FrequencyBands, band_masks
from ..layers.kernels import Kernels
from ..layers.routing import Router
from .counting import noted_terms
from .edsr import EDSR, convolution_at

__all__ = ["FADN", "FADNBlock", "RoutedImage", "routed"]

_CHUNK = 1 << 14
"""Pixels whose windows are held in memory at once."""
_WINDOWS = {"high": (3, 3), "mid": (3, 1), "low": (3, 1)}
"""Of both convolutions of a branch; the first one of ``low`` is depthwise."""


class FADNBlock(nn.Module):
    """``x + factor * branch(x)``, the branch of each pixel being the one that `Router` takes: a convolution, a ReLU, a
    convolution. In training a drawn one, all of them being computed."""

    def __init__(self, kernels: Kernels, path: str, features: int, *, factor: float):
        super().__init__()
        self.factor = factor
        self.router = Router(features)
        self.branches = nn.ModuleDict()
        for name in BRANCHES:
            first, second = (
                convolution_at(
                    kernels, f"{path}.branches.{name}.{2 * k}", features, features, size=size,
                    groups=features if name == "low" and k == 0 else 1, network="fadn",
                )
                for k, size in enumerate(_WINDOWS[name])
            )  # fmt: skip
            self.branches[name] = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W), the same shape."""
        high, mid, low = (branch(x) for branch in self.branches.values())
        if self.training:
            drawn = self.router(x)
            added = drawn[:, 0:1] * high + drawn[:, 1:2] * mid + drawn[:, 2:3] * low
        else:
            number = self.router.choice(x)
            added = torch.where(number == 0, high, torch.where(number == 1, mid, low))
        return x + (added if self.factor == 1 else added * self.factor)


class FADN(EDSR):
    """An `EDSR` whose blocks are `FADNBlock`. A forward pass computes all branches of all pixels; `routed` only what is
    asked for.

    Parameters
    ----------
    kernel, shape, scale, blocks, features, factor, classes : as of an `EDSR`; predictors have multiplications
    bands : what guides the predictors in training; None: the usual choice

    Raises
    ------
    ValueError
        as by `EDSR`.
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 360, 640), scale: int = 2,
        blocks: int = 16, features: int = 64, factor: float = 1.0, bands: FrequencyBands | None = None,
        classes: int | None = None,
    ):  # fmt: skip
        super().__init__(
            kernel=kernel, shape=shape, scale=scale, blocks=blocks, features=features, factor=factor, classes=classes
        )
        self.bands = bands or FrequencyBands()

    def _block(
        self, kernels: Kernels, path: str, features: int, *, factor: float, share: float | None
    ) -> nn.Module:  # fmt: skip
        return FADNBlock(kernels, path, features, factor=factor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, C, scale * H, scale * W), not clipped."""
        if self.training:
            wanted = band_masks(x, self.bands)
            for block in self.body:
                if isinstance(block, FADNBlock):
                    block.router.wanted = wanted
        return super().forward(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutedImage:
    """What a `FADN` made of one image, and what that took.

    Attributes
    ----------
    image : (C, scale * H, scale * W), not clipped
    pixels : by block, how many pixels took each of `BRANCHES`
    macs : terms that were computed, of predictors and all other layers too; the first convolution of the high branch
        also where a neighbour is high, which its second one reads
    nominal_macs : the same without these neighbours: a block is p_high + 0.5556 p_mid + 0.0634 p_low, as is published
        for 64 features, of the most expensive branch
    dense_macs : terms of the same network whose blocks have the high branch alone and no predictor: an `EDSR`
    """

    image: Tensor
    pixels: tuple[tuple[int, int, int], ...]
    macs: int
    nominal_macs: int
    dense_macs: int


@torch.no_grad()
def routed(network: FADN, image: Tensor) -> RoutedImage:
    """Enlarge one image (C, H, W) in 0..1 and compute for every pixel the branch that it takes, and no other: the same
    as the network's own result in evaluation mode, but for the order in which floats are added.

    Raises
    ------
    ValueError
        for what is no image of as many channels as the network has.
    """
    channels = network.sub_mean.mean.numel()
    if image.ndim != 3 or len(image) != channels:
        raise ValueError(f"one image of {channels} channels is enlarged, (C, H, W), not {tuple(image.shape)}")
    training = network.training
    network.eval()
    found: list[_Taken] = []
    try:
        with noted_terms(network) as terms:
            head = network.head(network.sub_mean(image[None]))
            y = head
            for part in network.body:
                if isinstance(part, FADNBlock):
                    taken = _block(part, y)
                    found.append(taken)
                    y = taken.result
                else:
                    y = part(y)
            made = network.tail(head + y) + network.sub_mean.mean
    finally:
        network.train(training)
    rest = sum(terms.values())
    predictors = sum(taken.predictor for taken in found)
    return RoutedImage(
        image=made[0], pixels=tuple(taken.pixels for taken in found), macs=rest + sum(taken.terms for taken in found),
        nominal_macs=rest + sum(taken.nominal for taken in found),
        dense_macs=rest - predictors + sum(taken.dense for taken in found),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """What a block gave, and terms: all, those without neighbours, of the high branch everywhere, of the predictor."""

    result: Tensor
    pixels: tuple[int, int, int]
    terms: int
    nominal: int
    dense: int
    predictor: int


def _block(block: FADNBlock, x: Tensor) -> _Taken:
    """A block of one image, (1, features, H, W)."""
    number = block.router.choice(x)
    added = torch.zeros_like(x)
    terms = nominal = 0
    pixels: list[int] = []
    for k, branch in enumerate(block.branches.values()):
        assert isinstance(branch, nn.Sequential)
        first, _, second = branch
        asked = number == k
        here = _places(asked)
        read = here
        if _size(second) > 1:
            read = _places(F.max_pool2d(asked.float(), _size(second), 1, _size(second) // 2) > 0)
        inner = torch.zeros_like(x)
        _put(inner, read, F.relu(_at(first, x, read)))
        _put(added, here, _at(second, inner, here))
        pixels.append(len(here))
        terms += len(read) * _terms(first) + len(here) * _terms(second)
        nominal += len(here) * (_terms(first) + _terms(second))
    size = x.shape[2] * x.shape[3]
    dense = size * sum(_terms(layer) for layer in block.branches["high"].modules() if _is_convolution(layer))
    high, mid, low = pixels
    return _Taken(
        result=x + added * block.factor, pixels=(high, mid, low), terms=terms, nominal=nominal, dense=dense,
        predictor=size * _terms(block.router.scores),
    )  # fmt: skip


def _places(asked: Tensor) -> Tensor:
    """Where (1, 1, H, W) holds: (N, 2), rows and columns."""
    return asked[0, 0].nonzero()


def _put(to: Tensor, places: Tensor, values: Tensor) -> None:
    to[0, :, places[:, 0], places[:, 1]] = values.T


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | AdderConv2d)


def _weight(layer: nn.Module) -> Tensor:
    """The filters of a convolution, or of the one that a batch norm stands behind."""
    found = next(part for part in layer.modules() if _is_convolution(part)).weight
    assert isinstance(found, Tensor)
    return found


def _size(layer: nn.Module) -> int:
    return _weight(layer).shape[-1]


def _terms(layer: nn.Module) -> int:
    """Of one pixel."""
    return _weight(layer).numel()


def _at(layer: nn.Module, x: Tensor, places: Tensor) -> Tensor:
    """What ``layer``, which keeps the size of (1, C, H, W), gives at ``places``: (N, O)."""
    size = _size(layer)
    windows = F.pad(x, (size // 2,) * 4).unfold(2, size, 1).unfold(3, size, 1)[0]
    parts = [_unpadded(part) for part in (layer if isinstance(layer, nn.Sequential) else (layer,))]
    made = [_through(parts, windows[:, some[:, 0], some[:, 1]].transpose(0, 1)) for some in places.split(_CHUNK)]
    return torch.cat(made)


def _unpadded(layer: nn.Module) -> nn.Module:
    """``layer``, with its own weights, of windows that are cut out already."""
    if not isinstance(layer, nn.Conv2d | AdderConv2d):
        return layer
    found = copy.copy(layer)
    found.padding = 0 if isinstance(layer, AdderConv2d) else (0, 0)
    return found


def _through(parts: Sequence[nn.Module], windows: Tensor) -> Tensor:
    """(N, C, rows, columns) through layers, without their hooks: (N, O)."""
    for part in parts:
        windows = part.forward(windows)
    return windows.flatten(1)
