"""A small build with control, another Program that fits it, and a simulator of its top in which all can be seen."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
from addax.hdl.dataflow.build import StageBuild, default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Convolution, PixelShuffle, Program, Requantise, SpatialShift, Threshold
from addax.sim.verilator import BUILD_ARGS, PortsOnlyRunner
from cocotb_tools import runner
from networks import Builder, random_images

IMAGES = 6


def program_of(seed):
    """Every kind of memory, some deep and some wider than the bus; padding that waits for the next image; a row that
    no window reads, so that a class can be given before the last pixel has come. One shape for all seeds."""
    b = Builder(np.random.default_rng(seed), (2, 5, 5))
    b.convolution("adder", 4, 2, stride=2)
    b.rescale(unsigned(5))
    b.convolution("mult", 4, 3, padding=1, weight_bits=4)
    b.threshold(unsigned(2))
    b.convolution("adder", 4, 2)
    b.rescale(signed(5))
    b.convolution("mult", 3, weight_bits=5)
    b.requantise(None, scores=True)
    return b.program()


def raw_program(seed):
    """A layer, a shift with values of its own from outside, a shuffle: a raw result. One shape for all seeds."""
    b = Builder(np.random.default_rng(seed), (2, 4, 5))
    b.convolution("adder", 4, 3, padding=1)
    b.rescale(signed(6))
    offsets = np.array([[1, 0], [0, -1], [-2, 1], [0, 0]])
    b.emit(SpatialShift(name="moved", source=b.last, offsets=offsets, pad=b.integers(signed(6), 4)))
    b.emit(PixelShuffle(name="larger", source=b.last, factor=2))
    return b.raw()


def other_program(program, seed):
    """``program`` with every number made anew that a reload can change."""
    rng = np.random.default_rng(seed)
    fresh = (program_of if program.classifies else raw_program)(seed).by_name
    ops = []
    for op in program.ops:
        new = fresh[op.name]
        if isinstance(op, Convolution):
            x = program.format(op.source)
            op = replace(op, weight=new.weight, pad=rng.integers(x.lo, x.hi, op.pad.shape, endpoint=True))
        elif isinstance(op, SpatialShift):
            op = replace(op, pad=new.pad)
        elif isinstance(op, Requantise) and program.classifies and op.name == program.ops[-1].source:
            op = replace(op, multiplier=-op.multiplier[::-1].copy(), offset=op.offset[::-1].copy(), shift=op.shift + 1)
        elif isinstance(op, Requantise):
            op = replace(op, multiplier=new.multiplier, offset=new.offset, shift=new.shift, lo=op.lo + 1, hi=op.hi - 2)
        elif isinstance(op, Threshold):
            op = replace(op, thresholds=new.thresholds, falling=new.falling)
        ops.append(op)
    return Program(ops=tuple(ops))


def plan_of(program, control, *, fixed_weights=False):
    folds = [(1, 2, 1), (4, 4, 3), (2, 2, 1), (3, 2, 1)]
    stages = [
        StageBuild(stage=stage, plan=default_stage_plan(stage, pe=pe, simd=simd, taps=taps))
        for stage, (pe, simd, taps) in zip(stages_of(program, fixed_weights=fixed_weights), folds, strict=True)
    ]
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=fixed_weights,
        stages=with_queues(stages, program), control=control,
    )  # fmt: skip


def raw_build(folder, control, seed=1):
    program = raw_program(seed)
    plan = fold(program, device="ecp5-45k", clock_mhz=50.0, lanes=40)
    return generate(
        program, replace(plan, control=control), folder, vectors=sample_vectors(program, 2, seed)
    )  # fmt: skip


def build_of(folder, control, seed=1):
    program = program_of(seed)
    return generate(program, plan_of(program, control), folder, vectors=sample_vectors(program, 2, seed))


def parts_of(images):
    """What goes into ``memory_data``: of every word 32 bits at a time, lowest first."""
    return [
        [word >> (32 * k) & 0xFFFFFFFF for word in image.words for k in range(-(-image.width // 32))]
        for image in images
    ]


def answers_of(build, program, pixels):
    """The packets, as bytes."""
    size = build.manifest["data_out"] // 8
    mask = (1 << 8 * size) - 1
    found = expected_beats(program, golden.run(program, pixels).output, build.plan.outputs)
    beats, per = [beat & mask for beat in found], build.manifest["answers"]
    return [
        b"".join(beat.to_bytes(size, "little") for beat in beats[k : k + per]).hex() for k in range(0, len(beats), per)
    ]


def loads_in_c(build, parts, folder):
    """The writes that the functions of the C header make to stop, load all memories and start, as (offset, value)."""
    arrays = "\n".join(f"static const uint32_t m{k}[] = {{{', '.join(map(hex, p))}}};" for k, p in enumerate(parts))
    loads = "\n".join(f"    if (addax_load(0, {k}u, m{k}, {len(p)}u) != 0u) return 1;" for k, p in enumerate(parts))
    (folder / "load.c").write_text(f"""
