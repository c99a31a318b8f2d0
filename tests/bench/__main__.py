"""What ``make bench`` runs: speeds of the tool and of its simulations, as ratios measured in one run.

python -m tests.bench [simulation] [building] [golden] [generation] [estimate] [training] [blocks] [stalls] [engine]
    [engine_size] [gpu]
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from addax.common.cache import cached, digest
from addax.hdl.dataflow.build import StageBuild
from addax.hdl.dataflow.planning.choices import folds_of
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import hex_lines
from addax.hdl.interface import pack_pixels
from addax.models import data
from addax.models.files.checkpoint import load_checkpoint
from addax.models.files.published import addernet_resnet20
from addax.models.nets import zoo
from addax.models.training.loop import predict
from addax.quant import golden
from addax.quant.files.archive import save_program
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import unsigned
from addax.quant.golden.loops import NumpyLoops, native_loops
from addax.quant.lower.calibration import calibrate
from addax.quant.lower.lowering import lower
from addax.quant.published import cnv_w1a1, lfc_w1a1
from addax.quant.quantize import quantize
from addax.reports.estimate.estimate import stage_cost
from addax.sim import verilator
from addax.sim.cosim import answers, simulate, simulator_of
from addax.sim.verilator import BUILD_ARGS, find_verilator, tool_environment
from networks import Builder

from .adder_training import adder_training
from .blocks import block_sizes
from .engine import engine_table
from .engine_size import engine_size
from .gpu import gpu
from .stalls import campaign

REPEATS = 9
SHARED = Path("../shared/data")
"""Published weights and data sets, where there are any."""


def lenet5():
    return quantize("lenet5", kernel="adder", weights=None, bits=8, data_source="digits")


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

    environment = tool_environment()

    def make(folder):
        arguments = [a for a in BUILD_ARGS if a != "--timing"]
        subprocess.run(
            ["verilator", "--cc", "--exe", "--build", *arguments, "--top-module", build.prefix, "-Mdir", str(folder),
             "-o", "driver", str(build.sources[0]), str(source)],
            env={**environment, "MAKEFLAGS": f"{environment.get('MAKEFLAGS', '')} OPT_FAST=-O3".strip()}, check=True,
            capture_output=True,
        )  # fmt: skip

    folder, _ = cached("bench", digest(find_verilator().version, *BUILD_ARGS, *sources), make)
    return folder / "driver"


def building():
    """What compiling a simulator costs: processor time without and with the compiled library, and at either level of
    optimisation with the speed that comes of it. LeNet-5, and LFC-W1A1 where ../shared/data has it."""
    digits = data.load("digits", "test", shape=lenet5().input.shape).x
    _builds("adder LeNet-5", lenet5(), np.tile(digits, (2, 1, 1, 1)), device="ecp5-45k", clock_mhz=50.0)
    if SHARED.is_dir():
        program = lfc_w1a1(SHARED / "pretrained_bnn" / "lfcW1A1_mnist_decoded.npz")
        images = data.load(str(SHARED / "mnist"), "test").x[:300]
        _builds("LFC-W1A1", program, images, device="xc7z020", clock_mhz=200.0, fps=250_000)


def _builds(name, program, images, **target):
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADDAX_CACHE", home)
        build = generate(program, fold(program, **target), Path(home, "build"), vectors=images[:1])
        for large, note in ((1 << 40, "-O3, library too"), (1 << 40, "-O3"), (0, "-O1")):
            patch.setattr(verilator, "_LARGE", large)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            simulator = simulator_of(build)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            rates = [(outcome := simulate(build, images)).cycles / outcome.seconds for _ in range(3)]
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            row(f"{name}, simulator, {note}", spent, "s processor", f"{max(rates):,.0f} cycles/s")
            shutil.rmtree(simulator.folder)


def golden_model():
    """The integer model against torch on the same threads: layers, then whole networks (published ones where
    ../shared/data has them)."""
    _layers()
    program = lenet5()
    network, _ = load_checkpoint(zoo.shipped_checkpoint("lenet5", "adder"))
    images = np.concatenate([data.load("digits", "test", shape=program.input.shape).x] * 4)
    _network("adder LeNet-5", program, images, lambda: predict(network, images))
    if not SHARED.is_dir():
        print(f"no {SHARED}: published networks are left out")
        return
    mnist = data.load(str(SHARED / "mnist"), "test").x
    published = SHARED / "pretrained_bnn" / "lfcW1A1_mnist_decoded.npz"
    lfc = lfc_w1a1(published)
    _network("LFC-W1A1", lfc, mnist, lambda: _float_lfc(published, mnist))
    cifar = data.load(str(SHARED / "cifar10" / "cifar10_lossless_train4000.npz"), "train").x
    _network("CNV-W1A1", cnv_w1a1(SHARED / "pretrained_bnn" / "cnvW1A1_cifar10_decoded.npz"), cifar[:1000], None)
    resnet = addernet_resnet20(SHARED / "pretrained_addernet" / "ResNet20-AdderNet-CIFAR10.pth")
    few = cifar[300:364]
    found = calibrate(resnet, cifar[:32])
    for bits in (8, 4):
        whole = np.concatenate([few] * 8)
        program = lower(resnet, found, scheme=Scheme(bits=bits))
        _network(f"adder ResNet-20, {bits} bit", program, whole, None)
    seconds, _ = best(lambda: predict(resnet, few), repeats=1)
    row("  torch, float32", len(few) / seconds, "images/s")


def _layers():
    """Adder, binary and multiplying products on one thread."""
    rng = np.random.default_rng(0)
    loops = native_loops()
    for taps in (144, 288, 576, 1152):
        x = rng.integers(0, 256, (4096, taps), dtype=np.uint8)
        w = rng.integers(0, 256, (64, taps), dtype=np.uint8)
        seconds, _ = best(lambda x=x, w=w: loops.adder(x, w, 1 << 20))
        twin, _ = best(lambda x=x, w=w: NumpyLoops().adder(x[:512], w, 1 << 20), repeats=3)
        a, b = torch.from_numpy(x[:1024]).float(), torch.from_numpy(w).float()
        cdist, _ = best(lambda a=a, b=b: torch.cdist(a, b, p=1.0), repeats=3)
        rates = [n * 64 * taps / s / 1e9 for n, s in ((4096, seconds), (512, twin), (1024, cdist))]
        row(f"adder layer, K = {taps}, {loops.name}, one thread", rates[0], "G terms/s",
            f"numpy twin {rates[1]:.2f}, torch.cdist {rates[2]:.2f} on {torch.get_num_threads()} threads")  # fmt: skip
    x = rng.integers(0, 1 << 62, (1024, 16)).astype(np.uint64)
    seconds, _ = best(lambda: loops.differing(x, x))
    row("binary layer, K = 1024, one thread", 1024 * 1024 * 1024 / seconds / 1e9, "G terms/s")
    x = rng.integers(-128, 128, (4096, 576)).astype(np.int16)
    seconds, _ = best(lambda: loops.mult(x, x[:64], 1 << 30))
    row("8-bit multiplying layer, K = 576, one thread", 4096 * 64 * 576 / seconds / 1e9, "G terms/s")


def _network(name, program, images, reference):
    seconds, _ = best(lambda: golden.run(program, images), repeats=3)
    terms = len(images) * program.macs() / seconds / 1e9
    row(f"{name}, golden, {os.cpu_count()} threads", len(images) / seconds, "images/s", f"{terms:.2f} G terms/s")
    if reference is not None:
        seconds, _ = best(reference, repeats=3)
        row("  torch, float32", len(images) / seconds, "images/s")


def _float_lfc(path, images):
    """LFC-W1A1 as torch matrix products of signs."""
    with np.load(path, allow_pickle=False) as archive:
        weights = [torch.from_numpy(2.0 * archive[f"W{k}"] - 1).float() for k in range(4)]
        levels = [torch.from_numpy(archive[f"T{k}"]).float() for k in range(4)]
    x = torch.full((len(images), 832), -1.0)
    x[:, :784] = torch.from_numpy(np.where(images.reshape(len(images), -1) >= 128, 1.0, -1.0)).float()
    for weight, level in zip(weights, levels, strict=True):
        x = torch.where((x @ weight.T + weight.shape[1]) / 2 > level, 1.0, -1.0)
    return x


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
    _grows("layers of 32 lanes", (5, 10, 20, 40), lambda layers: (_chain(layers), 32 * layers))
    _grows("lanes per layer, 5 layers", (32, 64, 128, 256), lambda lanes: (_chain(5), 5 * lanes))


def _chain(layers):
    """Adder layers of 16 channels, 3 x 3, on a map of 8 x 8."""
    b = Builder(np.random.default_rng(0), (16, 8, 8))
    for _ in range(layers - 1):
        b.convolution("adder", 16, 3, 1, 1, 8)
        b.requantise(unsigned(8))
    b.convolution("adder", 10, 8, 1, 0, 8)
    b.requantise(None, scores=True)
    return b.program()


def _grows(what, sizes, make):
    """Seconds to generate at each size, and the exponent with which they grow from the first to the last."""
    seconds = []
    for size in sizes:
        program, lanes = make(size)
        vectors = np.zeros((1, *program.input.shape), np.uint8)
        with tempfile.TemporaryDirectory() as name:
            begin = time.perf_counter()
            plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=lanes)
            build = generate(program, plan, Path(name, "build"), vectors=vectors)
            seconds.append(time.perf_counter() - begin)
        row(f"fold and generate, {size} {what}", seconds[-1], "s", f"{build.schedule.lanes} lanes")
    exponent = np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0])
    row("exponent of the growth", exponent, "", "1 is linear")


def stalls():
    """Random stalls over the networks of the zoo, every score compared with the golden model."""
    campaign(row)


def estimating():
    """The estimator over every fold of LeNet-5, each stage seen for the first time, and seen again."""
    cost = stage_cost("ecp5")
    builds = [StageBuild(stage=stage, plan=fold) for stage in stages_of(lenet5()) for fold in folds_of(stage)]
    for which in ("for the first time", "again"):
        begin = time.process_time()
        for build in builds:
            cost(build)
        seconds = time.process_time() - begin
        row(f"stages estimated, {which}", len(builds) / seconds, "1/s", f"{len(builds)} folds, of processor time")


def training():
    """Training steps of an adder layer and of a network of them, on two threads, beside what they replaced."""
    adder_training(row)


def blocks():
    """Windows and queues on ECP5, synthesised, placed and routed, beside what they were."""
    block_sizes(row)


def engine():
    """Networks on engines of 16 x 16 lanes, a memory of 128 bits and 20 cycles: every stored tensor compared."""
    engine_table(row)


def engine_sizes():
    """The engine on xczu7ev, block by block, and its clock on ECP5."""
    engine_size(row)


BENCHES = {
    "simulation": simulation,
    "building": building,
    "golden": golden_model,
    "generation": generation,
    "estimate": estimating,
    "training": training,
    "blocks": blocks,
    "stalls": stalls,
    "engine": engine,
    "engine_size": engine_sizes,
    "gpu": gpu,
}


def main():
    chosen = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        sys.exit(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHES)}")
    for name in chosen:
        print(f"# {BENCHES[name].__doc__}")
        BENCHES[name]()


if __name__ == "__main__":
    main()
