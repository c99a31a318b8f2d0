"""Surgery: convolutions and dense layers of any torch module, a user's own too, get another kernel, by name."""

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ..layers.adder import AdderConv2d
from ..layers.binarisation import Binarisation
from ..layers.binary import BinaryConv2d
from ..layers.kernels import binarisation, check_kernel, is_binary, layer_of
from ..layers.shift import ShiftConv2d
from .counting import kernel_of

__all__ = ["Dense", "swap_kernels"]

_CONVOLUTIONS = (AdderConv2d, BinaryConv2d, ShiftConv2d, nn.Conv2d)


class Dense(nn.Module):
    """A dense layer (B, I) -> (B, O), or of tokens (B, N, I) -> (B, N, O), whose inner products are those of
    ``convolution``, which is one of 1x1 windows."""

    def __init__(self, convolution: nn.Module):
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """(B, I) -> (B, O), or (B, N, I) -> (B, N, O)."""
        if x.ndim == 3:
            tokens: Tensor = self.convolution(x.transpose(1, 2).unsqueeze(2))
            return tokens.squeeze(2).transpose(1, 2)
        result: Tensor = self.convolution(x[:, :, None, None])
        return result.flatten(1)


def swap_kernels(module: nn.Module, kernels: Mapping[str, str], *, keep_weights: bool = False) -> list[str]:
    """Give layers of ``module``, in place, the kernels of the first pattern that matches their path.

    A layer that becomes binary gets a sign in front of it, which fires on what is above 0: a ReLU that stands there
    already then changes nothing but gradients, and is better left out. Layers that have their kernel stay as they are.

    Parameters
    ----------
    kernels : by pattern of a path, as in file names: ``{"conv1": "mult", "features.*": "adder", "*": "xnor:fda"}``
    keep_weights : start from the weights as they are, not from fresh ones: those of adders have another distribution

    Returns
    -------
    paths of the layers that were swapped

    Raises
    ------
    UserError
        for an unknown kernel, a pattern that fits no convolution or dense layer, and a layer that its kernel cannot be:
        with a bias, groups, a window that is not square, or padding that is not zeros, where the kernel has none. Then
        nothing was swapped.
    """
    for kernel in kernels.values():
        try:
            check_kernel(kernel)
        except ValueError as error:
            raise UserError(str(error)) from error
    layers = {path: layer for path, layer in module.named_modules(remove_duplicate=False) if kernel_of(layer)}
    for pattern in kernels:
        if not any(fnmatchcase(path, pattern) for path in layers):
            raise UserError(f"no layer fits {pattern!r}; there are {', '.join(layers) or 'none'}")
    made: dict[str, nn.Module] = {}
    of: dict[nn.Module, nn.Module] = {}  # a layer that stands in several places stays one
    for path, layer in layers.items():
        wanted = next((kernel for pattern, kernel in kernels.items() if fnmatchcase(path, pattern)), None)
        if wanted is not None and wanted != kernel_of(layer):
            if not path:
                raise UserError("the module is a single layer; put it into another one, whose part can be swapped")
            of[layer] = of.get(layer) or _made(path, layer, wanted, keep_weights)
            made[path] = of[layer]
    for path, layer in made.items():
        owner, _, name = path.rpartition(".")
        setattr(module.get_submodule(owner), name, layer)
    return list(made)


def _made(path: str, layer: nn.Module, kernel: str, keep_weights: bool) -> nn.Module:
    """What takes the place of ``layer`` at ``path``."""
    how = binarisation(kernel) if is_binary(kernel) else None
    kind = BinaryConv2d if how is not None else layer_of(kernel)
    options = _options(path, layer)
    more = {**_extra(kind, kernel, path, options), **({} if how is None else _binary(how))}
    window = options["kernel_size"]
    found = kind(options["in_channels"], options["out_channels"], window, stride=options["stride"],
                 padding=options["padding"], **more)  # fmt: skip
    weight = layer.weight
    assert isinstance(weight, Tensor)
    found = found.to(device=weight.device, dtype=weight.dtype).train(layer.training)
    if keep_weights:
        with torch.no_grad():
            assert isinstance(found.weight, Tensor)
            found.weight.copy_(weight.reshape(found.weight.shape))
            if isinstance(layer.bias, Tensor):
                found.bias.copy_(layer.bias)  # type: ignore[operator]
    if how is not None:
        activation = how.sign(options["in_channels"]).train(layer.training)
        activation.at_zero = False
        found = nn.Sequential(OrderedDict[str, nn.Module](sign=activation, convolution=found))
    return Dense(found) if isinstance(layer, nn.Linear) else found


def _binary(how: Binarisation) -> dict[str, Any]:
    return {
        "surrogate": how.weights, "scale": how.scale, "noise": how.noise, "at_zero": how.at_zero, "border": how.border,
        "scale_gradient": how.scale_gradient,
    }  # fmt: skip


def _options(path: str, layer: nn.Module) -> dict[str, Any]:
    """What ``layer`` is built from, one number for rows and columns."""
    if isinstance(layer, nn.Linear):
        return {
            "in_channels": layer.in_features, "out_channels": layer.out_features, "kernel_size": 1, "stride": 1,
            "padding": 0, "dilation": 1, "groups": 1, "bias": layer.bias is not None,
        }  # fmt: skip
    assert isinstance(layer, _CONVOLUTIONS)
    if getattr(layer, "padding_mode", "zeros") != "zeros" or isinstance(layer.padding, str):
        raise UserError(f"layer {path!r} must pad with zeros, by a number of them, to get another kernel")
    found: dict[str, Any] = {"in_channels": layer.in_channels, "out_channels": layer.out_channels}
    for name in ("kernel_size", "stride", "padding", "dilation", "groups"):
        value = getattr(layer, name, 1)
        values = set(value) if isinstance(value, tuple) else {value}
        if len(values) > 1:
            raise UserError(f"layer {path!r} must have the same {name} for rows and columns, not {value}")
        found[name] = values.pop()
    return {**found, "bias": getattr(layer, "bias", None) is not None}


def _extra(kind: type[nn.Module], kernel: str, path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``options`` that not every kernel has, as arguments of ``kind``; a `UserError` for one that it lacks."""
    known, found = inspect.signature(kind).parameters, {}
    for name, usual in (("dilation", 1), ("groups", 1), ("bias", False)):
        if name in known:
            found[name] = options[name]
        elif options[name] != usual:
            what = "a bias; leave it to a batch norm" if name == "bias" else f"{name} {options[name]}"
            raise UserError(f"layer {path!r} cannot have the {kernel} kernel, which has no {name}: it has {what}")
    return found
