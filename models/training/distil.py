"""Distillation: a network learns from another's scores and features besides the labels.

`Guided` holds both networks and is trained as one module, so that checkpoints, several processes and mixed precision
need to know nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...common.errors import UserError, within
from ..files.checkpoint import load_checkpoint
from ..layers.adder import AdderConv2d
from .objective import Loss

__all__ = ["Distillation", "Guided", "Logits", "Pkkd"]


class Distillation(Protocol):
    """A way of learning from another network."""

    kind: ClassVar[str]

    def guided(self, student: nn.Module, twin: Callable[[], nn.Module] | None, shape: tuple[int, int, int]) -> "Guided":
        """``student`` together with its teacher.

        Parameters
        ----------
        twin : makes the network with multiplications of the same architecture, fresh
        shape : (C, H, W) of the images
        """
        ...


class Guided(nn.Module):
    """A student, its teacher, and what brings the features of one to those of the other.

    Parameters
    ----------
    pairs : paths of layers, the same in both networks, whose outputs are compared
    views : of a layer, what it read and what it gave: the features of student and teacher that are compared
    learns : whether the teacher learns alongside
    temperature : both networks' scores are divided by it before they are compared
    weight : of the teacher's scores, against that of the labels
    features : weight of the features
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, pairs: tuple[str, ...], views: tuple["View", "View"],
        shape: tuple[int, int, int], learns: bool, temperature: float, weight: float, features: float,
    ):  # fmt: skip
        super().__init__()
        self.student = student
        self.teacher = teacher if learns else teacher.requires_grad_(False)
        self.pairs, self.views, self.learns = pairs, views, learns
        self.temperature, self.weight, self.features = temperature, weight, features
        self.maps = nn.ModuleList(_maps(student, teacher, pairs, shape))

    def train(self, mode: bool = True) -> "Guided":
        """A teacher that does not learn keeps its statistics."""
        super().train(mode)
        self.teacher.train(mode and self.learns)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images to the scores of both networks, (B, classes), and the mean squared distance of their features."""
        (scores, own), (taught, theirs) = (
            _observed(network, x, self.pairs, view)
            for network, view in zip((self.student, self.teacher), self.views, strict=True)
        )
        distances = [
            F.mse_loss(bring(mine), other.detach()) for bring, mine, other in zip(self.maps, own, theirs, strict=True)
        ]
        return scores, taught, torch.stack(distances).mean() if distances else scores.new_zeros(())

    def cost(self, outputs: tuple[Tensor, Tensor, Tensor], target: Tensor, loss: Loss) -> Tensor:
        """The student's loss, and that of a teacher that learns; neither has a gradient in the other."""
        scores, taught, distance = outputs
        heat = self.temperature
        soft = F.kl_div(
            F.log_softmax(scores / heat, 1), F.log_softmax(taught.detach() / heat, 1), reduction="batchmean",
            log_target=True,
        )  # fmt: skip
        cost = (1 - self.weight) * loss(scores, target) + self.weight * heat**2 * soft + self.features * distance
        return cost + loss(taught, target) if self.learns else cost


View = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _observed(network: nn.Module, x: Tensor, paths: tuple[str, ...], view: View) -> tuple[Tensor, list[Tensor]]:
    """What ``network`` gives for ``x``, and the features of its layers at ``paths``."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, given: Any, out: Tensor) -> None:
            found[path] = view(layer, given[0], out)

        return hook

    hooks = [network.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    try:
        scores: Tensor = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return scores, [found[path] for path in paths]


def _maps(
    student: nn.Module, teacher: nn.Module, paths: tuple[str, ...], shape: tuple[int, int, int]
) -> list[nn.Module]:
    """A learned 1x1 convolution from each feature of the student to that of the teacher; the identity at first where
    there are as many channels."""
    was = student.training, teacher.training
    with torch.no_grad():
        own, theirs = (
            _observed(network.eval(), torch.zeros(1, *shape), paths, _output)[1] for network in (student, teacher)
        )
    student.train(was[0])
    teacher.train(was[1])
    maps: list[nn.Module] = []
    for path, mine, other in zip(paths, own, theirs, strict=True):
        if mine.ndim != 4 or mine.shape[2:] != other.shape[2:]:
            raise UserError(f"features of {path!r} are {tuple(mine.shape[1:])} and {tuple(other.shape[1:])}; not alike")
        bring = nn.Conv2d(mine.shape[1], other.shape[1], 1, bias=False)
        if mine.shape[1] == other.shape[1]:
            nn.init.dirac_(bring.weight)
        maps.append(bring)
    return maps


def _output(layer: nn.Module, given: Tensor, out: Tensor) -> Tensor:
    """The output itself as feature."""
    return out


def _laplace(layer: nn.Module, given: Tensor, out: Tensor) -> Tensor:
    """``exp(-|x - f|_1 / s)`` of an adder layer, whose output is that distance; s is its mean."""
    return torch.exp(out / out.detach().abs().mean().clamp_min(1e-12))


def _gauss(layer: nn.Module, given: Tensor, out: Tensor) -> Tensor:
    """``exp(-|x - f|_2^2 / s)`` of an ordinary convolution; s is the mean of that distance."""
    assert isinstance(layer, nn.Conv2d)
    weight = layer.weight
    ones = torch.ones_like(weight[: layer.groups])
    squares = F.conv2d(given.square(), ones, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    squares = squares.repeat_interleave(layer.out_channels // layer.groups, 1)
    product = out if layer.bias is None else out - layer.bias.view(1, -1, 1, 1)
    distance = (squares - 2 * product + weight.square().sum((1, 2, 3)).view(1, -1, 1, 1)).clamp_min(0)
    return torch.exp(-distance / distance.detach().mean().clamp_min(1e-12))


def _check(temperature: float, weight: float) -> None:
    within("temperature", temperature, 0.1, 100)
    within("weight", weight, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Logits:
    """Learning from a trained network: its softened scores, and outputs of layers that both have (Hinton et al. 2015;
    Romero et al. 2015).

    Attributes
    ----------
    teacher : path of its checkpoint, of a float network
    temperature, weight : of the scores; the labels have ``1 - weight``
    layers : paths whose outputs are compared, through a learned 1x1 convolution
    features : weight of their mean squared distance
    """

    kind: ClassVar[str] = "logits"
    teacher: str
    temperature: float = 4.0
    weight: float = 0.5
    layers: tuple[str, ...] = ()
    features: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not isinstance(self.teacher, str) or not all(isinstance(path, str) for path in self.layers):
            raise UserError("teacher must be the path of a checkpoint, and layers paths of layers")
        _check(self.temperature, self.weight)
        within("features", self.features, 0, 1e6)

    def guided(self, student: nn.Module, twin: Callable[[], nn.Module] | None, shape: tuple[int, int, int]) -> Guided:
        """``student`` together with its teacher."""
        teacher, made = load_checkpoint(Path(self.teacher))
        if made.shape != shape:
            raise UserError(f"the teacher {self.teacher} takes images of {made.shape}, the student of {shape}")
        for path in self.layers:
            for network, name in ((student, "student"), (teacher, "teacher")):
                if path not in dict(network.named_modules()):
                    raise UserError(f"the {name} has no layer {path!r} whose features could be compared")
        return Guided(
            student, teacher, pairs=self.layers, views=(_output, _output), shape=shape, learns=False,
            temperature=self.temperature, weight=self.weight, features=self.features,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pkkd:
    """Progressive kernel-based knowledge distillation (Xu et al., NeurIPS 2020): an adder network learns alongside a
    network with multiplications of the same architecture, which learns from the labels alone.

    The features of every adder layer, ``exp(-|x - f|_1 / s)``, after a learned 1x1 convolution, are compared with those
    of the teacher's layer, ``exp(-|x - f|_2^2 / s)``. The paper leaves the widths of its kernels open; here each is the
    mean distance of its layer in the batch, so that the exponents are 1 on average.

    Attributes
    ----------
    temperature, weight : of the teacher's scores; the labels have ``1 - weight``
    features : weight of the mean squared distance of features
    """

    kind: ClassVar[str] = "pkkd"
    temperature: float = 4.0
    weight: float = 0.5
    features: float = 1.0

    def __post_init__(self) -> None:
        _check(self.temperature, self.weight)
        within("features", self.features, 0, 1e6)

    def guided(self, student: nn.Module, twin: Callable[[], nn.Module] | None, shape: tuple[int, int, int]) -> Guided:
        """``student`` together with its teacher."""
        if twin is None:
            raise UserError("pkkd trains a twin with multiplications alongside; this network has none")
        teacher = twin()
        theirs = dict(teacher.named_modules())
        pairs = tuple(
            path
            for path, layer in student.named_modules()
            if isinstance(layer, AdderConv2d) and isinstance(theirs.get(path), nn.Conv2d)
        )
        if not pairs:
            raise UserError("pkkd is for adder networks; this one has no adder layer that its twin has as well")
        return Guided(
            student, teacher, pairs=pairs, views=(_laplace, _gauss), shape=shape, learns=True,
            temperature=self.temperature, weight=self.weight, features=self.features,
        )  # fmt: skip
