"""What a network costs before it is built: its parameters, and the terms of its inner products, by kernel."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.adder import AdderConv2d
from ..layers.binary import BinaryConv2d
from ..layers.noise import NoiseAdaptation
from ..layers.shift import ShiftConv2d

__all__ = ["Counts", "count", "kernel_of", "noted_terms"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters and terms of a network.

    Attributes
    ----------
    parameters : numbers that training finds and the network needs when it runs: noise adaptation does not count
    terms : multiply-accumulates of one image, or what stands for them, by kernel: of convolutions and dense layers,
        padded taps included, groups counted; pools, additions, activations and batch norms are none
    """

    parameters: int
    terms: Mapping[str, int]

    @property
    def macs(self) -> int:
        """Terms of all kernels."""
        return sum(self.terms.values())


def kernel_of(layer: nn.Module) -> str | None:
    """The kernel of a convolution or dense layer, or None for what is neither."""
    kinds = (
        ("adder", AdderConv2d), ("xnor", BinaryConv2d), ("shift", ShiftConv2d), ("mult", nn.Conv2d | nn.Linear),
    )  # fmt: skip
    return next((kernel for kernel, kind in kinds if isinstance(layer, kind)), None)


@contextmanager
def noted_terms(module: nn.Module) -> Iterator[Counter[str]]:
    """Terms by kernel of what layers of ``module`` compute of one image, or of the first of each batch, meanwhile."""
    terms: Counter[str] = Counter()

    def note(layer: nn.Module, given: Any, result: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        terms[kernel_of(layer) or ""] += weight[0].numel() * result[0].numel()

    hooks = [layer.register_forward_hook(note) for layer in module.modules() if kernel_of(layer)]
    try:
        yield terms
    finally:
        for hook in hooks:
            hook.remove()


def count(module: nn.Module, shape: tuple[int, int, int]) -> Counts:
    """Parameters of ``module`` and terms for one image of ``shape`` (C, H, W). A module on the device ``meta`` takes no
    memory, and is counted as well."""
    training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), noted_terms(module) as terms:
            module.eval()(torch.zeros(1, *shape, device=device))
    finally:
        module.train(training)
    extra = sum(p.numel() for m in module.modules() if isinstance(m, NoiseAdaptation) for p in m.parameters())
    return Counts(parameters=sum(p.numel() for p in module.parameters()) - extra, terms=dict(terms))
