"""Train the committed checkpoints, one after the other: ``python -m tests.bench.checkpoints OUT DATA [RUN..]``.

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
run that ends appends a line to ``OUT/checkpoints.csv``, with its date. ``DATA`` is the folder of ``mnist`` and
``fashion_mnist``.
"""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
KERNELS = ("adder", "xnor", "shift", "mult")
COLUMNS = ("date", "run", "recipe", "accuracy", "epochs", "seconds")


def main(out: Path, data: Path, chosen: list[str]) -> None:
    """Train the runs called ``KERNEL-SET`` in ``chosen``, or all."""
    out.mkdir(parents=True, exist_ok=True)
    for title in chosen or [f"{kernel}-{name}" for kernel in KERNELS for name in SETS]:
        kernel, _, name = title.partition("-")
        run(out, data, kernel, name)


def run(out: Path, data: Path, kernel: str, name: str) -> None:
    """Train one checkpoint and write down what came of it, once."""
    table = out / "checkpoints.csv"
    title = f"lenet5-{kernel}-{name}"
    if table.is_file() and any(row["run"] == title for row in csv.DictReader(table.open())):
        return
    recipe = ROOT / "models" / "checkpoints" / f"{name}.toml"
    made = out / f"{title}.safetensors"
    done = subprocess.run(
        [
            sys.executable, "-m", "addax.cli", "train", "lenet5", "--kernel", kernel, "--data", str(data / SETS[name]),
            "--recipe", str(recipe), "--resume", "-o", str(made), "--json",
        ],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    value = json.loads(done.stdout)
    seconds = sum(float(row["seconds"]) for row in csv.DictReader(made.with_suffix(".csv").open()))
    new = not table.is_file()
    with table.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        writer.writerow([date, title, recipe.name, value["accuracy"], value["epochs"], round(seconds)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
