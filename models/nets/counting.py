"""What a network costs before it is built: its parameters, and the terms of its inner products, by kernel."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.adder import AdderConv2d
from ..layers.attention import AttentionContext, AttentionScores
from ..layers.binary import BinaryConv2d
from ..layers.noise import NoiseAdaptation
from ..layers.shift import ShiftConv2d

__all__ = ["OF_CONTEXT", "OF_SCORES", "Counts", "LaneWork", "count", "kernel_of", "noted_terms"]

OF_SCORES, OF_CONTEXT = "scores", "context"
"""What a product of two tensors is for."""


@dataclass(frozen=True, kw_only=True)
class LaneWork:
    """What one convolution, dense layer or product of two tensors gives an array of lanes to do for one image.

    Attributes
    ----------
    name : its path
    kernel : one of the four
    groups : parts that share neither inputs nor weights: those of a convolution, heads of attention
    inputs, outputs : channels of a group, behind one tap of the window; of a product, numbers that are summed and
        vectors or numbers of the second tensor that stand where weights do
    pixels : of a group, at which all outputs are computed: tokens or queries, too
    columns : pixels of a row; 1 where there is no map
    window : rows and columns of its taps
    stride : of the window
    product : `OF_SCORES` or `OF_CONTEXT`; "" where it has weights
    functions : numbers that leave functions between it and the next one, by name, see `Counts`
    """

    name: str
    kernel: str
    groups: int = 1
    inputs: int
    outputs: int
    pixels: int
    columns: int = 1
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    product: str = ""
    functions: Mapping[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Terms of all of its inner products."""
        rows, columns = self.window
        return self.groups * self.inputs * self.outputs * self.pixels * rows * columns


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters and terms of a network.

    Attributes
    ----------
    parameters : numbers that training finds and the network needs when it runs: noise adaptation does not count
    terms : multiply-accumulates of one image, or what stands for them, by kernel: of convolutions and dense layers,
        padded taps included, groups counted, on each token once; and of both products of attention (`Attention`), a
        term for each number of a query and a key, for each pair of them and head, and for each weight and value.
        Pools, additions, activations, softmax and norms are none, nor are products outside of `Attention`
    attention : those of ``terms`` that are products of two tensors
    elements : numbers of one image that leave each function for which integers need a table or a division: ``softmax``,
        ``layernorm``, ``gelu``; without those that the network does not have
    works : the layers and products whose terms these are, in the order in which they run
    """

    parameters: int
    terms: Mapping[str, int]
    attention: int = 0
    elements: Mapping[str, int] = field(default_factory=dict)
    works: tuple[LaneWork, ...] = ()

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


_FUNCTIONS = {nn.Softmax: "softmax", nn.LayerNorm: "layernorm", nn.GELU: "gelu"}


class _Tally:
    """What runs through the layers of a network, one image at a time."""

    def __init__(self) -> None:
        self.works: list[LaneWork] = []
        self.terms: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()

    def add(self, work: LaneWork) -> None:
        self.works.append(work)
        self.terms[work.kernel] += work.macs

    def layer(self, path: str, layer: nn.Module, given: Any, result: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        outputs, inputs, *window = weight.shape
        groups = int(getattr(layer, "groups", 1))
        taps = (window[0], window[1]) if window else (1, 1)
        stride = getattr(layer, "stride", 1)
        self.add(
            LaneWork(
                name=path, kernel=kernel_of(layer) or "", groups=groups, inputs=inputs, outputs=outputs // groups,
                pixels=result.numel() // outputs, columns=1 if taps == (1, 1) else result.shape[-1], window=taps,
                stride=stride if isinstance(stride, int) else stride[0],
            )
        )  # fmt: skip

    def product(self, path: str, layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        pixels, outputs = result.shape[-2:]
        kernel, product = (layer.kernel, OF_SCORES) if isinstance(layer, AttentionScores) else ("mult", OF_CONTEXT)
        self.add(
            LaneWork(
                name=path, kernel=kernel, groups=result.numel() // (pixels * outputs), inputs=given[0].shape[-1],
                outputs=outputs, pixels=pixels, product=product,
            )
        )  # fmt: skip

    def function(self, layer: nn.Module, given: Any, result: Tensor) -> None:
        found = Counter({_FUNCTIONS[type(layer)]: result.numel()})
        self.elements += found
        if self.works:
            last = self.works[-1]
            self.works[-1] = replace(last, functions=dict(found + Counter(last.functions)))

    @contextmanager
    def listening(self, module: nn.Module, *, skips: bool) -> Iterator[None]:
        """While this holds, what runs through ``module`` is counted. With ``skips`` functions give back what they are
        given, which has the shape of what they would compute: on the device ``meta`` a norm takes longer than all
        else."""
        hooks, skipped = [], []
        for path, layer in module.named_modules():
            if type(layer) in _FUNCTIONS:
                hooks.append(layer.register_forward_hook(self.function))
                if skips and "forward" not in layer.__dict__:
                    layer.__dict__["forward"] = _unchanged
                    skipped.append(layer)
            elif kernel_of(layer):
                hooks.append(layer.register_forward_hook(partial(self.layer, path)))
            elif isinstance(layer, AttentionScores | AttentionContext):
                hooks.append(layer.register_forward_hook(partial(self.product, path)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer in skipped:
                del layer.__dict__["forward"]


def _unchanged(x: Tensor) -> Tensor:
    return x


@contextmanager
def noted_terms(module: nn.Module) -> Iterator[Counter[str]]:
    """Terms by kernel of what layers of ``module`` compute meanwhile."""
    tally = _Tally()
    with tally.listening(module, skips=False):
        yield tally.terms


def count(module: nn.Module, shape: tuple[int, int, int]) -> Counts:
    """Parameters of ``module`` and terms for one image of ``shape`` (C, H, W). A module on the device ``meta`` takes no
    memory, and is counted as well."""
    tally = _Tally()
    training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), tally.listening(module, skips=True):
            module.eval()(torch.zeros(1, *shape, device=device))
    finally:
        module.train(training)
    extra = sum(p.numel() for m in module.modules() if isinstance(m, NoiseAdaptation) for p in m.parameters())
    return Counts(
        parameters=sum(p.numel() for p in module.parameters()) - extra, terms=dict(tally.terms),
        attention=sum(work.macs for work in tally.works if work.product), elements=dict(tally.elements),
        works=tuple(tally.works),
    )  # fmt: skip
