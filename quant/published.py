"""Published binary networks, read from the files of their decoded weights and thresholds.

LFC-W1A1 and CNV-W1A1 of BNN-PYNQ (Umuroglu et al., "FINN", 2017). Their thresholds compare a popcount with ``>``; here
a sum of K signs is ``2 * popcount - K`` and a threshold is for ``>=``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.reading import read_npz
from .fold.assembly import Assembly
from .formats import signed, unsigned
from .program import (
    ArgMax,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    Program,
    Requantise,
    Shape,
    Threshold,
    score_format,
)  # fmt: skip

__all__ = ["PUBLISHED", "cnv_w1a1", "lfc_w1a1"]

Ints = NDArray[np.int64]
_BIT = unsigned(1)
_CLASSES = 10
_LFC_LAYERS = ((1024, 832), (1024, 1024), (1024, 1024), (64, 1024))
_LFC_PIXELS = 784
_CNV_CONVOLUTIONS = ((64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256))
_CNV_POOLED = (1, 3)
"""Layers behind which maps are halved."""
_CNV_DENSE = ((512, 256), (512, 512), (64, 512))


def _read(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Ints]:
    """The arrays of ``path``, checked for names, types and shapes; every one at fault is named."""
    if not path.is_file():
        raise UserError(f"no file at {path}; expected a .npz of decoded weights W0, W1, .. and thresholds T0, T1, ..")
    try:
        arrays, _ = read_npz(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    faults = [f"missing {name}" for name in wanted if name not in arrays]
    faults += [f"unknown {name}" for name in arrays if name not in wanted]
    for name, shape in wanted.items():
        if name not in arrays:
            continue
        value = arrays[name]
        if value.shape != shape or not np.issubdtype(value.dtype, np.integer):
            faults.append(f"{name} is {value.dtype} {value.shape} instead of integers {shape}")
        elif name.startswith("W") and not _BIT.allows(value):
            faults.append(f"{name} holds other values than 0 and 1")
    if faults:
        raise UserError(f"{path} does not fit: {'; '.join(faults)}")
    return {name: arrays[name].astype(np.int64) for name in wanted}


class _Chain(Assembly):
    """Operations one behind the other."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.last = self.emit(Input(name="pixels", shape=shape))

    def add(self, op: Op) -> None:
        """Append what reads the last operation."""
        self.last = self.emit(op)

    def convolution(self, name: str, weight: Ints, kernel: str = "xnor") -> None:
        self.add(
            Convolution(
                name=name, source=self.last, kernel=kernel, weight=weight, weight_format=_BIT,
                pad=np.zeros(self.shape(self.last)[0], np.int64),
            )
        )  # fmt: skip

    def sign(self, name: str, beyond: Ints) -> None:
        """Fires where the sum is more than ``beyond``."""
        fmt = self.format(self.last)
        self.add(
            Threshold(
                name=name, source=self.last, thresholds=(beyond + 1).clip(fmt.lo, fmt.hi + 1)[:, None],
                falling=np.zeros(len(beyond), np.int64), format=_BIT,
            )
        )  # fmt: skip

    def integer_scores(self, offset: Ints, shift: int) -> None:
        fmt = score_format(self.format(self.last))
        self.add(
            Requantise(
                name="scores", source=self.last, multiplier=np.ones(len(offset), np.int64), offset=offset, shift=shift,
                format=fmt, lo=fmt.lo, hi=fmt.hi,
            )
        )  # fmt: skip
        self.add(ArgMax(name="argmax", source=self.last))

    def program(self, network: str, path: Path) -> Program:
        metadata = {"network": network, "kernel": "xnor", "bits": "1", "file": path.name}
        return self.assembled(metadata)


