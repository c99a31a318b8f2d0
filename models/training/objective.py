"""What a network is trained for: a loss, and a metric that people read. Other tasks bring others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.errors import UserError, within

__all__ = ["ACCURACY", "CrossEntropy", "Loss", "Metric"]


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
        if len(wrong := target[(target < 0) | (target >= classes)]):
            raise UserError(f"the network tells {classes} classes apart, but there is a label {int(wrong[0])}")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit that is a mean over images.

    Attributes
    ----------
    name : as a column of a table
    total : the sum over a batch, of what the network gives and what it should give
    """

    name: str
    total: Callable[[Tensor, Tensor], Tensor]


def _correct(output: Tensor, target: Tensor) -> Tensor:
    return torch.as_tensor((output.argmax(1) == target).sum())


ACCURACY = Metric(name="accuracy", total=_correct)
"""Share of images whose largest score is that of their class."""
