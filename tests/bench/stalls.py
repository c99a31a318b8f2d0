"""Random stalls over the networks of the zoo: every pattern, few and many of them, one Verilator build per network."""

import tempfile
from pathlib import Path

import numpy as np
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models import data
from addax.quant.published import cnv_w1a1, lfc_w1a1
from addax.quant.quantize import quantize
from addax.sim.cosim import simulate
from addax.sim.stall import PATTERNS

SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
SHARED = Path("../shared/data")


def networks():
    """Name, Program, fold and images of a run for every network there is data for."""
    digits = data.load("digits", "test", shape=(1, 16, 16)).x
    for kernel in ("adder", "mult", "xnor", "shift"):
        program = quantize("lenet5", kernel=kernel, weights=None, bits=8, data_source="digits")
        yield f"{kernel} LeNet-5", program, {"device": "ecp5-85k", "clock_mhz": 50.0}, digits[:12]
    if not SHARED.is_dir():
        print(f"no {SHARED}: published networks are left out")
        return
    mnist = data.load(str(SHARED / "mnist"), "test", shape=(1, 28, 28)).x
    cifar = data.load(str(SHARED / "cifar10" / "cifar10_lossless_train4000.npz"), "train", shape=(3, 32, 32)).x
    weights = SHARED / "pretrained_bnn"
    target = {"device": "xc7z020", "clock_mhz": 200.0, "fps": 356_633}
    yield "LFC-W1A1", lfc_w1a1(weights / "lfcW1A1_mnist_decoded.npz"), target, mnist[:20]
    target = {"device": "xczu7ev", "clock_mhz": 100.0, "fps": 3_052}
    yield "CNV-W1A1", cnv_w1a1(weights / "cnvW1A1_cifar10_decoded.npz"), target, cifar[:2]
    resnet = quantize(
        "addernet-resnet20", kernel=None, weights=SHARED / "pretrained_addernet" / "ResNet20-AdderNet-CIFAR10.pth",
        bits=8, data_source=str(SHARED / "cifar10" / "cifar10_lossless_train4000.npz"),
    )  # fmt: skip
    yield "adder ResNet-20", resnet, {"device": "xczu7ev", "clock_mhz": 100.0, "lanes": 2048}, cifar[:2]


def campaign(row):
    """Images and cycles per network; stops at the first score that differs, and at a pipeline that hangs."""
    totals = np.zeros(3, np.int64)
    for name, program, target, images in networks():
        done = np.zeros(3, np.int64)
        with tempfile.TemporaryDirectory() as home:
            build = generate(program, fold(program, **target), Path(home, "build"), vectors=sample_vectors(program, 1))
            for number, (pattern, share) in enumerate((p, s) for p in PATTERNS for s in SHARES):
                outcome = simulate(build, images, stall=share, stall_pattern=pattern, seed=1000 * number + 1)
                assert outcome.bit_exact, f"{name}: {outcome.mismatches} words differ, {pattern} {share:.0%}"
                done += (outcome.images, outcome.cycles, 1)
        row(f"stalls, {name}", done[1] / 1e3, "k cycles", f"{done[0]} images, {done[2]} runs, 0 mismatches")
        totals += done
    row("stalls, all", totals[1] / 1e3, "k cycles", f"{totals[0]} images, {totals[2]} runs, 0 mismatches")
