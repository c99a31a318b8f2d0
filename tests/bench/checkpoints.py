"""Train the checkpoints of MNIST and Fashion-MNIST: ``python -m tests.bench.checkpoints OUT DATA [KERNEL-SET..]``.

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
run that ends appends a line to ``OUT/checkpoints.csv``: its date, its accuracy on the test images as floats and as
integers of 8 bits, and what it took. ``DATA`` is the folder of ``mnist`` and ``fashion_mnist``.
"""

import sys
from pathlib import Path

from .dated import append, done
from .trained import addax, now, trained

ROOT = Path(__file__).resolve().parents[2]
SETS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
KERNELS = ("adder", "xnor", "shift", "mult")
BINARY = "xnor:dorefa", "xnor.toml"
"""How binary networks are trained on either set, and by which recipe."""
FIELDS = ("date", "run", "recipe", "accuracy", "accuracy_int8", "epochs", "seconds")


def main(out, data, chosen):
    """Train the runs called ``KERNEL-SET`` in ``chosen``, or all."""
    for title in chosen or [f"{kernel}-{name}" for kernel in KERNELS for name in SETS]:
        kernel, _, name = title.partition("-")
        run(out, data / SETS[name], kernel, name)


def run(out, data, kernel, name):
    """Train one checkpoint and write down what came of it, once."""
    table = out / "checkpoints.csv"
    title = f"{name}-lenet5-{kernel}"
    if any(row["run"] == title for row in done(table)):
        return
    out.mkdir(parents=True, exist_ok=True)
    method, recipe = BINARY if kernel == "xnor" else (kernel, f"{name}.toml")
    recipe = ROOT / "models" / "checkpoints" / recipe
    value, integers, seconds = trained(
        out / f"{title}.safetensors", "lenet5", "--kernel", method, "--recipe", recipe, data=data
    )  # fmt: skip
    row = {
        "date": now(), "run": title, "recipe": recipe.name, "accuracy": value["accuracy"],
        "accuracy_int8": addax("evaluate", integers, "--data", data)["accuracy"], "epochs": value["epochs"],
        "seconds": seconds,
    }  # fmt: skip
    append(table, FIELDS, row)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
