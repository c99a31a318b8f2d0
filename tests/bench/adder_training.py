"""Training of adder layers beside what it replaced, and beside the way that its authors published."""

import math
import time

import torch
from addax.models.compute.adder import adder_conv2d
from addax.models.layers.adder import AdderConv2d
from addax.models.nets import zoo
from step_memory import step_memory
from torch.nn import functional as F

ETA = 0.2
THREADS = 2
IMAGES, CHANNELS, SIZE = 32, 64, 32


class _Cdist(torch.autograd.Function):
    """Distances of patches (N, K) to filters (O, K) as addax computed them before it had an operator."""

    @staticmethod
    def forward(ctx, patches, weight):
        ctx.save_for_backward(patches, weight)
        return -torch.cdist(patches, weight, p=1.0)

    @staticmethod
    def backward(ctx, grad):
        patches, weight = ctx.saved_tensors
        grad_patches = torch.zeros_like(patches)
        step = max(1, (1 << 24) // patches.numel())
        for begin in range(0, weight.shape[0], step):
            some = slice(begin, begin + step)
            clipped = (weight[some, None] - patches).clamp_(-1, 1)
            grad_patches += torch.einsum("onk,no->nk", clipped, grad[:, some])
        full = grad.T @ patches - weight * grad.sum(0)[:, None]
        return grad_patches, full * (ETA * math.sqrt(full.numel()) / full.norm().clamp_min(1e-12))


class _Broadcast(torch.autograd.Function):
    """Distances of patches (K, N) to filters (O, K) as the AdderNet authors publish them, each difference a number in
    memory."""

    @staticmethod
    def forward(ctx, weight, patches):
        ctx.save_for_backward(weight, patches)
        return -(weight.unsqueeze(2) - patches.unsqueeze(0)).abs().sum(1)

    @staticmethod
    def backward(ctx, grad):
        weight, patches = ctx.saved_tensors
        of_weight = ((patches.unsqueeze(0) - weight.unsqueeze(2)) * grad.unsqueeze(1)).sum(2)
        of_weight = of_weight / of_weight.norm(p=2).clamp(min=1e-12) * math.sqrt(of_weight.numel()) / 5
        of_patches = (-(patches.unsqueeze(0) - weight.unsqueeze(2)).clamp(-1, 1) * grad.unsqueeze(1)).sum(0)
        return of_weight, of_patches


def before(x, weight, stride=1, padding=1):
    """A convolution over `_Cdist`."""
    outputs, _, size, _ = weight.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in x.shape[2:])
    patches = F.unfold(x, size, padding=padding, stride=stride).transpose(1, 2).flatten(0, 1)
    out = _Cdist.apply(patches, weight.flatten(1))
    return out.view(len(x), rows * columns, outputs).transpose(1, 2).view(len(x), -1, rows, columns)


def published(x, weight):
    """A convolution over `_Broadcast`."""
    patches = F.unfold(x, 3, padding=1).permute(1, 2, 0).flatten(1)
    out = _Broadcast.apply(weight.flatten(1), patches)
    return out.view(len(weight), *x.shape[2:], len(x)).permute(3, 0, 1, 2)


def _seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _in_turn(counts, **ways):
    """Shortest time of each way, all measured in every round, so that a change of the machine's speed meets all; the
    first is quick, and is measured ``counts[1]`` times in each of ``counts[0]`` rounds."""
    first, *_ = ways
    times = {name: [] for name in ways}
    for _ in range(counts[0]):
        for name, way in ways.items():
            times[name] += [_seconds(way) for _ in range(counts[1] if name == first else 1)]
    return {name: min(found) for name, found in times.items()}


def _layer_step(product, images):
    x = torch.randn(images, CHANNELS, SIZE, SIZE, requires_grad=True)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, requires_grad=True)
    upstream = torch.randn(images, CHANNELS, SIZE, SIZE)
    return lambda: product(x, weight).backward(upstream)


def _layer(row):
    found = _in_turn(
        (2, 8),
        now=_layer_step(lambda x, weight: adder_conv2d(x, weight, padding=1), IMAGES),
        multiplying=_layer_step(lambda x, weight: F.conv2d(x, weight, padding=1), IMAGES),
        before=_layer_step(before, IMAGES),
        published=_layer_step(published, 8),
    )
    name = f"adder layer {CHANNELS} to {CHANNELS}, {IMAGES} x {SIZE} x {SIZE}"
    row(f"{name}, a step", 1000 * found["now"], "ms", f"{THREADS} threads")
    row("  beside cdist and clips in memory", found["before"] / found["now"], "times", f"{found['before']:.2f} s")
    share = found["published"] * IMAGES / 8
    row("  beside the published way, batch 8", share / found["now"], "times", f"{share:.2f} s for as many images")
    row("  beside the multiplying layer", found["now"] / found["multiplying"], "times its time")
    memory = step_memory(IMAGES, CHANNELS, CHANNELS, SIZE)
    row("  memory at most, of features and result", memory, "times", "gradients of both included")


def _network(row):
    torch.manual_seed(0)
    module = zoo.build("resnet20", kernel="adder")
    x, labels = torch.rand(128, 3, 32, 32), torch.randint(0, 10, (128,))

    def step():
        module.zero_grad()
        F.cross_entropy(module(x), labels).backward()

    def step_before():
        layers = [m for m in module.modules() if isinstance(m, AdderConv2d)]
        for m in layers:
            m.forward = lambda x, m=m: before(x, m.weight, m.stride, m.padding)
        step()
        for m in layers:
            del m.forward

    found = _in_turn((2, 4), now=step, before=step_before)
    row("adder ResNet-20, a step of 128 images", 1000 * found["now"], "ms", f"{THREADS} threads")
    row("  beside cdist and clips in memory", found["before"] / found["now"], "times", f"{found['before']:.2f} s")


def adder_training(row):
    """Both as ratios measured in one run; the shortest times of several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    try:
        _layer(row)
        _network(row)
    finally:
        torch.set_num_threads(threads)
