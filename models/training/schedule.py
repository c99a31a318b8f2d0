"""Optimisers and their learning rate, as values."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from ...common.errors import UserError, within

__all__ = ["AdamW", "Cosine", "Optimiser", "Sgd", "set_rate"]

_STEP_RATE = 0.1
"""Learning rate of quantisers' steps, relative to that of weights."""
_SHARE = "share"
UNITS = ("epoch", "step")


class Optimiser(Protocol):
    """An optimiser of torch and its settings."""

    kind: ClassVar[str]

    @property
    def learning_rate(self) -> float: ...  # noqa: D102

    def of(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the parameters of ``module``."""
        ...


def _groups(module: nn.Module) -> list[dict[str, Any]]:
    """Steps of quantisers are scalars: decay would shrink their grids, a small change of one moves a whole layer."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 0], _SHARE: 1.0},
        {"params": [p for p in trained if p.ndim == 0], _SHARE: _STEP_RATE, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum."""

    kind: ClassVar[str] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        within("learning_rate", self.learning_rate, 0, 1e3)
        within("momentum", self.momentum, 0, 1)
        within("weight_decay", self.weight_decay, 0, 10)
        if type(self.nesterov) is not bool or (self.nesterov and not self.momentum):
            raise UserError(f"nesterov must be true or false, and needs momentum; not {self.nesterov!r}")

    def of(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the parameters of ``module``."""
        return torch.optim.SGD(
            _groups(module), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay; ``beta1``, ``beta2`` are the decays of its two moments."""

    kind: ClassVar[str] = "adamw"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        within("learning_rate", self.learning_rate, 0, 1e3)
        within("beta1", self.beta1, 0, 0.999999)
        within("beta2", self.beta2, 0, 0.999999)
        within("weight_decay", self.weight_decay, 0, 10)

    def of(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the parameters of ``module``."""
        return torch.optim.AdamW(
            _groups(module), lr=self.learning_rate, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay
        )


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """A learning rate that rises in equal steps and falls along half a cosine.

    Attributes
    ----------
    warmup : epochs of the rise
    final : the last rate, relative to the largest, that the cosine ends at
    by : whether the rate changes with every ``epoch`` or every ``step``
    """

    warmup: int = 0
    final: float = 0.0
    by: str = UNITS[0]

    def __post_init__(self) -> None:
        within("warmup", self.warmup, 0, 1 << 20, whole=True)
        within("final", self.final, 0, 1)
        if self.by not in UNITS:
            raise UserError(f"by must be one of {', '.join(UNITS)}, not {self.by!r}")

    def factor(self, epoch: int, epochs: int, step: int, steps: int) -> float:
        """The rate relative to the largest in step ``step`` of the ``steps`` of an epoch."""
        fine = steps if self.by == "step" else 1
        now = epoch * fine + (step if self.by == "step" else 0)
        rise, all_of_them = self.warmup * fine, epochs * fine
        if now < rise:
            return (now + 1) / rise
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * (now - rise) / (all_of_them - rise)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters the learning rate ``rate``, and steps of quantisers their share of it."""
    for group in optimiser.param_groups:
        group["lr"] = group[_SHARE] * rate
