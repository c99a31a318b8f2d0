"""Binary LeNet-5 trained with the gradients of straight-through, DoReFa-Net and FDA-BNN: equal budgets, several seeds.

python -m tests.bench.binarisations [RUNS.csv] [METHOD ..]

Every run is appended to RUNS.csv when it is over, with its date; a run that stands there is not done again, so the
command can be interrupted and repeated; methods can be left to several commands side by side. Data, epochs, seeds and
all else but the binarisation are equal, and were fixed before the first run: 8,000 MNIST images of ../shared/data, or
the digits that addax ships where there are none.
"""

import sys
import time
from datetime import date
from pathlib import Path
from statistics import mean, stdev

import torch
from addax.common.console import bar
from addax.models import data
from addax.models.layers.binary import set_progress
from addax.models.nets import zoo
from addax.models.training.loop import accuracy, train

from .dated import append, done

MNIST = Path("../shared/data/mnist")
IMAGES, EPOCHS, SEEDS = 8000, 10, 3
METHODS = ("straight-through", "dorefa", "fda")
FIELDS = ("date", "data", "images", "epochs", "method", "seed", "accuracy", "seconds")


def once(method, seed, source, images, test):
    """The accuracy of one run."""
    torch.manual_seed(seed)
    module = zoo.build("lenet5", kernel=f"xnor:{method}", shape=images.shape, classes=10)
    set_progress(module, 0.0)
    begin = time.perf_counter()
    train(
        module, images, epochs=EPOCHS, seed=seed,
        progress=lambda epoch, loss: set_progress(module, (epoch + 1) / EPOCHS),
    )  # fmt: skip
    return {
        "date": date.today().isoformat(), "data": source, "images": len(images), "epochs": EPOCHS, "method": method,
        "seed": seed, "accuracy": round(accuracy(module, test), 5), "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip


def table(rows):
    """Mean and spread of each method, in per cent, as lines of markdown."""
    yield "| gradient | seeds | test accuracy, mean | deviation | lowest to highest |"
    yield "|---|---|---|---|---|"
    for method in METHODS:
        found = [100 * float(row["accuracy"]) for row in rows if row["method"] == method]
        if len(found) > 1:
            ends = f"{min(found):.2f} to {max(found):.2f} %"
            yield f"| {method} | {len(found)} | {mean(found):.2f} % | {stdev(found):.2f} | {ends} |"


def main(path, methods):
    torch.set_num_threads(1)
    source = str(MNIST) if MNIST.is_dir() else "digits"
    images = data.load(source, "train").head(IMAGES)
    test = data.load(source, "test", shape=images.shape)
    name = Path(source).name
    wanted = {"data": name, "images": str(len(images)), "epochs": str(EPOCHS)}
    # Seed by seed, so that what an interruption leaves is as fair as it can be.
    runs = [(method, seed) for seed in range(SEEDS) for method in methods]
    with bar("runs", len(runs)) as advance:
        for method, seed in runs:
            run = {**wanted, "method": method, "seed": str(seed)}
            if not any(run.items() <= row.items() for row in done(path)):
                append(path, FIELDS, once(method, seed, name, images, test))
            advance(1)
    rows = [row for row in done(path) if wanted.items() <= row.items()]
    print("\n".join(table(rows)))


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name not in METHODS]
    chosen = [name for name in sys.argv[1:] if name in METHODS] or METHODS
    main(Path(names[0] if names else "out/binarisations.csv"), chosen)
