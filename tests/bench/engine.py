"""The table of docs/engine.md: networks on engines, every stored tensor compared, every cycle as predicted."""

import tempfile
import time
from pathlib import Path

import numpy as np
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.folder.engine import generate_engine
from addax.models import data
from addax.quant.published import cnv_w1a1
from addax.quant.quantize import quantize
from addax.sim.engine import engine_simulator, run_engine
from addax.sim.engine_trace import compare_tensors
from engine_networks import edsr, mobilenet_v2, resnet_18, resnet_50

__all__ = ["Case", "cases", "engine_runs", "engine_table", "measured"]

SHARED = Path("../shared/data")
CIFAR = SHARED / "cifar10" / "cifar10_lossless_train4000.npz"


class Case:
    """A row: what it is called, the engine, what makes the Program, and how many images are simulated."""

    def __init__(self, name, make, images, pixels=None, **plan):
        self.name, self.make, self.images, self.pixels = name, make, images, pixels
        self.plan = EnginePlan(**{"device": "xczu7ev", "clock_mhz": 200.0, **plan})


def _published(bits):
    weights = SHARED / "pretrained_addernet" / "ResNet20-AdderNet-CIFAR10.pth"
    return quantize("addernet-resnet20", kernel=None, weights=weights, bits=bits, data_source=str(CIFAR))


def _lenet5():
    return quantize("lenet5", kernel="adder", weights=None, bits=8, data_source="digits")


def _digits(program):
    return data.load("digits", "test", shape=program.input.shape).x


def _cifar(program):
    return np.load(CIFAR)["train_x"].transpose(0, 3, 1, 2)


def _random(program):
    return np.random.default_rng(1).integers(0, 256, (1, *program.input.shape))


def cases():
    """All rows; those of published networks where there are their weights."""
    published = [
        Case("ResNet-20, published AdderNet weights", lambda: _published(8), 20, _cifar),
        Case("the same, 16 bit", lambda: _published(16), 2, _cifar, bits=16),
        Case("CNV-W1A1, published", lambda: cnv_w1a1(SHARED / "pretrained_bnn" / "cnvW1A1_cifar10_decoded.npz"), 100,
             _cifar, kernels=("xnor", "mult")),
    ]  # fmt: skip
    own = [
        Case("LeNet-5", _lenet5, 20, _digits), Case("ResNet-18 at 224 x 224, random weights", resnet_18, 1, _random),
        Case("ResNet-50 at 224 x 224, random weights", resnet_50, 1, _random),
        Case("the same, 32 x 32, 256 bit, 256 KiB of features, 64 KiB of weights", resnet_50, 1, _random, pin=32,
             pout=32, memory_bits=256, feature_bytes=256 * 1024, weight_bytes=64 * 1024),
        Case("EDSR baseline, a 64 x 64 crop, random weights", edsr, 1, _random),
        Case("MobileNetV2 at 224 x 224, random weights", mobilenet_v2, 1, _random, depthwise=3),
    ]  # fmt: skip
    if not SHARED.is_dir():
        print(f"no {SHARED}: published networks are left out")
        return own
    return published + own


def measured(case, simulator):
    """Cycles, share of lanes at work, seconds to compile and to simulate an image; what differs ends the run."""
    program = case.make()
    begin = time.perf_counter()
    image = compiled(program, case.plan)
    compiling = time.perf_counter() - begin
    pixels = np.asarray(case.pixels(program)[: case.images]).astype(np.int64)
    runs = [run_engine(simulator, image, own) for own in pixels]
    for run, own in zip(runs, pixels, strict=True):
        assert run.cycles == predicted(image).total, (case.name, run.cycles)
        wrong = [stage for stage in compare_tensors(image, own[None], [run.words]) if stage.mismatches]
        assert not wrong, (case.name, wrong[0])
    cycles = runs[0].cycles
    share = program.macs() / case.plan.lanes / cycles
    return cycles, share, compiling, sum(run.seconds for run in runs) / len(runs)


def engine_runs():
    """Each case with its cycles, share of lanes at work, seconds to compile and to simulate an image; engines that are
    the same are built once."""
    simulators = {}
    for case in cases():
        if case.plan not in simulators:
            with tempfile.TemporaryDirectory() as folder:
                simulators[case.plan] = engine_simulator(generate_engine(case.plan, Path(folder, "build")))
        yield case, *measured(case, simulators[case.plan])


def engine_table(row):
    """One row for each network."""
    for case, cycles, share, compiling, seconds in engine_runs():
        note = f"{share:.1%} of lanes, {case.images} images, compiled in {compiling:.1f} s, {seconds:.1f} s an image"
        row(case.name, cycles, "cycles", note)
