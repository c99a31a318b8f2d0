"""The command line: one function per verb. What each does lives in the packages."""

import functools
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from . import __version__
from .common.console import bar, stderr, steps
from .common.errors import UserError
from .common.files import MARKER, own_files, write_json
from .common.processes import end_tools, signals_interrupt
from .common.temporary import NO_ROOM

__all__ = ["main"]

_PATH = click.Path(path_type=Path)
_MISMATCH = 3
_DEFAULT_BITS = 8
_TRACED = 200
"""Images of a trace without --limit: enough for a mean, few enough for a float network."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="addax")
def cli() -> None:
    """From a PyTorch network without multiplications to a verified, costed FPGA accelerator."""


def verb(function: Callable[..., int | None]) -> click.Command:
    """Register a verb and give it the options that all have."""

    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON value on standard output, nothing else.")
    @functools.wraps(function)
    def wrapped(debug: bool, **options: Any) -> int:
        return function(**options) or 0

    return cli.command(function.__name__.rstrip("_"))(wrapped)


def _show(value: Any, as_json: bool, text: Callable[[Console], None]) -> None:
    if as_json:
        click.echo(json.dumps(value))
    else:
        text(Console(highlight=False))


def _rows(title: str, rows: dict[str, Any]) -> Callable[[Console], None]:
    def text(console: Console) -> None:
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, str(value))
        console.print(table)

    return text


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


@verb
@click.option("-o", "--out", type=_PATH, default=Path("out/demo"), show_default=True, help="Folder of the results.")
def demo(out: Path, as_json: bool) -> int:
    """The whole way on the embedded network and data."""
    from .reports.demo import run_demo

    with steps("demo") as step:
        result = run_demo(out, step=step)
    k = result.keys
    rows = {
        "accuracy float / int8 / RTL": " / ".join(_percent(k[f"accuracy_{kind}"]) for kind in ("float", "int8", "rtl")),
        "images through RTL": f"{k['images']}, {k['mismatches']} wrong scores",
        "cycles per image": f"{k['cycles_per_image']:,} (predicted {k['predicted_cycles_per_image']:,})",
        f"images/s at {k['clock_mhz']:g} MHz": f"{k['images_per_second']:,.0f}",
        f"{k['device']}: LUT / FF / block RAM / DSP": f"{k['lut']:,} / {k['ff']:,} / {k['bram']} / {k['dsp']}",
        "power, modelled": f"{k['power_mw']['total']:.0f} mW ({k['power_mw']['dynamic']:.0f} dynamic), "
        f"{k['energy_per_image_uj']:.2f} uJ/image",
        "report": k["report"],
    }
    _show(k, as_json, _rows(f"{k['network']}, {k['kernel']} kernel, {k['bits']} bit", rows))
    return 0 if result.bit_exact else _MISMATCH


@verb
@click.argument("network")
@click.option("--kernel", default="adder", show_default=True, help="adder, mult, xnor or shift.")
@click.option("--data", "source", default="digits", show_default=True, help="digits, a folder, or a .npz file.")
@click.option("--epochs", type=int, help="[default: 60, with --bits 20]")
@click.option("--seed", default=0, show_default=True)
@click.option("--bits", type=int, help="Go on with a float checkpoint, rounding to so many bits.")
@click.option("--from", "start", type=_PATH, help="With --bits: that checkpoint.  [default: the one that comes along]")
@click.option("-o", "--out", type=_PATH, help="Checkpoint to write.  [default: NETWORK-KERNEL[-BITS].safetensors]")
def train(
    network: str, kernel: str, source: str, epochs: int | None, seed: int, bits: int | None, start: Path | None,
    out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Train a network of the zoo."""
    from .models.training.recipes import train_network

    epochs = epochs if epochs is not None else 60 if bits is None else 20
    if epochs < 1:
        raise UserError(f"epochs must be a positive integer, not {epochs}")
    if bits is None and start is not None:
        raise UserError("--from goes with --bits")
    out = out or Path(f"{network}-{kernel}{'' if bits is None else f'-{bits}'}.safetensors")
    with bar("training", epochs) as advance:
        if bits is None:
            value = train_network(
                network, kernel=kernel, source=source, epochs=epochs, seed=seed, out=out, progress=lambda: advance(1)
            )
        else:
            from .quant.qat.train import float_start, train_quantised

            value = train_quantised(
                float_start(network, kernel, start), bits=bits, source=source, epochs=epochs, seed=seed, out=out,
                progress=lambda: advance(1),
            )  # fmt: skip
    _show(value, as_json, _rows(f"{network}, {kernel} kernel", value))


