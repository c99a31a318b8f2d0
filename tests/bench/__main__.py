"""What ``make bench`` runs: speeds of the tool and of its simulations, as ratios measured in one run.

python -m tests.bench [simulation] [golden] [generation] [training]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from addax.common.cache import cached, digest
from addax.hdl.emit import generate, hex_lines, pack_pixels
from addax.hdl.fold import fold
from addax.models import data, zoo
from addax.models.adder import adder_product
from addax.models.checkpoint import load_checkpoint
from addax.models.train import predict
from addax.quant import golden
from addax.quant.archive import save_program
from addax.quant.quantise import quantise
from addax.sim.cosim import answers, simulate
from addax.sim.verilator import BUILD_ARGS, find_verilator, tool_environment

REPEATS = 9


def lenet5():
    return quantise("lenet5", kernel="adder", weights=None, bits=8, data_source="digits")


def best(function, repeats=REPEATS):
    """Shortest time of several runs, in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - begin)
    return min(times), result


def row(name, value, unit, note=""):
    print(f"{name:<58}{value:>14,.1f} {unit:<12}{note}", flush=True)


def simulation():
    """Co-simulation under cocotb against a plain C++ driver of the same model, both over the same 1,000 images."""
    program = lenet5()
    images = np.tile(data.load("digits", "test", shape=program.input.shape).x, (3, 1, 1, 1))[:1000]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = fold(program, device="ecp5-45k", clock_mhz=50.0)
        build = generate(program, plan, folder / "build", vectors=images[:4])
        driver = _driver(build)
        (folder / "stimulus.txt").write_text(hex_lines(pack_pixels(images), 8))
        command = [driver, folder / "stimulus.txt", len(images), build.manifest["beats"], build.manifest["answers"]]
        ours, theirs = [], []
        for _ in range(REPEATS):  # in turn, so that a change of the machine's speed meets both
            outcome = simulate(build, images)
            assert outcome.bit_exact
            ours.append(outcome.cycles / outcome.seconds)
            printed = subprocess.run(
                [str(part) for part in command], cwd=build.path, capture_output=True, text=True, check=True
            ).stdout.split()
            theirs.append(int(printed[0]) / float(printed[1]))
            mask = (1 << build.manifest["data_out"]) - 1
            assert int(printed[2]) == int((answers(program, images) & mask).sum()), "the driver saw other scores"
    row("co-simulation under cocotb, median", np.median(ours), "cycles/s")
    row("plain C++ driver of the same model, median", np.median(theirs), "cycles/s")
    ratios = np.array(ours) / np.array(theirs)
    row(
        "ratio, median of pairs",
        100 * np.median(ratios),
        "%",
        f"of {REPEATS}: {100 * ratios.min():.0f} to {100 * ratios.max():.0f}",
    )


def _driver(build):
    source = Path(__file__).with_name("driver.cpp")
    sources = [build.sources[0].read_bytes(), source.read_bytes()]

    def make(folder):
        arguments = [a for a in BUILD_ARGS if a != "--timing"]
        subprocess.run(
            ["verilator", "--cc", "--exe", "--build", *arguments, "--top-module", build.prefix, "-Mdir", str(folder),
             "-o", "driver", str(build.sources[0]), str(source)],
            env=tool_environment(), check=True, capture_output=True,
        )  # fmt: skip

    folder, _ = cached("bench", digest(find_verilator().version, *BUILD_ARGS, *sources), make)
    return folder / "driver"


def golden_model():
    """The integer model (one thread) against the float network in torch (as many threads as it takes)."""
    program = lenet5()
    network, _ = load_checkpoint(zoo.shipped_checkpoint("lenet5", "adder"))
    images = np.concatenate([data.load("digits", "test", shape=program.input.shape).x] * 4)
    for name, function in (
        ("golden model", lambda: golden.run(program, images)),
        ("torch, float32", lambda: predict(network, images)),
    ):
        seconds, _ = best(function)
        terms = len(images) * program.macs() / seconds / 1e9
        row(f"{name}, adder LeNet-5", len(images) / seconds, "images/s", f"{terms:.2f} G terms/s")


def generation():
    """From a Program to a BUILD folder."""
    program = lenet5()
    vectors = np.zeros((1, *program.input.shape), np.uint8)
    for lanes in (20, 40, 80):
        with tempfile.TemporaryDirectory() as name:
            begin = time.perf_counter()
            plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=lanes)
            middle = time.perf_counter()
            build = generate(program, plan, Path(name, "build"), vectors=vectors)
            end = time.perf_counter()
        row(
            f"fold and generate, {build.schedule.lanes} lanes",
            end - begin,
            "s",
            f"{middle - begin:.1f} s of it to fold",
        )
    with tempfile.TemporaryDirectory() as name:
        seconds, _ = best(lambda: save_program(Path(name, "net.addax"), program))
    row("write .addax", 1000 * seconds, "ms")


def training():
    """A training step of an adder layer against the multiplying one, 1024 x 64 x 576."""
    torch.manual_seed(0)
    x, w = torch.randn(1024, 576, requires_grad=True), torch.randn(64, 576, requires_grad=True)

    def step(product):
        (product(x, w) ** 2).sum().backward()

    terms = 1024 * 64 * 576 / 1e9
    adder, _ = best(lambda: step(adder_product))
    mult, _ = best(lambda: step(lambda a, b: a @ b.T))
    row("adder layer, forward and backward", terms / adder, "G terms/s")
    row("multiplying layer, forward and backward", terms / mult, "G terms/s")


BENCHES = {"simulation": simulation, "golden": golden_model, "generation": generation, "training": training}


def main():
    chosen = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        sys.exit(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHES)}")
    for name in chosen:
        print(f"# {BENCHES[name].__doc__}")
        BENCHES[name]()


if __name__ == "__main__":
    main()
