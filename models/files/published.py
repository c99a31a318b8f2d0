"""Published float networks, read from the files that their authors distribute."""

from pathlib import Path

from torch import nn

from ..nets.resnet import ResNet20
from .checkpoint import fit
from .weights import read_state

__all__ = ["addernet_resnet20"]

_ADDER = ".adder"


def addernet_resnet20(path: Path) -> nn.Module:
    """The AdderNet authors' ResNet-20 for CIFAR-10, from their ``.pth`` state dictionary.

    Their names carry the prefix of a data-parallel wrapper, and an adder layer calls its filters ``adder``.

    Raises
    ------
    UserError
        when the file is missing, is no state dictionary of tensors, or does not fit; every tensor at fault is named.
    """
    state = read_state(Path(path), "the authors' ResNet20-AdderNet .pth file")
    renamed = {
        name.removesuffix(_ADDER) + ".weight" if name.endswith(_ADDER) else name: value for name, value in state.items()
    }
    return fit(ResNet20(), renamed, str(path), "addernet-resnet20")
