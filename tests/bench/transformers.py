"""Small transformers with attention of products and of distances, by equal budgets.

    python -m tests.bench.transformers OUT MNIST [--epochs N]

Trains ``vit-digits`` and ``tnt-digits`` (17 tokens of 64 numbers, 4 blocks) on the first 10,000 images of the folder
``MNIST``, 30 epochs unless ``--epochs`` says otherwise, with every kernel of `KERNELS` and three seeds, quantises each
to 8 bits, and measures floats and integers on the 10,000 test images.

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
run that ends appends a line to ``OUT/transformers.csv``. The last lines printed are mean and spread over seeds.
"""

import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from addax.models import data

from .dated import append, done
from .trained import addax, budget, now, trained

NETWORKS = ("vit-digits", "tnt-digits")
KERNELS = {"mult": "mult", "adder attention": "mult,*.scores=adder", "adder": "adder"}
IMAGES, SEEDS, EPOCHS = 10_000, 3, 30
TABLE = "transformers.csv"
FIELDS = ("date", "network", "kernel", "seed", "images", "epochs", "accuracy", "accuracy_int8", "seconds")
RECIPE = """batch = 128

[optimiser]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 0.05

[schedule]
warmup = 2
by = "step"

[[augment]]
kind = "jitter"
shift = 2
"""


def main(out, source, epochs):
    """Train and measure what ``OUT/transformers.csv`` does not have yet; mean and spread as lines of markdown."""
    out.mkdir(parents=True, exist_ok=True)
    images, recipe = out / f"first-{IMAGES}.npz", out / "transformers.toml"
    recipe.write_text(RECIPE)
    if not images.is_file():
        first, test = data.load(source, "train").head(IMAGES), data.load(source, "test")
        parts = {"train": first, "test": test}
        pixels = {f"{split}_x": part.x.transpose(0, 2, 3, 1) for split, part in parts.items()}
        np.savez(images, **pixels, **{f"{split}_y": part.y for split, part in parts.items()})
    # Seed by seed, so that what an interruption leaves is as fair as it can be.
    for seed in range(SEEDS):
        for network in NETWORKS:
            for kernel in KERNELS:
                run(out, images, recipe, network, kernel, seed, epochs)
    return table([row for row in done(out / TABLE) if row["epochs"] == str(epochs)])


def run(out, images, recipe, network, kernel, seed, epochs):
    """Train and measure one network, once."""
    wanted = {"network": network, "kernel": kernel, "seed": str(seed), "epochs": str(epochs)}
    if any(wanted.items() <= row.items() for row in done(out / TABLE)):
        return
    made = out / f"{network}-{kernel.replace(' ', '-')}-{seed}-{epochs}.safetensors"
    value, integers, seconds = trained(
        made, network, "--kernel", KERNELS[kernel], "--recipe", recipe, "--seed", seed, "--epochs", epochs, data=images
    )  # fmt: skip
    row = {
        "date": now(), **wanted, "images": IMAGES, "accuracy": value["accuracy"],
        "accuracy_int8": addax("evaluate", integers, "--data", images)["accuracy"], "seconds": seconds,
    }  # fmt: skip
    append(out / TABLE, FIELDS, row)


def table(rows):
    """Mean and deviation over seeds, in per cent."""
    yield "| network | kernel | seeds | floats | 8 bits |"
    yield "|---|---|---|---|---|"
    for network in NETWORKS:
        for kernel in KERNELS:
            here = [row for row in rows if row["network"] == network and row["kernel"] == kernel]
            if len(here) > 1:
                floats, integers = ([100 * float(row[name]) for row in here] for name in FIELDS[6:8])
                yield f"| {network} | {kernel} | {len(here)} | {spread(floats)} | {spread(integers)} |"


def spread(values):
    """Mean and deviation as text."""
    return f"{mean(values):.2f} % ± {stdev(values):.2f}"


if __name__ == "__main__":
    given, epochs = budget(sys.argv[1:], "--epochs", EPOCHS)
    print("\n".join(main(Path(given[0]), given[1], epochs)))
