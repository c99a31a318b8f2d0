"""Checkpoints: safetensors files that say which network they hold."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ..common.errors import UserError
from ..common.files import write_bytes
from .zoo import build

__all__ = ["Recipe", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is needed to build the network again, and how it was trained."""

    network: str
    kernel: str
    shape: tuple[int, int, int]
    classes: int
    data: str
    seed: int
    epochs: int
    accuracy: float


def save_checkpoint(path: Path, module: nn.Module, recipe: Recipe) -> None:
    """Write weights and recipe to ``path``, whole or not at all."""
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"addax": json.dumps({"kind": "checkpoint", **asdict(recipe)})}))


def load_checkpoint(path: Path) -> tuple[nn.Module, Recipe]:
    """Read a checkpoint and build its network, in evaluation mode.

    Raises
    ------
    UserError
        when the file is missing, truncated, foreign, holds other shapes than its network, or NaN or infinite weights.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a checkpoint: {error}") from error
    try:
        values = json.loads(metadata["addax"])
        if values.pop("kind") != "checkpoint":
            raise KeyError("kind")
        recipe = Recipe(**{**values, "shape": tuple(values["shape"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a safetensors file, but not an addax checkpoint") from error
    module = build(recipe.network, kernel=recipe.kernel, shape=recipe.shape, classes=recipe.classes)
    check_finite(tensors, str(path))
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit {recipe.network}: {str(error).splitlines()[-1].strip()}") from error
    return module.eval(), recipe


def check_finite(tensors: dict[str, torch.Tensor], source: str) -> None:
    """Refuse NaN and infinite weights by name."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"tensor {name!r} of {source} holds NaN or infinite values")
