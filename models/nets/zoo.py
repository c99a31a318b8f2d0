"""The registry of networks that the command line knows by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from torch import nn

from ...common.errors import UserError
from ..layers.kernels import KERNELS
from .lenet5 import LeNet5
from .resnet import ResNet20

__all__ = ["NETWORKS", "ZooNetwork", "build", "shipped_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class ZooNetwork:
    """One entry of the zoo.

    Attributes
    ----------
    make : called with ``kernel=``, ``shape=``, ``classes=``
    shape : (C, H, W) of its default data
    paper : where the network comes from
    """

    name: str
    make: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    paper: str


NETWORKS = {
    network.name: network
    for network in (
        ZooNetwork(name="lenet5", make=LeNet5, shape=(1, 16, 16), paper="LeCun et al. 1998; AdderNet, 2101.10015"),
        ZooNetwork(name="resnet20", make=ResNet20, shape=(3, 32, 32), paper="He et al. 2016; AdderNet, 1912.13200"),
    )
}


def build(name: str, *, kernel: str, shape: tuple[int, int, int] | None = None, classes: int = 10) -> nn.Module:
    """Make a network of the zoo with fresh weights.

    Raises
    ------
    UserError
        for an unknown name or kernel, or a shape that the network cannot take.
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    if kernel not in KERNELS:
        raise UserError(f"unknown kernel {kernel!r}; known: {', '.join(KERNELS)}")
    entry = NETWORKS[name]
    try:
        return entry.make(kernel=kernel, shape=shape or entry.shape, classes=classes)
    except ValueError as error:
        raise UserError(str(error)) from error


def shipped_checkpoint(name: str, kernel: str) -> Path | None:
    """The checkpoint of ``name`` that comes with addax, trained on ``digits``; None when there is none."""
    path = Path(str(resources.files(f"{__package__.rpartition('.')[0]}.checkpoints"))) / f"{name}-{kernel}.safetensors"
    return path if path.is_file() else None