#include <stdio.h>
#include <stdint.h>
typedef int addax_base;
static void put(uint32_t offset, uint32_t value) {{ printf("%u %u\\n", offset, value); }}
#define ADDAX_READ32(base, offset) ((void)(base), (void)(offset), 0u)
#define ADDAX_WRITE32(base, offset, value) ((void)(base), put(offset, value))
#include "{build.path / "addax.h"}"
{arrays}
int main(void)
{{
    addax_stop(0);
{loads}
    addax_start(0);
    return 0;
}}
""")
    strict = ["-Wall", "-Wextra", "-Werror", "-std=c11"]
    subprocess.run(["gcc", *strict, "-o", "load", "load.c"], cwd=folder, check=True)
    text = subprocess.run([folder / "load"], check=True, capture_output=True, text=True).stdout
    return [[int(number) for number in line.split()] for line in text.splitlines()]


class OpenRunner(PortsOnlyRunner):
    """Verilator with every signal in sight."""

    def _build_command(self):
        commands = runner.Verilator._build_command(self)
        return [[argument for argument in commands[0] if argument != "--trace"], *commands[1:]]

    def _set_env_build(self):
        super()._set_env_build()
        # Compiling takes far longer than running here.
        self.env["MAKEFLAGS"] = self.env.get("MAKEFLAGS", "").replace("OPT_FAST=-O3", "OPT_FAST=-O1")


def built(instance, sources, top, folder):
    """Compile ``sources`` by a runner."""
    folder.mkdir(exist_ok=True)
    arguments = [argument for argument in BUILD_ARGS if argument not in ("--timing", "-O3")]
    instance.build(
        sources=list(sources), hdl_toplevel=top, build_dir=folder, build_args=arguments, timescale=("1ns", "1ps"),
        log_file=folder / "build.log",
    )  # fmt: skip


def simulator(build, folder):
    """Compile the top of ``build``."""
    built(OpenRunner(), build.sources[:1], build.prefix, folder)
    return folder


def run_bench(build, compiled, module, folder, *, seed=1):
    """Run every test of ``module`` on ``build``; returns their number.

    It finds in job.json the register map, images, and for two Programs the memories and the packets they give.
    """
    other = other_program(build.program, 77)
    pixels = random_images(build.program, IMAGES, seed)
    programs = {"own": build.program, "other": other}
    parts = {name: parts_of(build.images_for(program)) for name, program in programs.items()}
    job = {
        "map": json.loads((build.path / "registers.json").read_text()),
        "images": [np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes().hex() for image in pixels],
        "parts": parts,
        "answers": {name: answers_of(build, program, pixels) for name, program in programs.items()},
        "busy": [stage.busy for stage in build.schedule.stages],
        "works": [stage.probe[1].partition(".")[0] for stage in stages_of(build.program)],
        "c_writes": loads_in_c(build, parts["other"], folder),
    }
    assert not set(job["answers"]["own"]) & set(job["answers"]["other"]), "other weights must matter for every image"
    assert all(a != b for a, b in zip(*parts.values(), strict=True)), "every memory must change"
    (folder / "job.json").write_text(json.dumps(job))
    for entry in build.manifest["memories"]:
        shutil.copy(build.path / entry["file"], folder)
    log = folder / "simulation.log"
    try:
        OpenRunner().test(
            test_module=module, hdl_toplevel=build.prefix, hdl_toplevel_lang="verilog", build_dir=compiled,
            test_dir=folder, results_xml=str(folder / "results.xml"), seed=seed, log_file=log,
        )  # fmt: skip
    except SystemExit as error:
        raise AssertionError(log.read_text()[-6000:]) from error
    results = (folder / "results.xml").read_text()
    assert "<failure" not in results and "<error" not in results, log.read_text()[-6000:]
    return len(re.findall("<testcase ", results))
