"""What a network is trained for: a loss, and a metric that people read. Other tasks bring others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError, within
from ..data.quality import as_bytes, psnr

__all__ = ["ACCURACY", "Alternation", "CrossEntropy", "L1Loss", "Loss", "Metric", "peak_ratio"]


class Loss(Protocol):
    """A differentiable cost, the mean over a batch."""

    kind: ClassVar[str]

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """One number of what the network gives for a batch and what it should give."""
        ...

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `UserError` where targets are none of such an output."""
        ...


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross entropy of class scores (B, classes) and class indices (B,).

    Attributes
    ----------
    label_smoothing : share of the target that is spread over all classes
    """

    kind: ClassVar[str] = "cross-entropy"
    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        within("label_smoothing", self.label_smoothing, 0, 1)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over a batch."""
        return F.cross_entropy(output, target, label_smoothing=self.label_smoothing)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `UserError` for labels that have no score."""
        classes = output.shape[1]
        if target.ndim != 1:
            raise UserError(f"cross entropy compares scores with classes; targets are of shape {tuple(target.shape)}")
        if len(wrong := target[(target < 0) | (target >= classes)]):
            raise UserError(f"the network tells {classes} classes apart, but there is a label {int(wrong[0])}")


@dataclass(frozen=True, kw_only=True)
class L1Loss:
    """The mean absolute difference of images (B, C, H, W) in 0..1 from those that they should be."""

    kind: ClassVar[str] = "l1"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over a batch."""
        return F.l1_loss(output, target)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `UserError` for targets that are no images of the same size."""
        if output.shape != target.shape:
            raise UserError(
                f"the network gives {tuple(output.shape[1:])} for each image, and what it should give is "
                f"{tuple(target.shape[1:])}"
            )


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit that is a mean over images.

    Attributes
    ----------
    name : as a column of a table
    total : the sum over a batch, of what the network gives and what it should give
    form : how one of its values is written, for `format`
    """

    name: str
    total: Callable[[Tensor, Tensor], Tensor]
    form: str = "{:.1%}"


def _correct(output: Tensor, target: Tensor) -> Tensor:
    return torch.as_tensor((output.argmax(1) == target).sum())


ACCURACY = Metric(name="accuracy", total=_correct)
"""Share of images whose largest score is that of their class."""


def peak_ratio(border: int, *, colour: bool = False) -> Metric:
    """The PSNR in decibels of images: of the luma of pixels 0..255, or of all channels where they are compared in
    ``colour``, without ``border`` pixels on each side."""
    return Metric(name="psnr", total=partial(_decibels, border, colour), form="{:.2f} dB")


def _decibels(border: int, colour: bool, output: Tensor, target: Tensor) -> Tensor:
    return psnr(as_bytes(output), as_bytes(target), border, colour=colour).sum()


@dataclass(frozen=True, kw_only=True)
class Alternation:
    """Which of its tasks a network learns; of several, each step draws one.

    Attributes
    ----------
    names : of the tasks, different ones
    shares : of the steps, relative to one another, one for each name; none: all alike
    """

    names: tuple[str, ...]
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("names", "shares"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple):
                raise UserError(f"{name} must be an array, not {value!r}")
            object.__setattr__(self, name, tuple(value))
        if not self.names or not all(isinstance(name, str) for name in self.names):
            raise UserError(f"names must be one task or more, in quotes, not {list(self.names)!r}")
        if len(set(self.names)) != len(self.names):
            raise UserError(f"names must be different tasks, not {', '.join(self.names)}")
        if self.shares and len(self.shares) != len(self.names):
            raise UserError(f"shares must be one for each of {len(self.names)} tasks, not {len(self.shares)}")
        for share in self.shares:
            within("share", share, 1e-6, 1e6)
