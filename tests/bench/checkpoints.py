"""Train the checkpoints of MNIST and Fashion-MNIST: ``python -m tests.bench.checkpoints OUT DATA [KERNEL-SET..]``.

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
run that ends appends a line to ``OUT/checkpoints.csv``: its date, its accuracy on the test images as floats and as
integers of 8 bits, and what it took. ``DATA`` is the folder of ``mnist`` and ``fashion_mnist``.
"""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
KERNELS = ("adder", "xnor", "shift", "mult")
COLUMNS = ("date", "run", "recipe", "accuracy", "accuracy_int8", "epochs", "seconds")


def main(out: Path, data: Path, chosen: list[str]) -> None:
    """Train the runs called ``KERNEL-SET`` in ``chosen``, or all."""
    out.mkdir(parents=True, exist_ok=True)
    for title in chosen or [f"{kernel}-{name}" for kernel in KERNELS for name in SETS]:
        kernel, _, name = title.partition("-")
        run(out, str(data / SETS[name]), kernel, name)


def run(out: Path, data: str, kernel: str, name: str) -> None:
    """Train one checkpoint and write down what came of it, once."""
    table = out / "checkpoints.csv"
    title = f"{name}-lenet5-{kernel}"
    if table.is_file() and any(row["run"] == title for row in csv.DictReader(table.read_text().splitlines())):
        return
    recipe = ROOT / "models" / "checkpoints" / f"{name}.toml"
    made, integers = out / f"{title}.safetensors", out / f"{title}.addax"
    value = addax(
        "train", "lenet5", "--kernel", kernel, "--data", data, "--recipe", str(recipe), "--resume", "-o", str(made)
    )
    addax("quantize", str(made), "--data", data, "-o", str(integers))
    rounded = addax("evaluate", str(integers), "--data", data)
    rows = csv.DictReader(made.with_suffix(".csv").read_text().splitlines())
    seconds = round(sum(float(row["seconds"]) for row in rows))
    new = not table.is_file()
    with table.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        writer.writerow([date, title, recipe.name, value["accuracy"], rounded["accuracy"], value["epochs"], seconds])


def addax(*arguments: str) -> Any:
    """What a verb says as JSON; its progress goes to standard error."""
    command = [sys.executable, "-m", "addax.cli", *arguments, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
