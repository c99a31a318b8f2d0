"""Processes that train one adder network together, each on its part of a batch."""

import socket
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.adder_gradients import scale_at_each_step
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH = 8


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), AdderConv2d(4, 6, 3), AdderConv2d(6, 5, 3, groups=1)).double()


def images():
    return torch.randn(BATCH, 1, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def loss_of(scores):
    return (scores.mean((2, 3)) - torch.arange(5, dtype=scores.dtype)).square().mean()


def train(module, own, *, parts=1, steps=2):
    """Filter gradients as the last step used them, and weights after it; gradients are accumulated over ``parts``."""
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    scale_at_each_step(optimiser, module)
    for _ in range(steps):
        optimiser.zero_grad()
        for part in own.chunk(parts):
            (loss_of(module(part)) / parts).backward()
        optimiser.step()
    adders = [m for m in module.modules() if isinstance(m, AdderConv2d)]
    return [m.weight.grad for m in adders], [p.detach() for p in module.parameters()]


def rank_of(rank, world, port, parts, out):
    """One of the processes."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        found = train(DistributedDataParallel(network()), images().chunk(world)[rank], parts=parts)
        if rank == 0:
            torch.save(found, out)
    finally:
        dist.destroy_process_group()


def train_in_ranks(world, parts, out: Path):
    """What `train` gives in the first of ``world`` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    others = [
        subprocess.Popen([sys.executable, __file__, *map(str, (rank, world, port, parts)), out])
        for rank in range(world)
    ]
    assert [other.wait(timeout=600) for other in others] == [0] * world
    return torch.load(out)


if __name__ == "__main__":
    rank_of(*map(int, sys.argv[1:5]), sys.argv[5])
