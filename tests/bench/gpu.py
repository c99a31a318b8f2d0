"""The adder convolution on a GPU: right, and how fast. One prepared script for a machine that is lent for minutes.

python -m tests.bench gpu, or, where there are torch and Triton but nothing else of addax's:
mkdir -p build/src && ln -sfn ../.. build/src/addax && PYTHONPATH=build/src python tests/bench/gpu.py

Every line is a figure; a wrong result ends it with exit code 1. Takes about five minutes, most of them compilations.
"""

import functools
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

SUPPORT = Path(__file__).parents[1] / "support" / "programs"
FORMS = {
    "plain": {"inputs": 37, "outputs": 85},
    "strides, dilation": {"dilation": (3, 2), "stride": (2, 4), "padding": (2, 5), "height": 11, "width": 12},
    "even kernel": {"kernel": (2, 4), "stride": (3, 2), "padding": (1, 2), "height": 9},
    "groups, bias": {"groups": 3, "inputs": 5, "outputs": 7, "bias": True},
    "depthwise": {"groups": 21, "inputs": 1, "outputs": 1, "stride": (2, 1)},
    "wide": {"inputs": 130, "outputs": 140, "height": 17, "width": 19},
}
LAYERS = ((256, 16, 32), (256, 32, 16), (256, 64, 8), (64, 256, 14), (64, 512, 16))
"""Images, channels and size of layers of 3 x 3 taps, as many filters as channels: those of ResNet-20, then wider ones,
as a spike on an H200 had them."""
CLOCK = 1.98e9
"""Of an H200, where torch does not tell a GPU's own."""
LANES = 128
"""Instructions that a multiprocessor begins in a cycle."""
TILES_TRIED = 3
REPEATS = 20
DEVICE = "cuda"


def row(name, value, unit, note=""):
    print(f"{name:<58}{value:>14,.2f} {unit:<12}{note}", flush=True)


def peak():
    """Instructions per second, and half of that: terms of two."""
    found = torch.cuda.get_device_properties(0)
    clock = 1000 * getattr(found, "clock_rate", 0) or CLOCK
    return found.multi_processor_count * LANES * clock


def seconds(work):
    """Shortest of several runs, by the GPU's own clock."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return min(times)


def correct():
    """Results and gradients against the definition in float64, in units of what float32 sums may lose."""
    from addax.models.compute.adder import adder_conv2d
    from adder_definition import defined, make_case

    for name, form in FORMS.items():
        for last, dtype in ((False, torch.float32), (True, torch.float32), (False, torch.bfloat16)):
            case = make_case(0, last=last, dtype=dtype, **form)
            x, w = (t.to(DEVICE).requires_grad_() for t in (case.x, case.weight))
            y = adder_conv2d(x, w, None if case.bias is None else case.bias.to(DEVICE), **case.options)
            upstream = torch.randn(y.shape).to(dtype)
            y.backward(upstream.to(DEVICE))
            wanted = defined(case, upstream)
            eps = 16 * torch.finfo(torch.float32).eps + torch.finfo(dtype).eps
            parts = ((y, wanted.y, wanted.y_terms), (x.grad, wanted.x, wanted.x_terms))
            # torch's convolution, which has the products of the filter gradient, may round them to 10 bits.
            parts += ((w.grad, wanted.weight, 2**11 * wanted.weight_terms),) if dtype == torch.float32 else ()
            off = [float(((a.detach().cpu().double() - b).abs() / (eps * t + 1e-30)).max()) for a, b, t in parts]
            row(f"{name}, {dtype}{', channels last' if last else ''}", max(off), "of 1 allowed")
            if not max(off) <= 1:
                sys.exit(f"wrong: {name}, {dtype}, {off}")


def correct_bytes():
    """Distances of bytes against numpy's."""
    from addax.models.compute import gpu_kernels
    from addax.models.compute.gpu import has_instructions
    from addax.quant.golden.gpu import GpuLoops
    from addax.quant.golden.loops import NumpyLoops

    loops = GpuLoops(NumpyLoops(), gpu_kernels, torch.device(DEVICE), asm=has_instructions(), few=0)
    rng = np.random.default_rng(0)
    for count, filters, taps in ((1, 1, 1), (130, 5, 9), (140, 130, 144), (5000, 64, 576)):
        x, w = (rng.choice([0, 255, *range(256)], (n, taps)).astype(np.uint8) for n in (count, filters))
        if not np.array_equal(loops.adder(x, w, 255 * taps), NumpyLoops().adder(x, w, 255 * taps)):
            sys.exit(f"wrong: distances of bytes, {count} x {filters} x {taps}")
    print("distances of bytes are numpy's")


def layers():
    """Terms per second of both kernels with the tile that is chosen, and with others; packing of filters included."""
    for images, channels, size in LAYERS:
        layer(images, channels, size)


