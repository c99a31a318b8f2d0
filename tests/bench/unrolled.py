"""What networks with fixed weights take where everything is computed at once: an image in every clock.

python -m tests.bench.unrolled [KERNEL ..] [--factors any] [--device xc7z020] [--clock 200] [--form device]
    [--multipliers dsp] [--stream none] [--deep] [--no-synth]

Perceptrons of 16-16-5 features, with ``--deep`` also of 16-32-16-5: pixels of 8 bits (of adders also 4; binary ones of
1), weights of 4 bits of which 30 % are 0, 6 bits between layers. One line each: lookup tables, flip-flops, carry cells
and multiplier blocks by yosys, cycles from pixels to the result, seconds to Verilog, lookup tables per weight.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from addax.api.build import Build
from addax.common.temporary import scratch_folder
from addax.hdl.dataflow.handshake import without_handshake
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.lanes.structures import default_structure
from addax.quant.formats import unsigned
from addax.reports.devices.devices import device
from addax.reports.estimate.estimate import design as estimated
from addax.reports.planning import COMPRESSING, LEVEL_NS

sys.path.insert(0, str(Path(__file__).parents[1] / "support" / "programs"))

from perceptrons import perceptron

FLAT, DEEP = (16, 16, 5), (16, 32, 16, 5)


def measured(name, program, target, clock, form, multipliers, *, stream="axi", synth=True):
    """Print the line of one network."""
    rng = np.random.default_rng(1)
    fmt = program.input.format
    vectors = rng.integers(fmt.lo, fmt.hi, (4, *program.input.shape), endpoint=True)
    begin = time.perf_counter()
    fabric = target.fabric if form == "device" else "generic"
    structures = {} if multipliers == "dsp" else {"mult": default_structure("mult", target.family)}
    plan = fold(
        program, device=target.name, clock_mhz=clock, fps=clock * 1e6, fixed_weights=True, fabric=fabric,
        structures=structures, scale="auto" if multipliers == "dsp" else "lut", level_ns=LEVEL_NS.get(target.family),
        compress=target.family in COMPRESSING,
    )  # fmt: skip
    if stream == "none":
        plan = without_handshake(plan)
    weights = sum(op.weight.size for op in program.ops if hasattr(op, "weight"))
    with scratch_folder("unrolled") as folder:
        build = generate(program, plan, folder / "build", vectors=vectors)
        seconds = time.perf_counter() - begin
        timing = build.schedule
        guess = estimated(program, plan, target).total
        line = f"{name:30} interval {timing.interval}, latency {timing.latency}, {seconds:.1f} s to Verilog"
        line += f", estimated {guess.lut} LUT {guess.ff} FF"
        if synth:
            begin = time.perf_counter()
            report = Build(folder=build).report(synth=True).keys()
            counts = ", ".join(f"{report[key]} {key.upper()}" for key in ("lut", "ff", "carry", "dsp"))
            line += f": {counts}, {report['lut'] / weights:.2f} LUT per weight ({time.perf_counter() - begin:.0f} s)"
    print(line, flush=True)


def main(arguments):
    parser = argparse.ArgumentParser(prog="unrolled")
    parser.add_argument("kernels", nargs="*", default=["mult", "adder", "xnor", "shift"])
    parser.add_argument("--factors", default="steps", choices=["steps", "any"])
    parser.add_argument("--device", default="xc7z020")
    parser.add_argument("--clock", type=float, default=200.0)
    parser.add_argument("--form", default="generic", choices=["generic", "device"])
    parser.add_argument("--multipliers", default="lut", choices=["dsp", "lut"])
    parser.add_argument("--stream", default="axi", choices=["axi", "none"])
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--no-synth", action="store_true")
    asked = parser.parse_args(arguments)
    target = device(asked.device)
    for kernel in asked.kernels or ["mult"]:
        for sizes in (FLAT, DEEP) if asked.deep else (FLAT,):
            for bits in (8, 4) if kernel == "adder" else (8,):
                program = perceptron(kernel, sizes, pixel=unsigned(bits), factors=asked.factors)
                name = f"{kernel} {'-'.join(map(str, sizes))} of {program.input.format}"
                measured(
                    name, program, target, asked.clock, asked.form, asked.multipliers, stream=asked.stream,
                    synth=not asked.no_synth,
                )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
