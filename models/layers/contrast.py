"""What IPT learns beside its images (Chen et al. 2021, 2012.00364): patches of one image shall be alike in the features
of the transformer, and unlike those of other images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...common.errors import UserError, within

__all__ = ["Contrast", "PatchContrast", "contrast_loss", "patch_contrast", "set_contrast"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How much patches of one image shall be alike. The defaults are those of the authors' trainer.

    Attributes
    ----------
    weight : of `patch_contrast` in the loss
    temperature : by which it divides similarities
    """

    weight: float = 0.1
    temperature: float = 0.07

    def __post_init__(self) -> None:
        within("weight", self.weight, 0, 1e3)
        within("temperature", self.temperature, 0.01, 100)


def patch_contrast(features: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss (Khosla et al. 2020) of patches, whose class is the image that they are from.

    For each patch, minus the mean, over the other patches of its image, of the logarithm of the share that the other
    has among all patches of the batch but the patch itself, where a patch counts ``exp(cos / temperature)`` of the
    angle between both; and the mean of that over patches. It takes the memory of a square of all patches.

    Parameters
    ----------
    features : (B, P, D), P patches of each image

    Raises
    ------
    UserError
        for a single patch in each image, which has no other.
    """
    images, patches, _ = features.shape
    if patches < 2:
        raise UserError("contrast compares patches of an image, and here each image is a single one")
    unit = F.normalize(features.float(), dim=2).flatten(0, 1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    likeness = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    shares = F.log_softmax(likeness, 1).masked_fill(itself, 0.0)
    own = torch.arange(images, device=unit.device).repeat_interleave(patches)
    mates = own[:, None] == own
    return -(shares * mates).sum() / (len(unit) * (patches - 1))


class PatchContrast(nn.Module):
    """Hands tokens on as they are, and in training keeps their `patch_contrast` where a recipe asks for it.

    Attributes
    ----------
    contrast : how much; None: nothing is kept
    found : of the last training pass; None where none was
    """

    def __init__(self) -> None:
        super().__init__()
        self.contrast: Contrast | None = None
        self.found: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P, D), the same."""
        if self.training and self.contrast is not None:
            self.found = patch_contrast(tokens, self.contrast.temperature)
        return tokens


def _places(module: nn.Module) -> list[PatchContrast]:
    return [layer for layer in module.modules() if isinstance(layer, PatchContrast)]


def set_contrast(module: nn.Module, contrast: Contrast) -> None:
    """Let ``module`` learn by ``contrast``; a `UserError` where it has no transformer of patches for that."""
    places = _places(module)
    if not places:
        raise UserError("contrast is for image processing transformers; this network is none")
    for place in places:
        place.contrast = contrast


def contrast_loss(module: nn.Module) -> Tensor | None:
    """What contrast adds to the loss of the pass that ``module`` has just seen: once, and None after that and where
    nothing was kept."""
    costs = []
    for place in _places(module):
        if place.found is not None and place.contrast is not None:
            costs.append(place.contrast.weight * place.found)
        place.found = None
    return torch.stack(costs).sum() if costs else None
