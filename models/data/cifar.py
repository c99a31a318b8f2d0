"""CIFAR-10 as its authors distribute it for Python: a folder of batches, pickles of an array and a list each."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.reading import read_regular
from .pickles import read_pickle

__all__ = ["cifar10", "is_cifar10"]

_NAMES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
_INSIDE = "cifar-10-batches-py"
_SHAPE = (3, 32, 32)
_CLASSES = 10


def _root(path: Path) -> Path:
    return path / _INSIDE if (path / _INSIDE).is_dir() else path


def is_cifar10(path: Path) -> bool:
    """Whether any batch lies in the folder ``path`` or in its ``cifar-10-batches-py``."""
    return any((_root(path) / name).is_file() for names in _NAMES.values() for name in names)


def cifar10(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 3, 32, 32) and their labels 0..9 of one split, ``train`` or ``test``, batch after batch.

    Raises
    ------
    UserError
        for a batch that is missing, damaged, or no CIFAR-10: it is named.
    """
    root = _root(path)
    names = _NAMES[split]
    if missing := [name for name in names if not (root / name).is_file()]:
        raise UserError(f"{root} has no {', '.join(missing)}; the {split} split of CIFAR-10 is {', '.join(names)}")
    parts = [_batch(root / name) for name in names]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        value = read_pickle(read_regular(path))
    except OSError as error:
        raise UserError(f"cannot read CIFAR-10 batch {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cannot read CIFAR-10 batch {path}: {error}") from error
    x, y = (value.get("data"), value.get("labels")) if isinstance(value, dict) else (None, None)
    size = int(np.prod(_SHAPE))
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != size:
        raise UserError(f"{path} is no CIFAR-10 batch: its data must be an array of rows of {size} unsigned bytes")
    return x.reshape(-1, *_SHAPE), _labels(path, y, len(x))


def _labels(path: Path, y: Any, count: int) -> NDArray[np.int64]:
    if not isinstance(y, list) or len(y) != count or not all(type(label) is int for label in y):
        raise UserError(f"{path} is no CIFAR-10 batch: its labels must be {count} integers")
    if wrong := [label for label in y if not 0 <= label < _CLASSES]:
        raise UserError(f"{path} holds a label {wrong[0]}; those of CIFAR-10 are 0..{_CLASSES - 1}")
    return np.array(y, np.int64)
