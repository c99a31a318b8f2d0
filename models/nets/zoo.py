"""The registry of networks that the command line knows by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError
from ..layers.kernels import KERNELS, Kernels
from .counting import Counts, count
from .edsr import EDSR
from .efficientnet import EFFICIENTNET_B0, TINYNETS, EfficientNet, Scaling
from .fadn import FADN
from .lenet5 import LeNet5
from .mobilenet_v2 import MobileNetV2
from .resnet import ResNet20, ResNet32
from .resnet_imagenet import ResNet18, ResNet34, ResNet50
from .transformers.ipt import IPT, IPT_TASKS
from .transformers.tnt import TNT, TNT_SIZES, TNTSize
from .transformers.vit import VisionTransformer
from .vgg_small import VGGSmall

__all__ = ["NETWORKS", "ZooNetwork", "build", "counts_of", "shipped_checkpoint", "shipped_checkpoints"]

_CIFAR, _IMAGENET = (3, 32, 32), (3, 224, 224)
_ADDERNET, _HE = "AdderNet, 1912.13200", "He et al. 2016"


@dataclass(frozen=True, kw_only=True)
class ZooNetwork:
    """One entry of the zoo.

    Attributes
    ----------
    make : called with ``kernel=``, ``shape=``, ``classes=``
    shape, classes : (C, H, W) of its default data, and how many they have; None where it makes an image
    paper : where the network comes from
    category : what it does
    kernel : with which it is counted: the one it is known for
    scale : how many times it makes an image as large; None where it makes none
    tasks : of a network that does several things to images, or of one that might; it begins with the first
    survey : of a transformer, the one of `SURVEY` in which it has its place; None for others
    """

    name: str
    make: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    paper: str
    category: str = "classification"
    classes: int | None = 10
    kernel: str = "adder"
    scale: int | None = None
    tasks: tuple[str, ...] = ()
    survey: str | None = None


def _scaled(name: str, scaling: Scaling, paper: str) -> ZooNetwork:
    """The entry of an `EfficientNet`."""
    return ZooNetwork(
        name=name, make=partial(EfficientNet, scaling=scaling), shape=(3, scaling.pixels, scaling.pixels), paper=paper,
        classes=1000, kernel="mult",
    )  # fmt: skip


def _enlarging(
    name: str, scale: int, paper: str, *, kind: Callable[..., nn.Module] = EDSR, **options: Any
) -> ZooNetwork:  # fmt: skip
    """The entry of an `EDSR`, or of a ``kind`` of it, whose results are 1280 x 720 pixels, as papers count."""
    return ZooNetwork(
        name=f"{name}-x{scale}", make=partial(kind, scale=scale, **options), shape=(3, 720 // scale, 1280 // scale),
        paper=paper, category="super-resolution", classes=None, kernel="mult", scale=scale,
    )  # fmt: skip


def _vision(name: str, make: Callable[..., nn.Module], paper: str) -> ZooNetwork:
    """The entry of a transformer that classifies large images."""
    return ZooNetwork(
        name=name, make=make, shape=_IMAGENET, paper=paper, classes=1000, kernel="mult", survey="backbone"
    )


def _digits_vit(*, shape: tuple[int, int, int], **options: Any) -> nn.Module:
    """A small `VisionTransformer`: 17 tokens of 64 numbers, whatever the size of an image, and 4 blocks."""
    return VisionTransformer(
        shape=shape, patch=_quarter(shape), width=64, heads=4, blocks=4, depth_rate=0.0, **options
    )  # fmt: skip


def _digits_tnt(*, shape: tuple[int, int, int], **options: Any) -> nn.Module:
    """A small `TNT`: 17 tokens of 64 numbers, 16 words of 12 in each patch of 7x7 or 8x8 pixels, and 4 blocks."""
    size = TNTSize(
        width=64, heads=4, inner_width=12, inner_heads=2, blocks=4, patch=_quarter(shape), window=3, stride=2
    )  # fmt: skip
    return TNT(size=size, shape=shape, depth_rate=0.0, **options)


def _quarter(shape: tuple[int, int, int]) -> int:
    """Rows and columns of a patch, of which four stand in a row; a ``ValueError`` for images that do not part so."""
    _, height, width = shape
    if height != width or height % 4:
        raise ValueError(f"small transformers need square images of 4, 8, 12, .. pixels, not {height}x{width}")
    return height // 4


def _processing(name: str, *tasks: str) -> ZooNetwork:
    """The entry of an `IPT` that does the first of ``tasks``."""
    scale = IPT_TASKS[tasks[0]]
    return ZooNetwork(
        name=name, make=partial(IPT, tasks=tasks), shape=(3, 48, 48), paper=_IPT, classes=None, kernel="mult",
        category="restoration" if scale == 1 else "super-resolution", scale=scale, tasks=tasks, survey="low-level",
    )  # fmt: skip


_DEIT, _HAN = "DeiT, 2012.12877", "TNT, 2103.00112"
_IPT = "IPT, 2012.00364"
_DIGITS = (1, 32, 32)
_LIM, _GHOST, _FADN = "Lim et al. 2017, 1707.02921", "GhostSR, 2101.08525", "FADN, 2103.08357"
_SMALL: dict[str, Any] = {"blocks": 8, "features": 32}
_FULL: dict[str, Any] = {"blocks": 32, "features": 256, "factor": 0.1}
NETWORKS = {
    network.name: network
    for network in (
        ZooNetwork(name="lenet5", make=LeNet5, shape=(1, 16, 16), paper="LeCun et al. 1998; AdderNet, 2101.10015"),
        ZooNetwork(
            name="vgg-small", make=VGGSmall, shape=_CIFAR, paper=f"{_ADDERNET}; FDA-BNN, 2103.00841"
        ),
        ZooNetwork(name="resnet20", make=ResNet20, shape=_CIFAR, paper=f"{_HE}; {_ADDERNET}"),
        ZooNetwork(name="resnet32", make=ResNet32, shape=_CIFAR, paper=f"{_HE}; {_ADDERNET}"),
        ZooNetwork(name="resnet18", make=ResNet18, shape=_IMAGENET, classes=1000, paper=f"{_HE}; {_ADDERNET}"),
        ZooNetwork(name="resnet34", make=ResNet34, shape=_IMAGENET, classes=1000, paper=_HE),
        ZooNetwork(name="resnet50", make=ResNet50, shape=_IMAGENET, classes=1000, paper=f"{_HE}; {_ADDERNET}"),
        ZooNetwork(
            name="mobilenet-v2", make=MobileNetV2, shape=_IMAGENET, classes=1000, kernel="mult",
            paper="Sandler et al. 2018, 1801.04381",
        ),
        _scaled("efficientnet-b0", EFFICIENTNET_B0, "Tan and Le 2019, 1905.11946"),
        *(_scaled(f"tinynet-{name}", scaling, "TinyNet, 2010.14819") for name, scaling in TINYNETS.items()),
        *(_enlarging("edsr-small", scale, _LIM, **_SMALL) for scale in (2, 3, 4)),
        *(_enlarging("ghostsr-small", scale, _GHOST, share=0.5, **_SMALL) for scale in (2, 3, 4)),
        *(_enlarging("fadn-small", scale, _FADN, kind=FADN, **_SMALL) for scale in (2, 3, 4)),
        *(_enlarging("edsr-baseline", scale, _LIM) for scale in (2, 3, 4)),
        *(_enlarging("fadn-baseline", scale, _FADN, kind=FADN) for scale in (2, 3, 4)),
        *(_enlarging("edsr", scale, _LIM, **_FULL) for scale in (2, 3, 4)),
        *(_enlarging("ghostsr", scale, _GHOST, share=0.5, **_FULL) for scale in (2, 3, 4)),
        *(_enlarging("fadn", scale, _FADN, kind=FADN, **_FULL) for scale in (2, 3, 4)),
        ZooNetwork(
            name="vit-digits", make=_digits_vit, shape=_DIGITS, kernel="mult", survey="backbone",
            paper="Dosovitskiy et al. 2021, 2010.11929",
        ),
        ZooNetwork(
            name="tnt-digits", make=_digits_tnt, shape=_DIGITS, kernel="mult", survey="backbone", paper=_HAN
        ),
        _vision("deit-tiny", partial(VisionTransformer, width=192, heads=3), _DEIT),
        _vision("deit-small", partial(VisionTransformer, width=384, heads=6), _DEIT),
        *(_vision(f"tnt-{name}", partial(TNT, size=size), _HAN) for name, size in TNT_SIZES.items()),
        *(_processing(f"ipt-{task}", task) for task in IPT_TASKS),
        _processing("ipt", *IPT_TASKS),
    )
}  # fmt: skip


def build(
    name: str, *, kernel: str | Kernels, shape: tuple[int, int, int] | None = None, classes: int | None = None,
    **options: Any,
) -> nn.Module:  # fmt: skip
    """Make a network of the zoo with fresh weights.

    Parameters
    ----------
    kernel : one of `KERNELS`, ``xnor:`` and the name of a binarisation, or a text as `Kernels.of` reads it
    classes : unless given, as many as its default data have
    options : those of the network beyond these

    Raises
    ------
    UserError
        for an unknown name or kernel, or a shape that the network cannot take.
    """
    entry = network_called(name)
    if isinstance(kernel, str) and kernel.partition(",")[0].partition(":")[0] not in KERNELS:
        raise UserError(f"unknown kernel {kernel!r}; known: {', '.join(KERNELS)}")
    try:
        return entry.make(kernel=kernel, shape=shape or entry.shape, classes=classes or entry.classes, **options)
    except ValueError as error:
        raise UserError(str(error)) from error


def network_called(name: str) -> ZooNetwork:
    """The network of the zoo called ``name``; a `UserError` where there is none."""
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]


@cache
def counts_of(name: str, *, kernel: str | None = None) -> Counts:
    """Parameters and terms of a network of the zoo at its default shape and classes, without the memory for it."""
    entry = network_called(name)
    with torch.device("meta"):
        return count(build(name, kernel=kernel or entry.kernel), entry.shape)


def shipped_checkpoint(name: str, kernel: str) -> Path | None:
    """The checkpoint of ``name`` that comes with addax, trained on ``digits``; None when there is none."""
    return shipped_checkpoints(name).get(kernel)


def shipped_checkpoints(name: str) -> dict[str, Path]:
    """The checkpoints of ``name`` that come with addax, by kernel."""
    folder = Path(str(resources.files(f"{__package__.rpartition('.')[0]}.checkpoints")))
    found = sorted(folder.glob(f"{name}-*.safetensors"))
    return {path.stem.removeprefix(f"{name}-"): path for path in found}
