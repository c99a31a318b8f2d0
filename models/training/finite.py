"""Where numbers cease to be finite."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_gradients", "first_fault"]


def check_gradients(module: nn.Module) -> str | None:
    """What is wrong with the gradients of ``module``, by the name of a parameter; None where all are finite."""
    named = [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    if not named or math.isfinite(float(torch.nn.utils.get_total_norm([grad for _, grad in named]))):
        return None
    wrong = next((name for name, grad in named if not bool(grad.isfinite().all())), None)
    # A norm overflows before the gradients do.
    return None if wrong is None else f"the gradient of {wrong!r} is not finite"


def first_fault(module: nn.Module, x: Tensor) -> str:
    """Which layer gives the first value that is not finite for the images ``x``, in words."""
    found: list[str] = []

    def watching(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, given: Any, out: Any) -> None:
            if isinstance(out, Tensor) and not bool(out.isfinite().all()):
                found.append(name)

        return hook

    leaves = [(name, layer) for name, layer in module.named_modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(watching(name)) for name, layer in leaves]
    try:
        with torch.no_grad():
            module(x)
    finally:
        for hook in hooks:
            hook.remove()
    return (
        f"layer {found[0]!r} is the first whose output is not finite"
        if found
        else "every layer gives finite values, their loss is none"
    )