@verb
@click.argument("source", metavar="NET|CKPT|FILE.onnx|pkg.mod:factory")
@click.option("--kernel", help="Of a network of the zoo: adder, mult, xnor or shift.  [default: adder]")
@click.option(
    "--weights", type=_PATH, help=".safetensors, .pt or .pth for NET or factory; the file of a published network."
)
@click.option("--bits", type=int, help="2..16, of weights and features.  [default: 8, or what CKPT was trained at]")
@click.option("--data", "data_source", default="digits", show_default=True, help="Its train split calibrates.")
@click.option("--calibration", default=300, show_default=True, help="Images that calibrate.")
@click.option("--ranges", default="mse", show_default=True, help="Of features: quantile, max, mse or sums.")
@click.option("--groups", default=1, show_default=True, help="Groups of an adder layer's filters with own steps.")
@click.option(
    "--sharing", default="lossless", show_default=True, help="How weights join the grid: saturate, union are naive."
)
@click.option("--pow2-steps", is_flag=True, help="Steps are powers of two.")
@click.option("--terms", default=0, show_default=True, help="Requantise by sums of so many powers of two; 0: multiply.")
@click.option(
    "--shifts", default="auto", show_default=True, help="Of requantise: auto, per channel where it shows, or shared."
)
@click.option("--layer-bits", multiple=True, metavar="LAYER:BITS", help="Bits of one layer; may be repeated.")
@click.option("--mean-bits", type=float, help="Choose the bits of every layer so that a weight has so many on average.")
@click.option("--sensitivity", is_flag=True, help="Show what every layer loses with fewer bits.")
@click.option("--input-scale", type=float, help="Of an ONNX file: it reads scale * pixel + offset.  [default: 1/255]")
@click.option("--input-offset", type=float, help="Of an ONNX file, likewise.  [default: 0]")
@click.option("-o", "--out", type=_PATH, required=True, help=".addax file to write.")
def quantize(
    source: str, kernel: str | None, weights: Path | None, bits: int | None, data_source: str, calibration: int,
    ranges: str, groups: int, sharing: str, pow2_steps: bool, terms: int, shifts: str, layer_bits: tuple[str, ...],
    mean_bits: float | None, sensitivity: bool, input_scale: float | None, input_offset: float | None, out: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Make an integer Program of a trained network."""
    from .quant.files.archive import save_program
    from .quant.fold.scheme import Scheme
    from .quant.quantize import quantise_network

    try:
        scheme = Scheme(
            bits=_DEFAULT_BITS if bits is None else bits, ranges=ranges, groups=groups, sharing=sharing,
            pow2_steps=pow2_steps, terms=terms, shifts=shifts,
            layer_bits=dict(_layer_bits(entry) for entry in layer_bits),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error
    with steps("quantising") as step:
        found = quantise_network(
            source, kernel=kernel, weights=weights, data_source=data_source, scheme=scheme, images=calibration,
            mean=mean_bits, sensitivity=sensitivity, bits_given=bits is not None, input_scale=input_scale,
            input_offset=input_offset, progress=step,
        )  # fmt: skip
    program = found.program
    save_program(out, program)
    shown = {name: text for name, text in program.metadata.items() if name != "origins"}
    value = {
        **shown,
        "parameters": program.parameters(),
        "macs": program.macs(),
        "file": str(out),
        "sensitivity": [row.keys() for row in found.sensitivities],
    }

    from .reports.terminal.verb_tables import sensitivity_table

    def text(console: Console) -> None:
        _rows("quantised", {k: v for k, v in value.items() if k != "sensitivity"})(console)
        if found.sensitivities:
            console.print(sensitivity_table(found.sensitivities))

    _show(value, as_json, text)


def _layer_bits(entry: str) -> tuple[str, int]:
    layer, separator, bits = entry.rpartition(":")
    if not separator or not bits.isdecimal():
        raise UserError(f"--layer-bits wants LAYER:BITS, for example layer1.0.conv1:6, not {entry!r}")
    return layer, int(bits)


@verb
@click.argument("program", metavar="NET.addax", type=_PATH)
@click.option("--data", "source", required=True, help="digits, a folder, or a .npz file.")
@click.option("--split", default="test", show_default=True)
@click.option("--limit", type=int, help="Only the first so many images.")
@click.option("--trace", is_flag=True, help="Compare every layer with the float network.")
@click.option(
    "--float",
    "float_source",
    help="With --trace: the float network, as NET of quantize.  [default: what NET.addax says, if it is no code]",
)
@click.option("--weights", type=_PATH, help="With --trace: weights of the float network.")
def evaluate(
    program: Path, source: str, split: str, limit: int | None, trace: bool, float_source: str | None,
    weights: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Accuracy of a Program by the golden model."""
    from .models import data
    from .quant.files.archive import load_program
    from .quant.quantize import evaluate, trace_program

    if (float_source or weights) and not trace:
        raise UserError("--float and --weights go with --trace")
    loaded = load_program(program)
    images = data.load(source, split, shape=loaded.input.shape).head(_positive("limit", limit))
    with steps("evaluating"):
        value: dict[str, Any] = dict(evaluate(loaded, images).keys())
        if trace:
            few = images if limit is not None else images.head(_TRACED)
            found = trace_program(loaded, few, source=float_source, weights=weights, folder=program.parent)
            value |= {
                "traced_images": found.images,
                "agreement": found.agreement,
                "trace": [row.keys() for row in found.rows],
            }
    rows = {
        "correct": f"{value['correct']} of {value['images']}",
        "accuracy": _percent(value["accuracy"]),
        "images/s": f"{value['images_per_second']:,.0f}",
    }

    def text(console: Console) -> None:
        _rows(f"{program.name} on {source}, {split}", rows)(console)
        if trace:
            title = f"against float: {_percent(found.agreement)} of {found.images} images alike"
            table = Table(title=title, title_justify="left")
            for column in ("operation", "float value", "bits", "error", "bias", "clipped"):
                table.add_column(column, justify="left" if column in ("operation", "float value") else "right")
            for row in found.rows:
                shares = (_percent(row.error), _percent(row.bias), _percent(row.clipped))
                table.add_row(row.operation, row.origin, str(row.bits), *shares)
            console.print(table)

    _show(value, as_json, text)


@verb
@click.argument("source", metavar="NET.addax|BUILD", type=_PATH)
@click.option("--format", "fmt", required=True, help="qonnx, qcdq, npz or c of a Program; mem of a BUILD.")
@click.option("--weights", type=_PATH, help="With mem: the .addax whose weights go into the BUILD's memory files.")
@click.option("-o", "--out", type=_PATH, required=True, help="Folder to write.")
def export(source: Path, fmt: str, weights: Path | None, out: Path, as_json: bool) -> None:
    """Write the integers of a Program, or the memory files of a BUILD."""
    from .hdl.folder.build import open_build
    from .hdl.folder.memories import export_memories
    from .quant.export import export
    from .quant.files.archive import load_program

    if fmt == "mem":
        export_memories(open_build(source), out, program=load_program(weights) if weights else None)
    elif weights is not None:
        raise UserError("--weights goes with --format mem")
    else:
        export(load_program(source), out, fmt=fmt)
    value = {"format": fmt, "folder": str(out), "files": sorted([MARKER, *own_files(out)])}
    _show(value, as_json, lambda console: console.print(f"wrote {len(value['files'])} files to {out}"))


@verb
@click.argument("program", metavar="NET.addax", type=_PATH)
@click.option("--arch", default="dataflow", show_default=True)
@click.option("--device", "device_name", default="ecp5-85k", show_default=True)
@click.option("--lanes", type=int, help="The fastest design with at most so many lanes.  [default: fill the device]")
@click.option("--fps", type=float, help="The cheapest design with so many images per second.")
@click.option("--plan", "plan_file", type=_PATH, help="A plan.json, perhaps edited; what it leaves out is chosen.")
@click.option("--clock", default=50.0, show_default=True, help="MHz.")
@click.option("--fixed-weights", is_flag=True, help="Size accumulators and shifts for these weights alone.")
@click.option(
    "--form",
    default="generic",
    show_default=True,
    help="Of the lanes: generic, or device, with the device's carry cells.",
)
@click.option("--memory", default="auto", show_default=True, help="Of weights: auto, as synthesis likes, or block RAM.")
@click.option(
    "--multipliers",
    default="dsp",
    show_default=True,
    help="Of lanes: dsp, as synthesis likes; lut: lookup tables.",
)
@click.option(
    "--requantise",
    "scale",
    default="auto",
    show_default=True,
    help="dsp: multipliers as synthesis likes; lut: in lookup tables; pow2: by shifting, after quantize --terms.",
)
@click.option("--control", default="none", show_default=True, help="Registers behind a bus: axi-lite or wishbone.")
@click.option("--prefix", default="addax", show_default=True, help="Of all Verilog modules.")
@click.option("-o", "--out", type=_PATH, required=True, help="BUILD folder to write.")
def generate(
    program: Path, arch: str, device_name: str, lanes: int | None, fps: float | None, plan_file: Path | None,
    clock: float, fixed_weights: bool, form: str, memory: str, multipliers: str,
    scale: str, control: str, prefix: str,
    out: Path, as_json: bool,
) -> None:  # fmt: skip
    """Make Verilog, memory files and a test bench of a Program."""
    from .hdl.activation.scale import SCALES
    from .hdl.family import CONTROLS, PlanRequest
    from .hdl.folder.families import bind, family_of, read_plan
    from .hdl.folder.generate import generate
    from .hdl.folder.vectors import sample_vectors
    from .hdl.memory.image import ROMS
    from .quant.files.archive import load_program
    from .reports.compare.compare import MULTIPLIERS, structures_of
    from .reports.devices.devices import device
    from .reports.estimate.estimate import BRAM_LUTS, DSP_LUTS, cost_and_capacity

    loaded = load_program(program)
    family, target = family_of(arch), device(device_name)
    if form not in ("generic", "device"):
        raise UserError(f"unknown form {form!r}; known: generic, device")
    if control not in CONTROLS:
        raise UserError(f"unknown control {control!r}; known: {', '.join(CONTROLS)}")
    if memory not in ROMS:
        raise UserError(f"unknown memory {memory!r}; known: {', '.join(ROMS)}")
    if scale not in ("auto", *SCALES):
        raise UserError(f"unknown requantise {scale!r}; known: auto, {', '.join(SCALES)}")
    if multipliers not in MULTIPLIERS:
        raise UserError(f"unknown multipliers {multipliers!r}; known: {', '.join(MULTIPLIERS)}")
    if plan_file is not None:
        if multipliers != "dsp":
            raise UserError("a plan already says the structure of the lanes; leave --multipliers out")
        if scale != "auto":
            raise UserError("a plan already says how each stage multiplies (scale); leave --requantise out")
        if memory != "auto":
            raise UserError("a plan already says the memory of each stage; leave --memory out")
        if lanes is not None or fps is not None:
            raise UserError("a plan already says how many lanes there are; leave --lanes and --fps out")
        request = PlanRequest(device=target.name, clock_mhz=clock, fixed_weights=fixed_weights)
        plan = read_plan(plan_file, loaded, request, arch=arch)
        target = device(plan.device)
        if form != "generic":
            raise UserError("a plan already says the form of the lanes (fabric); leave --form out")
        if control not in ("none", plan.control):
            raise UserError("a plan already says the control; change it there, or leave --control out")
        if fixed_weights != plan.fixed_weights and fixed_weights:
            raise UserError("the plan is not for fixed weights; change it there, or leave --fixed-weights out")
        cost, capacity = cost_and_capacity(target)
        if capacity is not None:
            parts = bind(loaded, plan).parts
            capacity.check([part.content for part in parts])
    else:
        cost, capacity = cost_and_capacity(target)
        plan = family.plan(loaded, PlanRequest(
            device=target.name, clock_mhz=clock, lanes=lanes, fps=fps, fixed_weights=fixed_weights,
            fabric=target.fabric if form == "device" else "generic", memory=memory, scale=scale, control=control,
            cost=cost, capacity=capacity, structures=structures_of(multipliers, target),
        ))  # fmt: skip
    with steps("generating"):
        build = generate(loaded, plan, out, vectors=sample_vectors(loaded), prefix=prefix)
    timing, design = build.schedule, build.design
    choices = {
        part: {name: None if found is None else found.to_json() for name, found in ways.items()}
        for part, ways in design.alternatives(cost).items()
    }
    value = {
        "build": str(out),
        "device": plan.device,
        "lanes": timing.lanes,
        "predicted_cycles_per_image": timing.interval,
        "predicted_cycles_first_image": timing.latency,
        "images_per_second": plan.clock_mhz * 1e6 / timing.interval,
        "bottleneck": timing.bottleneck.name,
        "plan": plan.to_json(),
        "alternatives": choices,
    }

    from .reports.terminal.verb_tables import choices_table, fold_table

    def text(console: Console) -> None:
        console.print(f"{out}: {timing.lanes:,} lanes, {timing.interval:,} cycles per image", soft_wrap=True)
        console.print(fold_table(design.layers, timing.stages))
        console.print(choices_table(choices))
        if capacity is None:
            console.print(
                f"there are no estimates for {target.name}: costs are counts of bits; --synth tells what fits"
            )
        else:
            console.print(f"cost: LUT + {BRAM_LUTS:g} per block RAM + {DSP_LUTS:g} per DSP block")
        if design.interface.pixels > 1:
            console.print(f"{design.interface.pixels} pixels per beat of the input")

    _show(value, as_json, text)


@verb
@click.argument("build", metavar="BUILD", type=_PATH)
@click.option("--data", "source", required=True, help="digits, a folder, or a .npz file.")
@click.option("--split", default="test", show_default=True)
@click.option("--images", type=int, help="Only the first so many.")
@click.option("--stall", type=float, default=0.0, help="Share of stalled cycles: 0.3 or 30 (percent).")
@click.option(
    "--stall-pattern", default="both", show_default=True, help="both, source, sink: per cycle; burst: in bursts, both."
)
@click.option("--seed", default=1, show_default=True, help="Of the stalls.")
@click.option("--waves", type=_PATH, help="Waveform file, .vcd or .fst, of the first part.")
@click.option("--weights", type=_PATH, help="Load another .addax of the same shapes into the same RTL.")
@click.option("--trace-stages", is_flag=True, help="Compare the output of every stage: where is the first difference?")
@click.option(
    "--perfetto", type=_PATH, help="When every stage works on the first images, as a trace for ui.perfetto.dev."
)
@click.option("--jobs", type=int, help="Simulators side by side.  [default: the processors]")
def simulate(
    build: Path, source: str, split: str, images: int | None, stall: float, stall_pattern: str, seed: int,
    waves: Path | None, weights: Path | None, trace_stages: bool, perfetto: Path | None, jobs: int | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run images through the RTL and compare every score, or element of a raw result, with the golden model."""
    from .common.executor import pool, processors
    from .hdl.folder.build import open_build
    from .models import data
    from .quant.files.archive import load_program
    from .sim.cosim import simulate, simulator_name
    from .sim.perfetto import TRACED, chrome_trace
    from .sim.stall import Stall
    from .sim.stopwatch import watch

    opened = open_build(build)
    if perfetto is not None and perfetto.is_dir():
        raise UserError(f"{perfetto} is a folder; expected the name of a file to write")
    program = load_program(weights) if weights else opened.program
    chosen = data.load(source, split, shape=program.input.shape).head(_positive("images", images))
    share = stall if stall < 1 else stall / 100
    workers = processors() if jobs is None else jobs
    with pool(workers) as executor, bar("images", len(chosen)) as advance:
        outcome = simulate(
            opened, chosen.x, program=program, stall=share, stall_pattern=stall_pattern, seed=seed, waves=waves,
            trace_stages=trace_stages, executor=executor, workers=workers, progress=advance,
        )  # fmt: skip
    if perfetto is not None:
        # The same stalls and seed give the run's own cycles again.
        seen = watch(
            opened, chosen.x[:TRACED], program=program, stall=Stall(share=share, pattern=stall_pattern), seed=seed
        )
        write_json(perfetto, chrome_trace(seen))
    timing = opened.schedule
    value: dict[str, Any] = {
        "images": outcome.images,
        "mismatches": outcome.mismatches,
        "bit_exact": outcome.bit_exact,
        "accuracy": float((outcome.classes == chosen.y).mean()) if program.classifies else None,
        "cycles_first_image": outcome.cycles_first_image,
        "predicted_cycles_first_image": timing.latency,
        "cycles_per_image": outcome.cycles_per_image,
        "predicted_cycles_per_image": timing.interval,
        "lanes": timing.lanes,
        "lane_utilization": timing.lane_utilization(outcome.cycles_per_image),
        "sim_cycles_per_second": outcome.cycles / max(outcome.seconds, 1e-9),
        "simulator": simulator_name(),
        "cached_build": outcome.cached_build,
        "clock_mhz": opened.plan.clock_mhz,
        "images_per_second": opened.plan.clock_mhz * 1e6 / outcome.cycles_per_image,
        "first_mismatch": outcome.first_mismatch,
        "parts": outcome.parts,
        "cycles": outcome.cycles,
        "source_stalls": outcome.source_stalls,
        "sink_stalls": outcome.sink_stalls,
    }
    differs = outcome.first_difference
    if trace_stages:
        value["stages"] = [asdict(stage) for stage in outcome.stages]
        value["first_difference"] = None if differs is None else {"stage": differs.stage, **asdict(differs.place)}
    rows = {
        "images": outcome.images,
        "wrong scores" if program.classifies else "wrong elements": outcome.mismatches,
        **({"accuracy": _percent(value["accuracy"])} if program.classifies else {}),
        "cycles, first image": f"{outcome.cycles_first_image:,} (predicted {timing.latency:,})",
        "cycles per image": f"{outcome.cycles_per_image:,} (predicted {timing.interval:,})",
        "lanes": f"{timing.lanes}, those of {timing.bottleneck.name} busy {_percent(value['lane_utilization'])}",
        f"images/s at {opened.plan.clock_mhz:g} MHz": f"{value['images_per_second']:,.0f}",
        "simulated cycles/s": f"{value['sim_cycles_per_second']:,.0f} ({simulator_name()})",
    }
    if share:
        rows["stalled cycles, source / sink"] = f"{_percent(outcome.source_stalls)} / {_percent(outcome.sink_stalls)}"

    from .reports.terminal.verb_tables import stage_table

    def text(console: Console) -> None:
        _rows(f"{build} on {source}, {split}", rows)(console)
        if trace_stages:
            console.print(stage_table(outcome.stages))

    _show(value, as_json, text)
    if outcome.bit_exact:
        return 0
    if outcome.mismatches or outcome.class_mismatches:
        what = "class" if program.classifies else "row, column, channel"
        stderr.print(
            f"addax: RTL and golden model differ, first at image, {what} {outcome.first_mismatch}", soft_wrap=True
        )
    if differs is not None:
        stderr.print(f"addax: first difference: stage {differs.stage}, {differs.place}", soft_wrap=True)
    return _MISMATCH


@verb
@click.argument("build", metavar="BUILD", type=_PATH)
@click.option("--synth", is_flag=True, help="Count resources with yosys.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well: Fmax.")
@click.option("--seeds", default=1, show_default=True, help="Of place and route; the median is reported.")
@click.option("--power", is_flag=True, help="Model power from simulated activity (synthesises too).")
@click.option("--data", "source", default="digits", show_default=True, help="Images for --power.")
@click.option("--saif", type=_PATH, help="Activity file of a simulation of your own, for --power instead of --data.")
@click.option("-o", "--out", type=_PATH, help="Folder of the report.  [default: BUILD/report]")
def report(
    build: Path, synth: bool, placed: bool, seeds: int, power: bool, source: str, saif: Path | None, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Resources, timing and power of a BUILD, as JSON and HTML."""
    from .hdl.folder.build import open_build
    from .reports.page.report import POWER_IMAGES, make_report

    if seeds < 1:
        raise UserError(f"seeds must be a positive integer, not {seeds}")
    if saif is not None and not power:
        raise UserError("--saif goes with --power")
    opened = open_build(build)
    pixels = None
    if power and saif is None:
        from .models import data

        pixels = data.load(source, "test", shape=opened.program.input.shape).head(POWER_IMAGES).x
    with steps("report") as step:
        made = make_report(
            opened, out or build / "report", synth=synth, placed=placed, seeds=seeds, power_images=pixels, saif=saif,
            step=step, command=shlex.join(["addax", *sys.argv[1:]]),
        )  # fmt: skip
    k = made.keys
    band = made.power_band_mw
    rows = {
        "device": k["device"],
        "resources": k["source"] if k["lut"] is not None else "not counted: add --synth",
        **({"estimate": k["estimate_note"]} if k["estimate_note"] else {}),
        **{name: f"{k[name]:,}" for name in ("lut", "lut_paired", "ff", "bram", "dsp", "carry") if k[name] is not None},
        **(_timing_rows(made.placement) if made.placement else {}),
        "cycles per image": f"{k['cycles_per_image']:,}",
        **({"power, modelled": f"{k['power_mw']['total']:.0f} mW ({band[0]:.0f} to {band[1]:.0f}), "
            f"{k['energy_per_image_uj']:.2f} uJ per image"} if band else {}),
        "report": k["report"],
    }  # fmt: skip
    _show(k, as_json, _rows(str(build), rows))


def _timing_rows(placement: Any) -> dict[str, str]:
    """The clock that was reached, how far seeds differ, and where the slowest path runs."""
    reached = placement.seeds_mhz
    spread = f" ({min(reached):.1f} to {max(reached):.1f}, {len(reached)} seeds)" if len(reached) > 1 else ""
    path = ", ".join(f"{piece.name} {piece.delay_ns:.1f} ns" for piece in placement.critical_path)
    return {"Fmax": f"{placement.fmax_mhz:.1f} MHz{spread}", **({"slowest path": path} if path else {})}


@verb
@click.argument("network", metavar="NET")
@click.option("--kernels", default="adder,mult,xnor,shift", show_default=True, help="Separated by commas.")
@click.option("--device", "name", required=True, help="ecp5-85k, xc7z020, ..")
@click.option("--bits", default=_DEFAULT_BITS, show_default=True, help="2..16, of weights and features.")
@click.option("--data", "data_source", default="digits", show_default=True)
@click.option("--lanes", type=int, help="Of the first kernel; its folds are everyone's.  [default: 80]")
@click.option("--fps", type=float, help="The cheapest folds of the first kernel with so many images per second.")
@click.option("--clock", "clock_mhz", default=50.0, show_default=True, help="MHz.")
@click.option("--multipliers", default="lut", show_default=True, help="lut, or dsp: wherever synthesis likes.")
@click.option("--program", "programs", multiple=True, metavar="KERNEL=NET.addax", help="Instead of quantising NET.")
@click.option("--split", default="test", show_default=True)
@click.option("--images", default=20, show_default=True, help="Of the split, that are simulated.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well: Fmax.")
@click.option("--seeds", default=1, show_default=True, help="Of place and route; the median is reported.")
@click.option("--power", is_flag=True, help="Model power from simulated activity.")
@click.option("-o", "--out", type=_PATH, default=Path("out/compare"), show_default=True, help="Folder of the builds.")
def compare(
    network: str, kernels: str, name: str, programs: tuple[str, ...], out: Path, as_json: bool, **terms: Any
) -> None:  # fmt: skip
    """One network with each kernel, as whole accelerators like for like."""
    from .reports.compare.compare import Contest, compare
    from .reports.devices.devices import device
    from .reports.terminal.tables import comparison_tables

    if wrong := [entry for entry in programs if not all(entry.partition("="))]:
        raise UserError(f"--program wants KERNEL=NET.addax, for example mult=net.addax, not {wrong[0]!r}")
    files = {kernel: Path(file) for kernel, _, file in (entry.partition("=") for entry in programs)}
    try:
        contest = Contest(network=network, device=device(name), programs=files, **terms)
    except ValueError as error:
        raise UserError(str(error)) from error
    with steps("compare") as step:
        found = compare(
            contest, [kernel.strip() for kernel in kernels.split(",")], out, step=step,
            command=shlex.join(["addax", *sys.argv[1:]]),
        )  # fmt: skip
    rows = found.rows

    def text(console: Console) -> None:
        for table in comparison_tables(found, network=network, device=name):
            console.print(table)
        console.print(f"{found.html}", soft_wrap=True)

    _show(rows, as_json, text)


@verb
@click.argument("build", metavar="BUILD", type=_PATH)
@click.option("--board", "board_name", default="ulx3s-85f", show_default=True, help="ulx3s-85f, ulx3s-45f, ulx3s-25f.")
@click.option("--baud", type=int, help="Of the serial line.  [default: 1000000]")
@click.option("--seed", default=1, show_default=True, help="Of place and route.")
@click.option("-o", "--out", type=_PATH, help="Folder of the bitstream.  [default: BUILD/BOARD]")
def bitstream(
    build: Path, board_name: str, baud: int | None, seed: int, out: Path | None, as_json: bool
) -> None:  # fmt: skip
    """A bitstream of a BUILD for a board, where a serial line brings images and takes scores."""
    from .hdl.board.boards import board
    from .hdl.folder.build import open_build
    from .reports.synth.bitstream import DEFAULT_BAUD, make_bitstream

    target = board(board_name)
    with steps("bitstream") as step:
        made = make_bitstream(
            open_build(build), target, out or build / target.name, baud=DEFAULT_BAUD if baud is None else baud,
            seed=seed, step=step,
        )  # fmt: skip
    k = made.keys
    serial = k["serial"]
    rows = {
        "board": f"{k['board']}, {k['device']}",
        "LUT / FF / block RAM / DSP": f"{k['lut']:,} / {k['ff']:,} / {k['bram']} / {k['dsp']}",
        "Fmax": f"{k['fmax_mhz']:.1f} MHz, the board's clock is {k['clock_mhz']:g} MHz",
        "serial line": f"{k['baud']:,} baud; {serial['image_bytes']:,} bytes per image, {serial['answer_bytes']} back, "
        f"at most {serial['in_flight']} images unanswered",
        "images/s": f"{k['images_per_second']:,.0f}",
        "bitstream": f"{k['bitstream']}, {k['bytes']:,} bytes",
    }
    _show(k, as_json, _rows(f"{build} on {k['board']}", rows))


@verb
@click.argument("builds", metavar="BUILD...", type=_PATH, nargs=-1, required=True)
@click.option("--device", "name", default="asic-osu018", show_default=True, help="The library of standard cells.")
@click.option("--data", "source", default="digits", show_default=True, help="digits, a folder, or a .npz file.")
@click.option("--images", default=2, show_default=True, help="Of the test split, that the gates compute.")
@click.option("--clock", "clock_mhz", default=200.0, show_default=True, help="MHz that the mapper aims at.")
@click.option("--synth", is_flag=True, help="Nothing but cells and area.")
def cells(
    builds: tuple[Path, ...], name: str, source: str, images: int, clock_mhz: float, synth: bool, as_json: bool
) -> None:
    """What BUILDs cost in standard cells, memories apart: area, longest path, power on real images."""
    from .hdl.folder.build import open_build
    from .models import data
    from .reports.cells.build import modelled_power, price_builds, rankings
    from .reports.devices.devices import cell_library
    from .reports.terminal.cell_tables import build_table

    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    opened = [open_build(build) for build in builds]
    count = _positive("images", images)
    pixels = [data.load(source, "test", shape=build.program.input.shape).head(count).x for build in opened]
    with steps("standard cells") as step:
        costs = price_builds(
            opened, cell_library(name), period_ps=1e6 / clock_mhz, timed=not synth, pixels=None if synth else pixels,
            progress=step,
        )  # fmt: skip
    modelled = modelled_power(opened)
    rows = [cost.to_json() | {"modelled_mw": modelled.get(cost.name)} for cost in costs]

    def text(console: Console) -> None:
        console.print(build_table(rows, name))
        for kind, order in rankings(costs, modelled).items():
            if len(order) > 1:
                console.print(f"{kind}, least power first: {', '.join(order)}", soft_wrap=True)

    _show(rows, as_json, text)


@verb
@click.option("--device", "name", required=True, help="ecp5-85k, xc7z020, xczu7ev, ice40-up5k, asic-osu018, ..")
@click.option("--lanes", type=int, help="Split into Pin x Pout as square as possible.  [default: 256]")
@click.option("--pin", type=int, help="Terms per row.")
@click.option("--pout", type=int, help="Rows.")
@click.option("--bits", default=8, show_default=True, help="2..16, of features and weights.")
@click.option("--signed", is_flag=True, help="Signed features (and adder weights); else as behind a ReLU.")
@click.option("--kernel", "kernels", multiple=True, help="Only this kernel; may be repeated.")
@click.option("--structure", "structures", multiple=True, help="Only this structure; may be repeated.")
@click.option("--all-structures", is_flag=True, help="Every structure, generic and device form, and DSP blocks.")
@click.option(
    "--registers",
    default="equal",
    show_default=True,
    help="Ranks between operands and accumulators: equal (the adder's best), best, or a number.",
)
@click.option("--terms", default=4096, show_default=True, help="Longest sum the accumulators hold.")
@click.option("--synth", is_flag=True, help="Count cells with yosys; of asic-osu018, nothing but cells and area.")
@click.option("--place", "placed", is_flag=True, help="Place and route as well (ECP5, iCE40): Fmax.")
@click.option("--seeds", default=3, show_default=True, help="Of place and route; the median is reported.")
@click.option("--clock", "clock_mhz", default=200.0, show_default=True, help="MHz that place and route aims at.")
@click.option(
    "--operands",
    default="lenet5",
    show_default=True,
    help="For the power of asic-osu018: lenet5, on digits, random, or none.",
)
def kernels(
    name: str, kernels: tuple[str, ...], structures: tuple[str, ...], signed: bool, synth: bool, placed: bool,
    seeds: int, clock_mhz: float, operands: str, as_json: bool, **what: Any,
) -> None:  # fmt: skip
    """What arrays of lanes cost: every kernel, side by side."""
    from .reports.devices.devices import device, is_cell_library
    from .reports.kernels.choose import KERNELS, requests
    from .reports.kernels.price import jobs, price
    from .reports.kernels.savings import comparison
    from .reports.terminal.verb_tables import kernel_table

    if is_cell_library(name):
        if placed:
            raise UserError(f"there is no place and route for {name}; leave out --place")
        _cell_kernels(
            name, as_json, kernels=kernels or KERNELS, structures=structures, signed_features=signed, synth=synth,
            clock_mhz=clock_mhz, operands=operands, **what,
        )  # fmt: skip
        return
    target = device(name)
    if seeds < 1:
        raise UserError(f"seeds must be a positive integer, not {seeds}")
    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    wanted = requests(target, kernels=kernels or KERNELS, structures=structures, signed_features=signed, **what)
    with bar(f"arrays for {name}", jobs(wanted, synth=synth, place=placed, seeds=seeds)) as advance:
        costs = price(
            wanted, target, synth=synth, place=placed, seeds=seeds, clock_mhz=clock_mhz, progress=advance
        )  # fmt: skip
    rows = [cost.to_json() for cost in costs]

    def text(console: Console) -> None:
        console.print(kernel_table(rows, name))
        for line in comparison(costs):
            console.print(line, soft_wrap=True)
        for cost in costs:
            if placed and (excess := cost.excess(target)):
                form = f"{cost.request.shape.kernel} {cost.request.structure}, {cost.request.form}"
                console.print(f"not placed, {name} is too small: {form}: {excess}", soft_wrap=True)
        if not synth and not placed:
            console.print("cells are not counted: add --synth")

    _show(rows, as_json, text)


def _cell_kernels(
    name: str, as_json: bool, *, synth: bool, clock_mhz: float, operands: str, **what: Any
) -> None:  # fmt: skip
    """Arrays in standard cells."""
    from .reports.cells.asic import cell_requests, comparison, price_cells
    from .reports.devices.devices import cell_library
    from .reports.terminal.cell_tables import array_table

    if not 0 < clock_mhz <= 10_000:
        raise UserError(f"clock must be a positive number of MHz, not {clock_mhz:g}")
    library, period_ps = cell_library(name), 1e6 / clock_mhz
    with steps(f"arrays for {name}") as step:
        wanted = cell_requests(library, period_ps=period_ps, progress=step, **what)
        costs = price_cells(
            wanted, library, period_ps=period_ps, timed=not synth,
            operands=None if synth or operands == "none" else operands, progress=step,
        )  # fmt: skip
    rows = [cost.to_json() for cost in costs]

    def text(console: Console) -> None:
        console.print(array_table(rows, name))
        for line in comparison(costs):
            console.print(line, soft_wrap=True)

    _show(rows, as_json, text)


@verb
@click.option(
    "--prune", "limit", metavar="LIMIT", help="Remove what was not used for LIMIT, such as 30d, or down to 5GB."
)
@click.option("--clear", is_flag=True, help="Remove everything.")
def cache(limit: str | None, clear: bool, as_json: bool) -> None:
    """What earlier runs of tools left to be used again: folder, kinds, size."""
    from .common import cache as store

    if clear and limit is not None:
        raise UserError("--clear removes everything; leave --prune out")
    removed = store.clear() if clear else [] if limit is None else store.prune(**store.limit_of(limit))
    kinds: dict[str, dict[str, int]] = {}
    for entry in store.entries():
        kind = kinds.setdefault(entry.kind, {"entries": 0, "bytes": 0})
        kind["entries"] += 1
        kind["bytes"] += entry.bytes
    value: dict[str, Any] = {
        "folder": str(store.cache_root()),
        "entries": sum(kind["entries"] for kind in kinds.values()),
        "bytes": sum(kind["bytes"] for kind in kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "removed_entries": len(removed),
        "removed_bytes": sum(entry.bytes for entry in removed),
    }

    def text(console: Console) -> None:
        table = Table(title=value["folder"], title_justify="left")
        for column in ("kind", "entries", "MB"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        for name, kind in value["kinds"].items():
            table.add_row(name, f"{kind['entries']:,}", f"{kind['bytes'] / 1e6:,.1f}")
        table.add_section()
        table.add_row("all", f"{value['entries']:,}", f"{value['bytes'] / 1e6:,.1f}")
        console.print(table)
        if clear or limit is not None:
            console.print(f"removed {len(removed):,} entries, {value['removed_bytes'] / 1e6:,.1f} MB")

    _show(value, as_json, text)


_CELL_COLUMNS = {
    "um2": ("area_um2", ",.0f"), "cells": ("cells", ","), "FF": ("ff", ","), "ns": ("path_ns", ".2f"),
    "MHz": ("fmax_mhz", ".0f"), "mW": ("power_mw", ".1f"), "regs": ("register_stages", ""),
}  # fmt: skip
_CELLS_AGAINST_BASE = ("area_um2", "fmax_mhz", "power_mw")


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UserError(f"{name} must be a positive integer, not {value}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 success, 1 a user's mistake, 2 wrong usage, 3 RTL and golden model differ, 130 interrupted by Ctrl-C or by a
    signal that asks to end.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with signals_interrupt():
            return int(cli.main(args=given, prog_name="addax", standalone_mode=False) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        end_tools()  # what threads wait for that nobody asks any more
        click.echo("addax: interrupted", err=True)
        return 130
    except UserError as error:
        if "--debug" in given:
            traceback.print_exc()
        click.echo(f"addax: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError as error:
        if "--debug" in given:
            traceback.print_exc()
        _forget_output()
        click.echo(f"addax: {_system_error(error)}", err=True)
        return 1
    except Exception as error:
        if "--debug" in given:
            traceback.print_exc()
        click.echo(f"addax: internal error: {type(error).__name__}: {error} (--debug shows where)", err=True)
        return 1


def _system_error(error: OSError) -> str:
    """What the system refused, in one line."""
    what = " ".join(str(error.strerror or error).split())
    if error.filename is None:
        return f"cannot write the output: {what}" if error.errno in NO_ROOM else f"the system refused: {what}"
    return f"cannot {'write' if error.errno in NO_ROOM else 'use'} {error.filename}: {what}"


def _forget_output() -> None:
    """What cannot be written to standard output now could not be at the end either, where Python would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
