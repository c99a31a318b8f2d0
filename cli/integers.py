"""Verbs about integer Programs: quantize, evaluate, export."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ..api.display import percent
from ..common.console import steps
from ..common.errors import UserError, positive
from ..common.files import MARKER, own_files
from .base import DEFAULT_BITS, PATH, listing, show, verb

if TYPE_CHECKING:
    from ..quant.enlarging import PictureEvaluation, PictureScores

__all__ = ["evaluate", "export", "quantize"]


@verb
@click.argument("source", metavar="NET|CKPT|FILE.onnx|pkg.mod:factory")
@click.option("--kernel", help="Of a network of the zoo: adder, mult, xnor or shift.  [default: adder]")
@click.option(
    "--weights", type=PATH, help=".safetensors, .pt or .pth for NET or factory; the file of a published network."
)
@click.option("--bits", type=int, help="2..16, of weights and features.  [default: 8, or what CKPT was trained at]")
@click.option(
    "--data", "data_source",
    help="Its train split calibrates.  [default: digits, or photographs for networks that enlarge them]",
)  # fmt: skip
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
@click.option("--result", default="range", show_default=True, help="Grid of a map at the end; pixels: it is an image.")
@click.option("--task", help="Of a network with several, such as ipt.  [default: the first that it was trained for]")
@click.option("--size", metavar="HEIGHTxWIDTH", help="Of the images, for a network that takes any.")
@click.option("--most-bits", default=16, show_default=True, help="Of shortcuts and scores: as many as engines read.")
@click.option("--layer-bits", multiple=True, metavar="LAYER:BITS", help="Bits of one layer; may be repeated.")
@click.option("--mean-bits", type=float, help="Choose the bits of every layer so that a weight has so many on average.")
@click.option("--sensitivity", is_flag=True, help="Show what every layer loses with fewer bits.")
@click.option("--input-scale", type=float, help="Of an ONNX file: it reads scale * pixel + offset.  [default: 1/255]")
@click.option("--input-offset", type=float, help="Of an ONNX file, likewise.  [default: 0]")
@click.option("-o", "--out", type=PATH, required=True, help=".addax file to write.")
def quantize(
    source: str, kernel: str | None, weights: Path | None, bits: int | None, data_source: str, calibration: int,
    ranges: str, groups: int, sharing: str, pow2_steps: bool, terms: int, shifts: str, result: str,
    task: str | None, size: str | None, most_bits: int, layer_bits: tuple[str, ...],
    mean_bits: float | None, sensitivity: bool, input_scale: float | None, input_offset: float | None, out: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Make an integer Program of a trained network."""
    from .. import api
    from ..quant.fold.assembly import NOTES
    from ..quant.fold.scheme import chosen_scheme

    scheme = chosen_scheme(
        bits=DEFAULT_BITS if bits is None else bits, ranges=ranges, groups=groups, sharing=sharing,
        pow2_steps=pow2_steps, terms=terms, shifts=shifts, result=result, most_bits=most_bits,
        layer_bits=dict(_layer_bits(entry) for entry in layer_bits),
    )  # fmt: skip
    network = api.quantize(
        source, data_source, bits=bits, kernel=kernel, weights=weights, calibration=calibration, scheme=scheme,
        mean_bits=mean_bits, sensitivity=sensitivity, size=None if size is None else _size(size),
        input_scale=input_scale, input_offset=input_offset, task=task,
    )  # fmt: skip
    network.save(out)
    for note in filter(None, network.program.metadata.get(NOTES, "").split("; ")):
        click.echo(f"addax: note: {note}", err=True)
    shown = {name: text for name, text in network.program.metadata.items() if name not in ("origins", "arrangements")}
    value = {
        **shown,
        "parameters": network.parameters,
        "macs": network.macs,
        "file": str(out),
        "sensitivity": [row.keys() for row in network.sensitivities],
    }

    from ..reports.terminal.verb_tables import sensitivity_table

    def text(console: Console) -> None:
        listing("quantised", {k: v for k, v in value.items() if k != "sensitivity"})(console)
        if network.sensitivities:
            console.print(sensitivity_table(network.sensitivities))

    show(value, as_json, text)


def _size(text: str) -> tuple[int, int]:
    rows, sign, columns = text.partition("x")
    if not sign or not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise UserError(f"--size wants HEIGHTxWIDTH, for example 48x64, not {text!r}")
    return int(rows), int(columns)


def _layer_bits(entry: str) -> tuple[str, int]:
    layer, separator, bits = entry.rpartition(":")
    if not separator or not bits.isdecimal():
        raise UserError(f"--layer-bits wants LAYER:BITS, for example layer1.0.conv1:6, not {entry!r}")
    return layer, int(bits)


