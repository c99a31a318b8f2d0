"""The learning rule of adder filters: every layer's gradient has one size, whatever the loss says.

It is a rule for a step, not for a backward pass: gradients of accumulated batches and of several ranks are summed as
they are, and the sum is scaled.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .adder import AdderConv2d

__all__ = ["ETA", "scale_adder_gradients", "scale_at_each_step"]

ETA = 0.2
"""RMS of the filter gradient of every layer (the authors' value for all their networks)."""
_SMALLEST_NORM = 1e-12


def scale_adder_gradients(module: nn.Module, eta: float = ETA) -> None:
    """Scale the filter gradient of every adder layer in ``module`` to an RMS of ``eta`` over the layer, in place.

    Called once per step, when gradients are summed over batches and ranks, before they are clipped or used. A
    gradient of zeros stays one, and one that is not finite does not become finite.

    Parameters
    ----------
    module : holds `AdderConv2d` layers, those of training at few bits among them; others stay as they are
    eta : positive
    """
    if not 0 < eta < math.inf:
        raise ValueError(f"eta must be a positive number, not {eta}")
    with torch.no_grad():
        for gradient in _gradients(module):
            kind = torch.promote_types(gradient.dtype, torch.float32)
            norm = torch.linalg.vector_norm(gradient, dtype=kind).clamp_min_(_SMALLEST_NORM)
            gradient.mul_(eta * math.sqrt(gradient.numel()) / norm)


def scale_at_each_step(optimiser: Optimizer, module: nn.Module, eta: float = ETA) -> RemovableHandle:
    """Have ``optimiser`` call `scale_adder_gradients` at the beginning of every step.

    It does so behind the reduction of DDP, behind the unscaling of a gradient scaler, and once however many batches
    are accumulated. Who clips the norm of all gradients calls `scale_adder_gradients` before that instead.

    Returns
    -------
    RemovableHandle
        whose ``remove()`` ends it

    Raises
    ------
    ValueError
        at a step with a closure, which would make its gradients afterwards.
    """

    def scale(_: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        # Optimisers bind their step to themselves: that is the first argument.
        if any(given is not None for given in (*arguments[1:], named.get("closure"))):
            raise ValueError("adder layers cannot be trained by a step with a closure; call backward() before it")
        scale_adder_gradients(module, eta)

    return optimiser.register_step_pre_hook(scale)


def _gradients(module: nn.Module) -> Iterator[Tensor]:
    """Of the filters, one of each layer, and once where layers share them."""
    weights = {id(m.weight): m.weight for m in module.modules() if isinstance(m, AdderConv2d)}
    return (weight.grad for weight in weights.values() if weight.grad is not None)
