"""Small torch networks with random weights, and images for them, for tests of what lowering makes of a network."""

import copy

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    """The modules given by name, called as the function ``flow(net, x)`` says."""

    def __init__(self, flow, **modules):
        super().__init__()
        self.flow = flow
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.flow(self, x)


def pictures(count, shape, seed=0):
    """Random images whose neighbouring pixels are alike, (N, C, H, W) uint8; a few pixels are 0 and 255."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.normal(0, 60, (count, channels, -(-height // 4), -(-width // 4)))
    smooth = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]
    pixels = 128 + smooth + rng.normal(0, 40, (count, *shape))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def settle(net, images, *, seed=0, signs=(1.0,)):
    """Give batch norms the statistics of ``images`` and random factors, of random ``signs``; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.uniform_(norm.bias, -0.5, 0.5, generator=generator)
        with torch.no_grad():
            chosen = torch.randint(len(signs), norm.weight.shape, generator=generator)
            norm.weight *= torch.tensor(signs)[chosen]
    net.train()
    with torch.no_grad():
        for batch in as_floats(images).float().split(64):
            net(batch)
    return net.eval()


def as_floats(images):
    """Pixels in 0..1, in double precision."""
    return torch.from_numpy(images.astype(np.float64) / 255)


def run(net, images):
    """Results of every module by its path, and of the network under ``""``, (N, ..) each, in double precision."""
    seen, exact = {}, copy.deepcopy(net).double()
    for path, module in exact.named_modules():
        module.register_forward_hook(lambda m, a, result, path=path: seen.__setitem__(path, result.numpy()))
    with torch.no_grad():
        exact(as_floats(images))
    return seen