@verb
@click.argument("program", metavar="NET.addax", type=PATH)
@click.option(
    "--data", "source", required=True,
    help="digits, a folder, or a .npz file; photographs or a folder of pictures where NET.addax makes pictures.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True)
@click.option("--limit", type=int, help="Only the first so many images.")
@click.option("--trace", is_flag=True, help="Compare every layer with the float network.")
@click.option(
    "--float",
    "float_source",
    help="With --trace, and of a NET.addax that makes pictures: the float network, as NET of quantize.  "
    "[default: what NET.addax says, if it is no code]",
)
@click.option("--weights", type=PATH, help="Likewise: weights of the float network.")
def evaluate(
    program: Path, source: str, split: str, limit: int | None, trace: bool, float_source: str | None,
    weights: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Accuracy of a Program by the golden model; PSNR and SSIM where it makes pictures larger or better."""
    from ..api import load
    from ..api.given import given, given_pairs

    network = load(program)
    if not trace and given_pairs(network.program, source, split, limit=1) is not None:
        with steps("evaluating"):
            pictures = network.evaluate_pictures(source, split=split, limit=limit, source=float_source, weights=weights)
        show(pictures.keys(), as_json, _pictures(f"{program.name} on {source}, {split}", pictures))
        return
    if (float_source or weights) and not trace:
        raise UserError("--float and --weights go with --trace")
    images = given(network.program, source, split, limit=positive("limit", limit))
    with steps("evaluating"):
        value: dict[str, Any] = dict(network.evaluate(images).keys()) if network.program.classifies or not trace else {}
        if trace:
            found = network.compare(images, limit=limit, source=float_source, weights=weights)
            value |= {
                "traced_images": found.images,
                "agreement": found.agreement,
                "trace": [row.keys() for row in found.rows],
            }
    rows = {}
    if network.program.classifies:
        rows = {
            "correct": f"{value['correct']} of {value['images']}",
            "accuracy": percent(value["accuracy"]),
            "images/s": f"{value['images_per_second']:,.0f}",
        }

    def text(console: Console) -> None:
        listing(f"{program.name} on {source}, {split}", rows)(console)
        if trace:
            alike = "" if found.agreement is None else f"{percent(found.agreement)} of "
            title = f"against float: {alike}{found.images} images{' alike' if alike else ''}"
            table = Table(title=title, title_justify="left")
            for column in ("operation", "float value", "bits", "error", "bias", "clipped"):
                table.add_column(column, justify="left" if column in ("operation", "float value") else "right")
            for row in found.rows:
                shares = (percent(row.error), percent(row.bias), percent(row.clipped))
                table.add_row(row.operation, row.origin, str(row.bits), *shares)
            console.print(table)

    show(value, as_json, text)


def _pictures(title: str, found: "PictureEvaluation") -> Callable[[Console], None]:
    """A table with a line for each picture and their mean: PSNR and SSIM by every way of making it."""

    def text(console: Console) -> None:
        what = "made better" if found.scale == 1 else f"{found.scale} times as large"
        table = Table(title=f"{title}: {what}", title_justify="left")
        table.add_column("picture")
        for way in found.ways:
            table.add_column(f"{way}: PSNR, SSIM", justify="right")
        for k, name in enumerate(found.names):
            table.add_row(name, *(_near(scores[k]) for scores in found.ways.values()))
        table.add_section()
        table.add_row("mean", *(_near(found.mean(scores)) for scores in found.ways.values()))
        console.print(table)

    return text


def _near(scores: "PictureScores") -> str:
    return f"{scores.psnr_db:.2f} dB, {scores.ssim:.4f}"


@verb
@click.argument("source", metavar="NET.addax|BUILD", type=PATH)
@click.option("--format", "fmt", required=True, help="qonnx, qcdq, npz or c of a Program; mem of a BUILD.")
@click.option("--weights", type=PATH, help="With mem: the .addax whose weights go into the BUILD's memory files.")
@click.option("-o", "--out", type=PATH, required=True, help="Folder to write.")
def export(source: Path, fmt: str, weights: Path | None, out: Path, as_json: bool) -> None:
    """Write the integers of a Program, or the memory files of a BUILD."""
    from ..api import load, open_build

    if fmt == "mem":
        open_build(source).export_memories(out, program=load(weights).program if weights else None)
    elif weights is not None:
        raise UserError("--weights goes with --format mem")
    else:
        load(source).export(fmt, out)
    value = {"format": fmt, "folder": str(out), "files": sorted([MARKER, *own_files(out)])}
    show(value, as_json, lambda console: console.print(f"wrote {len(value['files'])} files to {out}"))
