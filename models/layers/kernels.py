"""Layers whose kernel is a parameter, so that a network can be built like for like with every kernel."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from torch import nn

from .adder import AdderConv2d
from .binarisation import BINARISATIONS, Binarisation
from .shift import ShiftConv2d

__all__ = ["KERNELS", "Kernels", "activation", "binarisation", "check_kernel", "convolution", "is_binary", "layer_of"]

KERNELS = ("adder", "mult", "xnor", "shift")
"""Kernels that a network can be trained with."""
_BINARY = "xnor"
_LAYERS: dict[str, type[nn.Module]] = {"adder": AdderConv2d, "mult": nn.Conv2d, "shift": ShiftConv2d}


def check_kernel(kernel: str) -> None:
    """Raise ``ValueError`` for what is neither one of `KERNELS` nor ``xnor:`` and the name of a binarisation."""
    name, sign, method = kernel.partition(":")
    if name not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")
    if sign and (name != _BINARY or method not in BINARISATIONS):
        known = ", ".join(f"{_BINARY}:{name}" for name in BINARISATIONS)
        raise ValueError(f"kernels with a method are {known}, not {kernel!r}")


def is_binary(kernel: str) -> bool:
    """Whether layers of ``kernel`` read single bits."""
    return kernel.partition(":")[0] == _BINARY


def binarisation(kernel: str) -> Binarisation:
    """How a binary ``kernel`` is trained: ``xnor:fda`` names a method; ``xnor`` alone is ``xnor:straight-through``."""
    return Binarisation.named(kernel.partition(":")[2] or "straight-through")


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Which kernel each layer of a network has.

    Attributes
    ----------
    inner : of all layers but the first and the last, and those that ``layers`` names
    layers : by pattern of a path (``layer1.*``, as in file names); the first that matches holds, at the edges, too
    edges : of the first and the last layer: ``mult``, as published networks without multiplications have it

    Raises
    ------
    ValueError
        for an unknown kernel.
    """

    inner: str
    layers: Mapping[str, str] = field(default_factory=dict)
    edges: str = "mult"

    def __post_init__(self) -> None:
        for kernel in (self.inner, self.edges, *self.layers.values()):
            check_kernel(kernel)
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    @classmethod
    def of(cls, given: "str | Kernels") -> "Kernels":
        """What a text says, ``adder`` or ``adder,layer1.*=mult,conv1=adder``: the kernel between first and last layer,
        then patterns with theirs."""
        if isinstance(given, Kernels):
            return given
        inner, *named = given.split(",")
        pairs = [entry.partition("=") for entry in named]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError(f"kernels must be KERNEL or KERNEL,PATTERN=KERNEL,.. not {given!r}")
        return cls(inner=inner, layers={pattern: kernel for pattern, _, kernel in pairs})

    def at(self, path: str, *, edge: bool = False) -> str:
        """The kernel of the layer at ``path``."""
        found = (kernel for pattern, kernel in self.layers.items() if fnmatchcase(path, pattern))
        return next(found, self.edges if edge else self.inner)

    def __str__(self) -> str:
        """As `of` reads it, where the edges are as usual."""
        return ",".join((self.inner, *(f"{pattern}={kernel}" for pattern, kernel in self.layers.items())))


def layer_of(kernel: str) -> type[nn.Module]:
    """The type of the convolutions of a ``kernel`` that is not binary."""
    return _LAYERS[kernel]


def convolution(
    kernel: str, in_channels: int, out_channels: int, size: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Module:
    """A convolution without bias whose inner product is ``kernel``.

    Raises
    ------
    ValueError
        for an unknown kernel, and for groups where the kernel has none.
    """
    check_kernel(kernel)
    if is_binary(kernel):
        return binarisation(kernel).convolution(
            in_channels, out_channels, size, stride=stride, padding=padding, groups=groups
        )
    kind = layer_of(kernel)
    more: dict[str, int] = {"bias": False} if kernel == "mult" else {}
    if groups != 1:
        if "groups" not in inspect.signature(kind).parameters:
            raise ValueError(f"the {kernel} kernel has no groups, and {groups} are asked for")
        more["groups"] = groups
    return kind(in_channels, out_channels, size, stride=stride, padding=padding, **more)


def activation(kernel: str, channels: int | None = None) -> nn.Module:
    """What stands in front of a convolution of ``kernel``: a sign for a binary one, else a ReLU.

    Parameters
    ----------
    channels : of the map, which a sign with noise adaptation needs to know
    """
    return binarisation(kernel).sign(channels) if is_binary(kernel) else nn.ReLU()