def layer(images, channels, size):
    from addax.models.compute.gpu import TILES, gpu_back_end, tile_for
    from addax.models.compute.shape import ConvolutionShape

    back_end = gpu_back_end()
    x, g = (torch.randn(images, channels, size, size, device=DEVICE) for _ in range(2))
    w, out = torch.randn(channels, channels, 3, 3, device=DEVICE), torch.empty_like(x)
    shape = ConvolutionShape.of(x, w, (1, 1), (1, 1), (1, 1), 1)
    terms = x.numel() * channels * 9e-12
    chosen = tile_for(images * size * size, channels, 1)
    fitting = [tile for tile in TILES if tile.right <= channels][:TILES_TRIED]
    ways = {
        "forward": lambda tile: back_end.forward(x, w, None, shape, out, tile),
        "feature gradient": lambda tile: back_end.features(x, w, g, shape, out, tile),
    }
    for name, way in ways.items():
        rates = {tile: terms / seconds(functools.partial(way, tile)) for tile in dict.fromkeys([chosen, *fitting])}
        share = 200e12 * rates[chosen] / peak()
        row(f"{images} x {channels} x {size} x {size}, {name}", rates[chosen], "T terms/s",
            f"{share:.0f} % of two instructions' peak")  # fmt: skip
        for tile in fitting:
            print(f"    {rates[tile]:.2f} with {tile}")
    row("  convolution of torch", terms / seconds(lambda: F.conv2d(x, w, padding=1)), "T terms/s")
    last = x.contiguous(memory_format=torch.channels_last)
    rate = terms / seconds(lambda: back_end.forward(last, w, None, shape, out, chosen))
    row("  forward, features channels last", rate, "T terms/s")


def byte_layers():
    """Terms per second of distances of bytes that lie on the GPU."""
    for images, channels, size in LAYERS:
        byte_layer(images * size * size, channels)


def byte_layer(patches, channels):
    from addax.models.compute import gpu_kernels
    from addax.models.compute.gpu import has_instructions, tile_for

    words = channels * 9 // 4
    x, w = (
        torch.randint(-(2**31), 2**31 - 1, (words, n), dtype=torch.int32, device=DEVICE) for n in (patches, channels)
    )
    y = torch.empty(patches, channels, dtype=torch.int32, device=DEVICE)
    tile = tile_for(patches, channels, 1)
    kernel = gpu_kernels.byte_distances[patches // tile.down, channels // tile.right]
    options = {"WORDS": words, "FILTERS": channels, "ASM": has_instructions(), **tile.options(words)}
    rate = 4e-12 * y.numel() * words / seconds(lambda: kernel(x, w, y, patches, patches, channels, **options))
    row(f"{patches} x {channels * 9} x {channels}, bytes", rate, "T terms/s")


def resnet():
    """Training steps of ResNet-20, 256 images: forward and backward as written and as one CUDA graph, and the rest."""
    from addax.models.layers.adder_gradients import scale_adder_gradients
    from addax.models.nets import zoo
    from addax.models.training.graphs import Replayed

    for kernel, precision in (("adder", torch.float32), ("adder", torch.bfloat16), ("mult", torch.float32)):
        torch.manual_seed(0)
        module = zoo.build("resnet20", kernel=kernel).to(DEVICE)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        x, y = torch.rand(256, 3, 32, 32, device=DEVICE), torch.randint(0, 10, (256,), device=DEVICE)

        def passes(x, y, module=module, precision=precision):
            with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == torch.bfloat16):
                cost = F.cross_entropy(module(x).float(), y)
            cost.backward()
            return cost.detach()

        def step(work, x=x, y=y, module=module, optimiser=optimiser):
            optimiser.zero_grad()
            loss = work(x, y)
            scale_adder_gradients(module)
            optimiser.step()
            return loss

        replayed = Replayed(passes, module.parameters(), lambda x, y: None)
        first = float(step(passes))
        for name, work in (("as written", passes), ("as a CUDA graph", replayed)):
            row(f"{kernel} ResNet-20, {precision}, {name}", 1000 * seconds(lambda work=work: step(work)), "ms")
        last = float(step(replayed))
        if not last < first:
            sys.exit(f"wrong: the loss of one batch went from {first:.3f} to {last:.3f} in {2 * REPEATS} steps")


def gpu():
    """The kernels for GPUs: right, terms per second, share of the peak; a training step."""
    if not torch.cuda.is_available():
        print("no GPU: its kernels are left out")
        return
    print(torch.cuda.get_device_name(), "torch", torch.__version__, f"peak {peak() / 1e12:.1f} T instructions/s")
    sys.path.insert(0, str(SUPPORT))
    for part in (correct, correct_bytes, layers, byte_layers, resnet):
        begin = time.perf_counter()
        part()
        print(f"  {part.__name__}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    gpu()
