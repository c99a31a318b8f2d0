"""FDA-BNN's ResNet-20 and VGG-small at CIFAR size from torch to RTL: 20 images, every word compared; then a report.

python -m tests.bench.fda_rtl [resnet20] [vgg-small] [--build-only]

Weights are random and fixed. Each network takes some minutes; `make guard` has the same at 8x8 and 16x16 pixels
(tests/sim/test_binary_networks.py).
"""

import sys
import time
from pathlib import Path

import torch
from addax.api.build import Build
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models.nets import zoo
from addax.quant.lower.lowering import lower
from addax.sim.cosim import simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "support" / "programs"))

from torchnets import pictures, settle

SHAPE, IMAGES = (3, 32, 32), 20
LANES = {"resnet20": 600, "vgg-small": 4000}


def run(name, folder, build_only):
    """Lower, generate, report and, unless ``build_only``, simulate one network."""
    torch.manual_seed(0)
    begin = time.perf_counter()
    module = settle(zoo.build(name, kernel="xnor:fda", shape=SHAPE), pictures(64, SHAPE))
    program = lower(module, pictures(64, SHAPE))
    plan = fold(program, device="xczu7ev", clock_mhz=200.0, lanes=LANES[name])
    build = generate(program, plan, folder / name, vectors=sample_vectors(program, 1))
    print(f"{name}: built in {time.perf_counter() - begin:.0f} s, {build.schedule.interval:,} cycles per image")
    report = Build(folder=build).report().keys()
    print(f"{name}: {', '.join(f'{key} {report[key]:,}' for key in ('lut', 'ff', 'bram', 'dsp'))} ({report['source']})")
    if not build_only:
        begin = time.perf_counter()
        outcome = simulate(build, pictures(IMAGES, SHAPE, seed=1))
        seconds = time.perf_counter() - begin
        print(f"{name}: {outcome.images} images, {outcome.mismatches} mismatches, {seconds:.0f} s")
        return outcome.mismatches
    return 0


def main(arguments):
    names = [name for name in arguments if name in LANES] or list(LANES)
    wrong = sum(run(name, Path("out/fda"), "--build-only" in arguments) for name in names)
    sys.exit(3 if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
