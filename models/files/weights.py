"""Weights by name, from safetensors files and from torch's own. No object in a file is made, no code of it run."""

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.errors import UserError
from ...common.reading import check_zip, read_regular
from ...common.tensors import read_safetensors

__all__ = ["TORCH", "read_state", "read_weights"]

TORCH = (".pt", ".pth")
"""Suffixes of files that ``torch.save`` wrote."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside their optimiser and epoch."""
_PARALLEL = "module."
_DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
    torch.float32, torch.float64,
)  # fmt: skip
_CODE = re.compile(r"GLOBAL ([\w.]+)")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a ``.pt`` or ``.pth`` file as `read_state`.

    Raises
    ------
    UserError
        when the file is missing, broken or foreign.
    """
    if path.suffix in TORCH:
        return read_state(path, f"weights, {' or '.join(TORCH)}")
    try:
        return read_safetensors(path, "pt")[0]
    except OSError as error:
        raise UserError(f"cannot read weights {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cannot read weights {path}: {error}") from error


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """The state dictionary that ``torch.save`` wrote, by itself or under ``state_dict``, ``model_state_dict`` or
    ``model``, without the prefix of a data-parallel wrapper.

    Parameters
    ----------
    what : was expected, for the message when the file is missing

    Raises
    ------
    UserError
        when the file is missing, holds other objects than tensors, or would unpack to absurdly much.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected {what}")
    try:
        data = read_regular(path)
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                check_zip(archive, len(data))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} is broken: {error}") from error
    return _tensors(_load(path, data), path)


def _load(path: Path, data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that torch has left
            # weights_only reads tensors and containers; it never makes, or calls, other objects.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = _CODE.search(str(error))
        why = f" ({code[1]}, which would have to be run)" if code else ""
        raise UserError(
            f"{path} is broken, or holds other objects than tensors{why}; save net.state_dict() alone"
        ) from error
    except Exception as error:  # a broken stream makes the unpickler raise anything
        raise UserError(f"{path} is broken, or holds other objects than tensors") from error


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(state, dict):
        wrapped = [state[key] for key in _WRAPPERS if isinstance(state.get(key), dict)]
        state = wrapped[0] if wrapped else state
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} is not a state dictionary of tensors")
    for name, value in state.items():
        if value.layout != torch.strided or value.dtype not in _DTYPES or value.device.type != "cpu":
            raise UserError(f"tensor {name!r} of {path} is {value.dtype}, {value.layout}; it cannot be weights")
    short = _PARALLEL if state and all(name.startswith(_PARALLEL) for name in state) else ""
    return {name.removeprefix(short): value.detach() for name, value in state.items()}
