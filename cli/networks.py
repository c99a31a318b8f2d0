"""Verbs about torch networks: train, zoo."""

from pathlib import Path

import click
from rich.console import Console

from ..common.console import bar
from ..common.errors import UserError
from .base import PATH, listing, show, verb

__all__ = ["train", "zoo"]


@verb
@click.argument("network")
@click.option(
    "--kernel",
    default="adder",
    show_default=True,
    help="adder, mult, xnor (xnor:fda, xnor:dorefa) or shift; then of layers: ,PATTERN=KERNEL.",
)
@click.option("--data", "source", default="digits", show_default=True, help="digits, a folder, or a .npz file.")
@click.option("--epochs", type=int, help="[default: 60, with --bits 20]")
@click.option("--seed", default=0, show_default=True)
@click.option("--bits", type=int, help="Go on with a float checkpoint, rounding to so many bits.")
@click.option("--from", "start", type=PATH, help="With --bits: that checkpoint.  [default: the one that comes along]")
@click.option("-o", "--out", type=PATH, help="Checkpoint to write.  [default: NETWORK-KERNEL[-BITS].safetensors]")
def train(
    network: str, kernel: str, source: str, epochs: int | None, seed: int, bits: int | None, start: Path | None,
    out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Train a network of the zoo."""
    from ..models.training.recipes import train_network

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
            from ..quant.qat.train import float_start, train_quantized

            value = train_quantized(
                float_start(network, kernel, start), bits=bits, source=source, epochs=epochs, seed=seed, out=out,
                progress=lambda: advance(1),
            )  # fmt: skip
    show(value, as_json, listing(f"{network}, {kernel} kernel", value))


@verb
@click.argument("name", required=False)
@click.option("--kernel", help="Count every network with this kernel.  [default: the one that it is known for]")
def zoo(name: str | None, kernel: str | None, as_json: bool) -> None:
    """Networks by name: papers, parameters, MACs, checkpoints that come along."""
    from ..models.files.catalogue import catalogue
    from ..reports.terminal.verb_tables import zoo_table

    rows = catalogue(name, kernel=kernel)

    def text(console: Console) -> None:
        console.print(zoo_table(rows))
        for row in rows:
            for entry in row["checkpoints"]:
                accuracy = f"{100 * entry['accuracy']:.2f} % of {entry['data']}"
                console.print(f"{row['name']}, {entry['kernel']}: {accuracy}, {entry['checkpoint']}", soft_wrap=True)

    show(rows, as_json, text)
