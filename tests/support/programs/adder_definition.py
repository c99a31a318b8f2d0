"""The adder convolution and its gradients as their papers write them, in float64 over whole patches."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Case:
    """Operands of an adder convolution, and how it slides."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def options(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


def make_case(
    seed, *, images=2, inputs=3, outputs=4, height=6, width=7, kernel=(3, 3), stride=(1, 1), padding=(1, 1),
    dilation=(1, 1), groups=1, bias=False, scale=2.0, dtype=torch.float32, last=False,
):  # fmt: skip
    """Random operands; ``inputs`` and ``outputs`` are those of a group."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return (scale * torch.randn(*shape, generator=generator)).to(dtype)

    x = numbers(images, groups * inputs, height, width)
    return Case(
        x=x.contiguous(memory_format=torch.channels_last) if last else x,
        weight=numbers(groups * outputs, inputs, *kernel), bias=numbers(groups * outputs) if bias else None,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A result and its gradients for an upstream gradient, and for each the sum of what its terms are made of: how far
    float32 sums of n terms may be off is n * eps of that."""

    y: Tensor
    x: Tensor
    weight: Tensor
    y_terms: Tensor
    x_terms: Tensor
    weight_terms: Tensor


def defined(case: Case, upstream: Tensor) -> Wanted:
    """What ``case`` must give."""
    x, weight, g = (t.detach().double() for t in (case.x, case.weight, upstream))
    window = {"dilation": case.dilation, "padding": case.padding, "stride": case.stride}
    patches = F.unfold(x, weight.shape[2:], **window)  # (B, C * taps, P)
    patches = patches.unflatten(1, (case.groups, 1, -1))  # (B, groups, 1, K, P)
    filters = weight.view(case.groups, -1, weight[0].numel(), 1)  # (groups, O, K, 1)
    difference = filters - patches  # (B, groups, O, K, P)
    blame = g.reshape(len(x), case.groups, -1, 1, difference.shape[-1])  # (B, groups, O, 1, P)

    def folded(values):
        return F.fold(values.sum(2).flatten(1, 2), x.shape[2:], weight.shape[2:], **window)

    sums = difference.abs().sum(3).view_as(g)
    made = (patches.abs() + filters.abs()) * blame.abs()
    return Wanted(
        y=-sums if case.bias is None else case.bias.double()[:, None, None] - sums,
        x=folded(difference.clamp(-1, 1) * blame),
        weight=-(difference * blame).sum((0, 4)).view_as(weight),
        y_terms=sums + (0 if case.bias is None else case.bias.double().abs()[:, None, None]),
        x_terms=folded(difference.abs().clamp(max=1) * blame.abs()),
        weight_terms=made.sum((0, 4)).view_as(weight),
    )
