"""``python step_memory.py IMAGES CHANNELS FILTERS SIZE`` prints what a training step of an adder layer takes at most,
as a multiple of its features and its result; 3 x 3 taps. A process of its own: the system counts per process."""

import re
import subprocess
import sys
from pathlib import Path

THREADS = 2


def megabytes(what):
    return int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


def step(images, channels, filters, size):
    import torch
    from addax.models.compute.adder import adder_conv2d

    x = torch.randn(images, channels, size, size, requires_grad=True)
    weight = torch.randn(filters, channels, 3, 3, requires_grad=True)
    y = adder_conv2d(x, weight, padding=1)
    y.backward(torch.randn_like(y))
    return 4e-6 * (x.numel() + y.numel())


def main(sizes):
    import torch

    torch.set_num_threads(THREADS)
    step(1, 16, 16, 8)  # loads and starts whatever stays
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = megabytes("VmRSS")
    operands = step(*sizes)
    print((megabytes("VmHWM") - before) / operands)


def step_memory(*sizes):
    """The multiple, measured in a new process."""
    command = [sys.executable, __file__, *map(str, sizes)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
