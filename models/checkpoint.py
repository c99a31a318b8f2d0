"""Checkpoints: safetensors files that say which network they hold."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ..common.errors import UserError
from ..common.files import write_bytes
from ..common.tensors import HEADER, read_tensors
from .zoo import build

__all__ = ["Recipe", "check_finite", "fit", "load_checkpoint", "read_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is needed to build the network again, and how it was trained.

    Attributes
    ----------
    bits : that it was trained at; None for a float network
    grids : by path of layer, what its quantised layers are built from
    """

    network: str
    kernel: str
    shape: tuple[int, int, int]
    classes: int
    data: str
    seed: int
    epochs: int
    accuracy: float
    bits: int | None = None
    grids: dict[str, dict[str, Any]] | None = None

    def check(self) -> None:
        """Raise ``TypeError`` for values that cannot describe a network."""
        if not isinstance(self.network, str) or not isinstance(self.kernel, str):
            raise TypeError("network and kernel must be names")
        sizes = (*self.shape, self.classes)
        if len(self.shape) != 3 or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise TypeError(f"shape must be three positive integers and classes one, not {self.shape}, {self.classes}")


def save_checkpoint(path: Path, module: nn.Module, recipe: Recipe) -> None:
    """Write weights and recipe to ``path``, whole or not at all."""
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    write_bytes(path, save(tensors, metadata={HEADER: json.dumps({"kind": "checkpoint", **asdict(recipe)})}))


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Recipe]:
    """The tensors and the recipe of a checkpoint.

    Raises
    ------
    UserError
        when the file is missing, truncated or foreign.
    """
    tensors, values = read_tensors(path, "pt", "an addax checkpoint")
    try:
        if values.pop("kind") != "checkpoint":
            raise KeyError("kind")
        recipe = Recipe(**{**values, "shape": tuple(values["shape"])})
        recipe.check()
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is a safetensors file, but not an addax checkpoint: {error}") from error
    return tensors, recipe


def load_checkpoint(path: Path) -> tuple[nn.Module, Recipe]:
    """Read a checkpoint of a float network and build it, in evaluation mode.

    Raises
    ------
    UserError
        when the file is missing, truncated, foreign, trained at few bits, or holds other shapes than its network, or
        NaN or infinite weights.
    """
    tensors, recipe = read_checkpoint(path)
    if recipe.bits is not None:
        raise UserError(f"{path} is trained at {recipe.bits} bits; a float network is wanted here")
    try:
        module = build(recipe.network, kernel=recipe.kernel, shape=recipe.shape, classes=recipe.classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return fit(module, tensors, str(path), recipe.network), recipe


def fit(module: nn.Module, tensors: dict[str, torch.Tensor], source: str, network: str) -> nn.Module:
    """Give ``module`` the tensors of ``source`` and return it in evaluation mode.

    Raises
    ------
    UserError
        when tensors are missing, superfluous or of another shape, all of them named, or hold NaN or infinite values.
    """
    own = module.state_dict()
    faults = []
    if missing := [name for name in own if name not in tensors]:
        faults.append(f"missing {', '.join(missing)}")
    if extra := [name for name in tensors if name not in own]:
        faults.append(f"unknown {', '.join(extra)}")
    for name in own:
        if name in tensors and tensors[name].shape != own[name].shape:
            faults.append(f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}")
    if faults:
        raise UserError(f"{source} does not fit {network}: {'; '.join(faults)}")
    check_finite(tensors, source)
    module.load_state_dict(tensors)
    return module.eval()


def check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    """Refuse NaN and infinite weights by name."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"tensor {name!r} of {source} holds NaN or infinite values")
