"""Checkpoints: safetensors files that say which network they hold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ...common.errors import UserError
from ...common.files import write_bytes
from ...common.tensors import HEADER, read_tensors
from ..data.quality import BEST_PSNR
from ..nets.zoo import build

__all__ = [
    "MAX_CLASSES",
    "Recipe",
    "build_for",
    "check_finite",
    "fit",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
]

MAX_CLASSES = 1 << 16
"""The most classes of a classifier: three times those of the largest image data sets."""
MAX_SIDE = 1 << 16
"""The longest side of an image, and the most channels."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is needed to build the network again, and how it was trained.

    Attributes
    ----------
    classes : None for a network that makes images
    accuracy, psnr : what it reached on the test split: a share, or decibels where it makes images; None: not measured
    bits : that it was trained at; None for a float network
    grids : by path of layer, what its quantised layers are built from
    training : the recipe of the run as plain values; None where it was not written down
    """

    network: str
    kernel: str
    shape: tuple[int, int, int]
    classes: int | None
    data: str
    seed: int
    epochs: int
    accuracy: float | None = None
    bits: int | None = None
    grids: dict[str, dict[str, Any]] | None = None
    training: dict[str, Any] | None = None
    psnr: float | None = None

    def check(self) -> None:
        """Raise ``TypeError`` for values that cannot describe a network."""
        if not all(isinstance(text, str) for text in (self.network, self.kernel, self.data)):
            raise TypeError("network, kernel and data must be names")
        classes = 1 if self.classes is None else self.classes
        if len(self.shape) != 3 or not all(type(n) is int and n > 0 for n in (*self.shape, classes)):
            raise TypeError(f"shape must be three positive integers and classes one, not {self.shape}, {self.classes}")
        if classes > MAX_CLASSES or max(self.shape) > MAX_SIDE:
            what, most = ("shape", MAX_SIDE) if max(self.shape) > MAX_SIDE else ("classes", MAX_CLASSES)
            raise TypeError(f"{what} must be at most {most}, not {getattr(self, what)}")
        if not all(type(n) is int for n in (self.seed, self.epochs)):
            raise TypeError(f"seed and epochs must be integers, not {self.seed!r}, {self.epochs!r}")
        for name, best in (("accuracy", 1.0), ("psnr", BEST_PSNR)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or not 0 <= value <= best):
                raise TypeError(f"{name} must be in 0..{best:g}, not {value!r}")
        if self.bits is not None and (type(self.bits) is not int or not 2 <= self.bits <= 16):
            raise TypeError(f"bits must be in 2..16, or missing, not {self.bits!r}")
        if self.grids is not None and not (
            isinstance(self.grids, dict) and all(isinstance(entry, dict) for entry in self.grids.values())
        ):
            raise TypeError("grids must be one set of values per layer")
        if self.training is not None and not isinstance(self.training, dict):
            raise TypeError(f"training must be a set of values, not {self.training!r}")


def save_checkpoint(path: Path, module: nn.Module, recipe: Recipe) -> None:
    """Write weights and recipe to ``path``, whole or not at all."""
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    values = {name: value for name, value in asdict(recipe).items() if name != "psnr" or value is not None}
    write_bytes(Path(path), save(tensors, metadata={HEADER: json.dumps({"kind": "checkpoint", **values})}))


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Recipe]:
    """The tensors and the recipe of a checkpoint.

    Raises
    ------
    UserError
        when the file is missing, truncated or foreign.
    """
    tensors, values = read_tensors(Path(path), "pt", "an addax checkpoint")
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
    return fit(build_for(recipe, tensors, path), tensors, str(path), recipe.network), recipe


def build_for(recipe: Recipe, tensors: Mapping[str, torch.Tensor], path: Path, *, extra: bool = False) -> nn.Module:
    """The float network of ``recipe`` with fresh weights, once it is sure that ``tensors`` fit it: a file cannot ask
    for more memory than its own tensors take.

    Parameters
    ----------
    path : of the file, for messages
    extra : there may be other tensors besides, those of quantisers

    Raises
    ------
    UserError
        when there is no such network, or tensors do not fit it.
    """

    def make() -> nn.Module:
        return build(recipe.network, kernel=recipe.kernel, shape=recipe.shape, classes=recipe.classes)

    try:
        with torch.device("meta"):  # shapes without memory
            expected = make().state_dict()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (RuntimeError, OverflowError, TypeError) as error:
        raise UserError(
            f"{path}: there is no {recipe.network} of {recipe.shape} and {recipe.classes} classes"
        ) from error
    _check_shapes(expected, tensors, str(path), recipe.network, extra=extra)
    return make()


def fit(module: nn.Module, tensors: dict[str, torch.Tensor], source: str, network: str) -> nn.Module:
    """Give ``module`` the tensors of ``source`` and return it in evaluation mode.

    Raises
    ------
    UserError
        when tensors are missing, superfluous or of another shape, all of them named, or hold NaN or infinite values.
    """
    _check_shapes(module.state_dict(), tensors, source, network)
    check_finite(tensors, source)
    module.load_state_dict(tensors)
    return module.eval()


def _check_shapes(
    own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], source: str, network: str, *,
    extra: bool = False,
) -> None:  # fmt: skip
    faults = []
    if missing := [name for name in own if name not in tensors]:
        faults.append(f"missing {', '.join(missing)}")
    if not extra and (unknown := [name for name in tensors if name not in own]):
        faults.append(f"unknown {', '.join(unknown)}")
    for name in own:
        if name in tensors and tensors[name].shape != own[name].shape:
            faults.append(f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}")
    if faults:
        raise UserError(f"{source} does not fit {network}: {'; '.join(faults)}")


def check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    """Refuse NaN and infinite weights by name."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"tensor {name!r} of {source} holds NaN or infinite values")
