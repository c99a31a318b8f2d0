"""The state of a run between two epochs, in one safetensors file: all that going on to the same numbers takes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Generator, Tensor, nn

from ...common.errors import UserError
from ...common.files import write_bytes
from ...common.tensors import HEADER, read_tensors
from .average import MovingAverage
from .history import EpochRow

__all__ = ["Keeping", "Moving", "load_state", "save_state"]

_KIND = "training"


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Where a run is kept, and what it is a run of.

    Attributes
    ----------
    path : of the state after the last whole epoch
    told : network, data and recipe as JSON values; a state that says otherwise is of another run
    """

    path: Path
    told: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Moving:
    """What changes while a network is trained: ``module`` holds the network and, where there is one, its teacher."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    average: MovingAverage | None
    order: Generator


def save_state(keeping: Keeping, moving: Moving, rows: list[EpochRow]) -> None:
    """Write the state after ``rows`` epochs, whole or not at all; raises `UserError` where it cannot be written, and
    the state before is still there then."""
    tensors = {f"net/{name}": value for name, value in moving.module.state_dict().items()}
    if moving.average is not None:
        tensors |= {f"average/{name}": value for name, value in moving.average.tensors.items()}
    for index, held in moving.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": value for key, value in held.items() if value is not None}
    tensors |= {"random/order": moving.order.get_state(), "random/torch": torch.get_rng_state()}
    if (device := _device(moving.module)).type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    header = {"kind": _KIND, "told": dict(keeping.told), "rows": [asdict(row) for row in rows]}
    # Two names of one tensor would be an error of the format.
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_bytes(keeping.path, save(owned, metadata={HEADER: json.dumps(header)}))


def load_state(keeping: Keeping, moving: Moving) -> list[EpochRow]:
    """Bring ``moving`` to where the state at ``keeping.path`` was left; what its epochs had shown.

    Raises
    ------
    UserError
        when the file is missing, broken, or of another network, data set or recipe: what differs is named.
    """
    path = keeping.path
    tensors, header = read_tensors(path, "pt", "the state of a training run")
    if header.get("kind") != _KIND or not isinstance(header.get("told"), dict):
        raise UserError(f"{path} is a safetensors file, but not the state of a training run")
    _check_same(header["told"], json.loads(json.dumps(dict(keeping.told))), path)
    try:
        rows = [EpochRow(**row) for row in header["rows"]]
        moving.module.load_state_dict(_below("net/", tensors))
        if moving.average is not None:
            moving.average.load(_below("average/", tensors))
        moving.optimiser.load_state_dict(_optimiser(tensors, moving.optimiser))
        moving.order.set_state(tensors["random/order"])
        torch.set_rng_state(tensors["random/torch"])
        if (device := _device(moving.module)).type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], device)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is a broken state of a training run: {error}") from error
    return rows


def _device(module: nn.Module) -> torch.device:
    return next((value.device for value in module.state_dict().values()), torch.device("cpu"))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimiser(tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimiser/", tensors).items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}


def _check_same(theirs: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> None:
    """Refuse a state of another run, by the first thing that differs."""
    for name in {**own, **theirs}:
        left, right = theirs.get(name), own.get(name)
        if left == right:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            name, left, right = next(
                (f"{name}: {key}", left.get(key), right.get(key))
                for key in {**right, **left}
                if left.get(key) != right.get(key)
            )
        raise UserError(f"{path} is the state of another run, whose {name} is {left!r} instead of {right!r}")