def lfc_w1a1(path: Path) -> Program:
    """LFC-W1A1 for MNIST, 784-1024-1024-1024-10; an input bit is a pixel of 128 or more.

    Raises
    ------
    UserError
        when the file is missing, broken or holds something else.
    """
    shapes: dict[str, tuple[int, ...]] = {f"W{k}": shape for k, shape in enumerate(_LFC_LAYERS)}
    shapes |= {f"T{k}": (shape[0],) for k, shape in enumerate(_LFC_LAYERS)}
    tensors = _read(path, shapes)
    chain = _Chain((1, 28, 28))
    chain.add(
        Threshold(
            name="binarised",
            source=chain.last,
            thresholds=np.array([[128]]),
            falling=np.zeros(1, np.int64),
            format=_BIT,
        )
    )
    chain.add(Flatten(name="flatten", source=chain.last))
    for k in range(len(_LFC_LAYERS)):
        weight, beyond = tensors[f"W{k}"], tensors[f"T{k}"]
        if k == 0:
            # The published rows are filled up to 832 with columns whose input is always 0; where such a weight is 0,
            # too, it counts as equal.
            beyond = beyond - (weight[:, _LFC_PIXELS:] == 0).sum(1)
            weight = weight[:, :_LFC_PIXELS]
        taps = weight.shape[1]
        last = k == len(_LFC_LAYERS) - 1
        rows = _CLASSES if last else len(weight)
        chain.convolution(f"fc{k}", weight[:rows, :, None, None])
        if last:
            chain.integer_scores(taps - 2 * beyond[:rows], shift=1)  # popcount - T
        else:
            chain.sign(f"sign{k}", 2 * beyond - taps)
    return chain.program("lfc-w1a1", path)


def cnv_w1a1(path: Path) -> Program:
    """CNV-W1A1 for CIFAR-10: six 3x3 convolutions without padding, two pools, three dense layers, all binary.

    Pixels become signed bytes; the first layer multiplies them by signs and fires where twice the sum exceeds its
    threshold.

    Raises
    ------
    UserError
        when the file is missing, broken or holds something else.
    """
    rows = [(o, 9 * i) for o, i in _CNV_CONVOLUTIONS] + list(_CNV_DENSE)
    shapes: dict[str, tuple[int, ...]] = {f"W{k}": shape for k, shape in enumerate(rows)}
    shapes |= {f"T{k}": (shape[0],) for k, shape in enumerate(rows[:-1])}
    tensors = _read(path, shapes)
    chain = _Chain((3, 32, 32))
    byte, ones = signed(8), np.ones(3, np.int64)
    chain.add(
        Requantise(
            name="signed_pixels", source=chain.last, multiplier=129 * ones, offset=-16384 * ones, shift=7, format=byte,
            lo=byte.lo, hi=byte.hi,
        )
    )  # fmt: skip
    for k, (outputs, inputs) in enumerate(_CNV_CONVOLUTIONS):
        weight = tensors[f"W{k}"].reshape(outputs, 3, 3, inputs).transpose(0, 3, 1, 2)
        beyond = tensors[f"T{k}"]
        chain.convolution(f"conv{k}", weight, "mult" if k == 0 else "xnor")
        chain.sign(f"sign{k}", beyond // 2 if k == 0 else 2 * beyond - 9 * inputs)
        if k in _CNV_POOLED:
            chain.add(MaxPool(name=f"pool{k}", source=chain.last, size=2, stride=2))
    for k, (_, inputs) in enumerate(_CNV_DENSE, start=len(_CNV_CONVOLUTIONS)):
        weight = tensors[f"W{k}"][:, :, None, None]
        if k < len(rows) - 1:
            chain.convolution(f"fc{k}", weight)
            chain.sign(f"sign{k}", 2 * tensors[f"T{k}"] - inputs)
        else:
            chain.convolution(f"fc{k}", weight[:_CLASSES])
            chain.integer_scores(np.full(_CLASSES, inputs), shift=1)  # popcount
    return chain.program("cnv-w1a1", path)


PUBLISHED = {"lfc-w1a1": lfc_w1a1, "cnv-w1a1": cnv_w1a1}
"""Networks that are integers from the start, by the name that the command line knows."""
