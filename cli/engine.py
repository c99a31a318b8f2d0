"""Verbs and branches of verbs about engines: compile, and what generate and simulate do for them."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..common.console import stderr
from .base import MISMATCH, PATH, listing, show, verb

__all__ = ["ENGINE_CHOICES", "ENGINE_OPTIONS", "compile_", "generate_engine", "report_engine", "simulate_engine"]

ENGINE_OPTIONS = (
    click.option("--pin", type=int, help="Of an engine: lanes of a row.  [default: 16]"),
    click.option("--pout", type=int, help="Of an engine: rows of lanes.  [default: 16]"),
    click.option("--kernels", help="Of an engine: those of its lanes, by commas.  [default: adder,mult]"),
    click.option("--bits", type=int, help="Of an engine: of an element, 8 or 16.  [default: 8]"),
    click.option("--memory-bits", type=int, help="Of an engine: of its AXI4 port.  [default: 128]"),
    click.option("--sum-bits", type=int, help="Of an engine: of a sum.  [default: 32, of 16-bit elements 44]"),
    click.option("--pixels", type=int, help="Of an engine: the depth of its sums.  [default: 256]"),
    click.option("--feature-bytes", type=int, help="Of an engine: of its ring of features.  [default: 131072]"),
    click.option("--depthwise", type=int, help="Of an engine: columns of a depthwise window at once.  [default: none]"),
    click.option("--product", is_flag=True, default=None, help="Of an engine: it multiplies tensors."),
    click.option("--tables", type=int, help="Of an engine: bits of what a table of a function reads.  [default: none]"),
    click.option("--choices", is_flag=True, default=None, help="Of an engine: pixels choose (ArgMax, Select)."),
    click.option("--predicates", type=int, help="Of an engine: bands of choices that skip others.  [default: none]"),
    click.option("--norms", type=int, help="Of an engine: tokens of a layer norm at once, up to 16.  [default: none]"),
    click.option("--matmul", is_flag=True, default=None, help="Of an engine: it multiplies tokens (MatMul)."),
    click.option("--means", is_flag=True, default=None, help="Of an engine: means of maps that it cannot hold."),
    click.option("--softmax", is_flag=True, default=None, help="Of an engine: exponentials of scores, by its tables."),
    click.option("--divide", is_flag=True, default=None, help="Of an engine: it divides (Divide), behind a softmax."),
    click.option("--dividers", type=int, help="Of an engine that divides: of a row, taking turns.  [default: 1]"),
    click.option("--weight-bytes", type=int, help="Of an engine: of its queue of weights.  [default: 32768]"),
    click.option("--slopes", is_flag=True, default=None, help="Of an engine: second slopes (PReLU, LeakyReLU)."),
    click.option("--ties-even", is_flag=True, default=None, help="Of an engine: ties that round to even numbers."),
    click.option("--levels", type=int, help="Of an engine: levels of a threshold, 3, 7 or 15.  [default: none]"),
    click.option("--factor-bits", type=int, help="Of an engine: of a factor of a requantise.  [default: 16]"),
)
"""Options of ``generate`` that an engine has."""
ENGINE_CHOICES = (
    "pin", "pout", "kernels", "bits", "memory_bits", "sum_bits", "pixels", "feature_bytes", "weight_bytes", "depthwise",
    "product", "tables", "choices", "predicates", "norms", "softmax", "divide", "dividers", "matmul", "means", "slopes",
    "ties_even", "levels", "factor_bits",
)  # fmt: skip
"""Their names."""


def generate_engine(out: Path, prefix: str, as_json: bool, *, kernels: str | None, **choices: Any) -> None:
    """Write the BUILD folder of an engine and say what it is."""
    from ..api.engine import engine_plan
    from ..hdl.folder.engine import generate_engine as generated

    names = None if kernels is None else tuple(kernels.split(","))
    build = generated(engine_plan(kernels=names, **choices), out, prefix=prefix)
    plan = build.plan
    value = {"build": str(out), "device": plan.device, "lanes": plan.lanes, "plan": plan.to_json()}
    rows = {
        "lanes": f"{plan.pin} x {plan.pout}, {', '.join(plan.kernels)}, {plan.bits} bit",
        "memory": f"AXI4, {plan.memory_bits} bit; control: {plan.control}",
        "features / weights": f"{plan.feature_bytes:,} / {plan.weight_bytes:,} bytes",
    }
    has = {
        f"depthwise, {plan.depthwise} columns": plan.depthwise, "products": plan.product,
        f"tables of {plan.tables} bits": plan.tables, "choices": plan.choices,
        f"skips by {plan.predicates} bands": plan.predicates, f"layer norms, {plan.norms} tokens": plan.norms,
        "softmax": plan.softmax, "divisions": plan.divide, "products of tokens": plan.matmul, "cut means": plan.means,
        "second slopes": plan.slopes,
        "ties to even": plan.ties_even,
        f"{plan.levels} levels": plan.levels, "counters": plan.counters,
    }  # fmt: skip
    if any(has.values()):
        rows["beside sums"] = ", ".join(name for name, there in has.items() if there)
    show(value, as_json, listing(f"{out}: an engine", rows))


@verb
@click.argument("program", metavar="NET.addax", type=PATH)
@click.option("--engine", "engine", metavar="BUILD", type=PATH, required=True, help="BUILD folder of an engine.")
@click.option("--reuse", is_flag=True, help="Use areas of tensors again; what is overwritten cannot be compared.")
@click.option("--testbench", type=PATH, help="Folder for a test bench of plain Verilog that runs the image.")
@click.option("--flat", type=PATH, help="File for the image as the engine's driver in C loads it.")
@click.option("-o", "--out", type=PATH, required=True, help="Image file to write.")
def compile_(
    program: Path, engine: Path, reuse: bool, testbench: Path | None, flat: Path | None, out: Path, as_json: bool
) -> None:  # fmt: skip
    """Make the memory image of a Program for an engine: commands, descriptors, weights, areas of tensors."""
    from ..api.engine import compile_for, layer_keys
    from ..hdl.folder.engine import open_engine
    from ..reports.terminal.engine_tables import layer_tables

    image, cycles = compile_for(program, open_engine(engine), out, reuse=reuse, testbench=testbench, flat=flat)
    layers, plan = layer_keys(image, cycles), image.plan
    macs = image.network.program.macs()
    value = {
        "image": str(out), "predicted_cycles_per_image": cycles.total, "lanes": plan.lanes,
        "lane_utilization": macs / plan.lanes / cycles.total, "bytes": image.words.nbytes,
        "bytes_read": cycles.read_words * plan.word_bytes, "bytes_written": cycles.written_words * plan.word_bytes,
        "testbench": None if testbench is None else str(testbench), "flat": None if flat is None else str(flat),
        "layers": layers,
    }  # fmt: skip

    def text(console: Console) -> None:
        title = f"{out}: {cycles.total:,} cycles, {value['lane_utilization']:.1%} of lanes"
        console.print(*layer_tables(title, layers))
        if testbench is not None:
            console.print(f"{testbench}: a test bench; the head of its _testbench.v says how to run it", soft_wrap=True)
        if flat is not None:
            console.print(f"{flat}: the image for the driver in C beside the engine's Verilog", soft_wrap=True)

    show(value, as_json, text)


def report_engine(
    build: Path, image: Path | None, *, out: Path | None, as_json: bool, placed: bool, source: str, **asked: Any
) -> None:  # fmt: skip
    """Make the report of an engine and show what is in it."""
    from ..api.engine import report_engine as reported
    from ..hdl.folder.engine import open_engine
    from ..reports.terminal.engine_tables import block_table, layer_tables, power_table

    made = reported(
        open_engine(build), image, place=placed, images=source, out=out or build / "report", **asked,
        command=shlex.join(["addax", *sys.argv[1:]]),
    )  # fmt: skip
    keys = made.keys()

    def text(console: Console) -> None:
        listing(str(build), made.rows())(console)
        if keys["blocks"]:
            console.print(block_table(keys["blocks"], {name: keys[name] for name in ("lut", "ff", "bram", "dsp")}))
        if keys.get("power_by_block"):
            console.print(power_table(keys["power_by_block"], keys["memory_uj"]))
        if keys.get("layers"):
            console.print(*layer_tables(f"{image}: {keys['lane_utilization']:.1%} of lanes", keys["layers"]))

    show(keys, as_json, text)


def simulate_engine(
    build: Path, image: Path, source: str, split: str, images: int | None, latency: int, jobs: int | None,
    trace_stages: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run images through an engine and show what came of it."""
    from ..api.engine import simulate_engine as simulated
    from ..hdl.folder.engine import open_engine
    from ..reports.terminal.verb_tables import stage_table

    found = simulated(open_engine(build), image, source, split, limit=images, latency=latency, jobs=jobs)
    keys = found.keys()
    rows = {
        "images": keys["images"], "words that differ": keys["mismatches"],
        "accuracy": "unknown" if keys["accuracy"] is None else f"{keys['accuracy']:.1%}",
        "cycles per image": f"{keys['cycles_per_image']:,.0f}, predicted {keys['predicted_cycles_per_image']:,.0f}",
        "they went to": ", ".join(f"{name} {spent:,}" for name, spent in keys["activity"].items() if spent),
        "lanes at work": f"{keys['lane_utilization']:.1%} of {keys['lanes']}",
        "images/s": f"{keys['images_per_second']:,.0f} at {keys['clock_mhz']:g} MHz",
        "simulated": f"{keys['sim_cycles_per_second']:,.0f} cycles/s, {keys['simulator']}",
    }  # fmt: skip

    def text(console: Console) -> None:
        listing(f"{image} on {build}", rows)(console)
        if trace_stages:
            console.print(stage_table(found.stages))

    show({**keys, **(found.stage_keys() if trace_stages else {})}, as_json, text)
    if (differs := found.first_difference) is not None:
        stderr.print(f"addax: first difference: tensor {differs.stage}, {differs.place}", soft_wrap=True)
    return 0 if found.bit_exact else MISMATCH
