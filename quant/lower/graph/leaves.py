"""Layers that stay whole when a network is exported: ours, whose gradients and kernels ATen does not say."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....models.layers.adder import AdderConv2d
from ....models.layers.binary import BinaryConv2d, Sign
from ....models.layers.ghost import LearnedShift2d
from ....models.layers.normalize import Normalise
from ....models.layers.shift import ShiftConv2d
from ....models.layers.spatial_shift import SpatialShift2d

__all__ = ["LEAF", "leaves"]

# Identity and dropout do nothing; as nodes of their own they keep their names.
_LEAVES = (
    AdderConv2d, BinaryConv2d, ShiftConv2d, Sign, Normalise, SpatialShift2d, LearnedShift2d, nn.Identity,
    nn.Dropout,
)  # fmt: skip
_standing: list[nn.Module] = []


@torch.library.custom_op("addax::layer", mutates_args=())
def _layer(x: Tensor, index: int) -> Tensor:
    """Layer ``index`` of those that `leaves` holds; stands in a graph until a call of the layer takes its place."""
    raise RuntimeError("a layer that stands for itself is never run")


@_layer.register_fake
def _shape_of(x: Tensor, index: int) -> Tensor:
    layer = _standing[index]
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Linear):
        return F.linear(x, layer.weight)
    if isinstance(weight, Tensor) and weight.ndim == 4:
        options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")
                   if hasattr(layer, name)}  # fmt: skip
        return F.conv2d(x, weight, **options)
    return torch.empty_like(x)


LEAF = torch.ops.addax.layer.default


@contextmanager
def leaves(module: nn.Module) -> Iterator[list[str]]:
    """While this holds, every layer of ``module`` that stays whole is one call of `LEAF`; gives their paths, by index.

    Subclasses stay whole as their class does, and so does what was made to train at few bits.
    """
    found: dict[nn.Module, str] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, _LEAVES) or hasattr(layer, "quantiser"):
            found.setdefault(layer, path)
    before = [layer.__dict__.get("forward") for layer in found]
    _standing[:] = found
    try:
        for index, layer in enumerate(found):
            layer.__dict__["forward"] = partial(_layer, index=index)
        yield list(found.values())
    finally:
        _standing.clear()
        for layer, forward in zip(found, before, strict=True):
            del layer.__dict__["forward"]
            if forward is not None:
                layer.__dict__["forward"] = forward
