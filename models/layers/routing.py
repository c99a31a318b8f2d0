"""The predictor of frequency-aware networks: which of three branches takes a pixel, and what it learns that by."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...common.errors import UserError, within
from .bands import BRANCHES

__all__ = ["Router", "Routing", "relative_costs", "routing_loss", "set_routing", "set_routing_progress"]


@dataclass(frozen=True, kw_only=True)
class Routing:
    """How the predictors of a network learn. What weighs how much is not published; these are choices.

    Attributes
    ----------
    temperature : of the Gumbel-softmax: by how much it divides scores and noise
    guide : weight of the cross entropy between scores and the masks of `FrequencyBands` at the begin of the training;
        it falls to 0 in equal steps, so that at the end only images and costs decide
    sparsity : weight of the mean cost of the blocks above ``budget``
    budget : the cost that is free, relative to blocks that send all pixels to the most expensive branch
    """

    temperature: float = 1.0
    guide: float = 0.01
    sparsity: float = 0.1
    budget: float = 0.5

    def __post_init__(self) -> None:
        within("temperature", self.temperature, 0.01, 100)
        within("guide", self.guide, 0, 1e3)
        within("sparsity", self.sparsity, 0, 1e3)
        within("budget", self.budget, 0, 1)


def relative_costs(features: int) -> tuple[float, float, float]:
    """What a pixel costs in each of `BRANCHES`, relative to the first: two 3x3 convolutions, ``18 C^2`` terms; a 3x3
    and a 1x1, ``10 C^2``; a depthwise 3x3 and a 1x1, ``9 C + C^2``."""
    most = 18 * features**2
    return 1.0, 10 * features**2 / most, (9 * features + features**2) / most


class Router(nn.Module):
    """A 1x1 convolution without bias to one score per branch; the highest score takes the pixel.

    In training, the choice is drawn by a Gumbel-softmax: one branch per pixel, with the gradient of the softmax.

    Parameters
    ----------
    features : channels of what it reads

    Attributes
    ----------
    routing : how it learns
    progress : share of the training that is over
    wanted : (B, H, W), the branches that masks ask for in the next training pass; None: nothing guides
    costs : of the branches, relative to the first
    spent, guide : of the last training pass: the mean cost of a pixel and the cross entropy; None where none was
    """

    costs: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.scores = nn.Conv2d(features, len(BRANCHES), 1, bias=False)
        self.register_buffer("costs", torch.tensor(relative_costs(features)), persistent=False)
        self.routing = Routing()
        self.progress = 0.0
        self.wanted: Tensor | None = None
        self.spent: Tensor | None = None
        self.guide: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """A training pass: (B, features, H, W) to (B, 3, H, W), 1 for the branch that is drawn and 0 for the others."""
        scores = self.scores(x).float()
        drawn = F.gumbel_softmax(scores, tau=self.routing.temperature, hard=True, dim=1)
        self.spent = (drawn * self.costs.view(1, -1, 1, 1)).sum(1).mean()
        self.guide = None if self.wanted is None else F.cross_entropy(scores, self.wanted)
        self.wanted = None
        return drawn.to(x.dtype)

    def choice(self, x: Tensor) -> Tensor:
        """The branch of every pixel, (B, features, H, W) to (B, 1, H, W) int64; of equal scores that of the first."""
        return self.scores(x).argmax(1, keepdim=True)


def _routers(module: nn.Module) -> list[Router]:
    return [layer for layer in module.modules() if isinstance(layer, Router)]


def set_routing(module: nn.Module, routing: Routing) -> None:
    """Let the routers of ``module`` learn by ``routing``; a `UserError` where it has none."""
    routers = _routers(module)
    if not routers:
        raise UserError("routing is for frequency-aware networks; this one has no routers")
    for router in routers:
        router.routing = routing


def set_routing_progress(module: nn.Module, progress: float) -> None:
    """Tell the routers of ``module`` which share of the training, 0..1, is over: their guide fades."""
    for router in _routers(module):
        router.progress = progress


def routing_loss(module: nn.Module) -> Tensor | None:
    """What the routers of ``module`` add to the loss of the pass that they have just seen, see `Routing`: once, and
    None after that and where there are none. Cost and cross entropy are means over routers."""
    routers = [router for router in _routers(module) if router.spent is not None]
    if not routers:
        return None
    routing = routers[0].routing
    spent = torch.stack([router.spent for router in routers if router.spent is not None]).mean()
    guides = [router.guide for router in routers if router.guide is not None]
    loss = routing.sparsity * F.relu(spent - routing.budget)
    if guides:
        loss = loss + routing.guide * (1 - routers[0].progress) * torch.stack(guides).mean()
    for router in routers:
        router.spent = router.guide = None
    return loss
