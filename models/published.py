"""Published float networks, read from the files that their authors distribute."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .checkpoint import fit
from .resnet import ResNet20

__all__ = ["addernet_resnet20"]

_PARALLEL = "module."
_ADDER = ".adder"


def addernet_resnet20(path: Path) -> nn.Module:
    """The AdderNet authors' ResNet-20 for CIFAR-10, from their ``.pth`` state dictionary.

    Their names carry the prefix of a data-parallel wrapper, and an adder layer calls its filters ``adder``.

    Raises
    ------
    UserError
        when the file is missing, is no state dictionary of tensors, or does not fit; every tensor at fault is named.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected the authors' ResNet20-AdderNet .pth file")
    try:
        # weights_only reads tensors and containers; it never makes, or calls, other objects.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except Exception as error:  # a broken stream makes the unpickler raise anything
        raise UserError(f"{path} is broken, or holds other objects than tensors") from error
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} is not a state dictionary of tensors")
    renamed = {}
    for name, value in state.items():
        short = name.removeprefix(_PARALLEL)
        renamed[short.removesuffix(_ADDER) + ".weight" if short.endswith(_ADDER) else short] = value
    return fit(ResNet20(), renamed, str(path), "addernet-resnet20")
