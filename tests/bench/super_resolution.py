"""Small networks that double pictures, by equal budgets.

    python -m tests.bench.super_resolution OUT [SETS] [--steps N]

Trains EDSR-small, its GhostSR and its adder twin on the embedded photographs, 3,000 steps of 16 patches of 24 x 24
small pixels each unless ``--steps`` says otherwise, quantises each to 8 bits, and measures float and integers on whole
pictures: the photographs' lower parts, and Set5 and Set14 where the folder ``SETS`` has them (../shared/data/sr_test).

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
result appends a line to ``OUT/super-resolution.csv``: its date, PSNR and SSIM of integers, floats and bicubic scaling.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

from addax.models.data.pairs import PHOTOGRAPHS, load_pairs
from addax.models.data.tiles import TileExamples

from .checkpoints import addax

NETWORKS = (("edsr-small-x2", "mult"), ("ghostsr-small-x2", "mult"), ("edsr-small-x2", "adder"))
SETS = ("Set5", "Set14")
STEPS, BATCH, PATCH = 3000, 16, 24
RATES = {"mult": 1e-3, "adder": 1e-3}
RECIPE = """epochs = {epochs}
batch = {batch}

[optimiser]
kind = "adamw"
learning_rate = {rate}
weight_decay = 0.0

[[augment]]
kind = "patch"
size = {patch}

[[augment]]
kind = "flip"

[[augment]]
kind = "turn"
"""
FIGURES = ("psnr_db", "psnr_db_float", "psnr_db_bicubic", "ssim", "ssim_float", "ssim_bicubic")
COLUMNS = ("date", "network", "kernel", "steps", "data", "pictures", *FIGURES)


def epochs_of(steps: int) -> int:
    """Epochs of the photographs that have about so many steps."""
    found = TileExamples(pairs=load_pairs(PHOTOGRAPHS, "train", scale=2), patch=PATCH)
    batches, rest = divmod(len(found), BATCH)
    return max(1, round(steps / (batches + (rest > 1))))


def main(out: Path, sets: Path | None, steps: int) -> None:
    """Train, quantise and measure what ``OUT/super-resolution.csv`` does not have yet."""
    out.mkdir(parents=True, exist_ok=True)
    sources = [PHOTOGRAPHS] + [str(sets / name) for name in SETS if sets is not None and (sets / name).is_dir()]
    epochs = epochs_of(steps)
    for network, kernel in NETWORKS:
        rows = [row for row in done(out) if row["network"] == network and row["kernel"] == kernel]
        known = {row["data"] for row in rows if row["steps"] == str(steps)}
        missing = [source for source in sources if Path(source).name not in known]
        if missing:
            run(out, network, kernel, steps, epochs, missing)


def run(out: Path, network: str, kernel: str, steps: int, epochs: int, sources: list[str]) -> None:
    """Train and quantise one network, where that is not done, and write down what it reaches on ``sources``."""
    title = out / f"{network}-{kernel}-{steps}"
    recipe, made, integers = (title.with_name(f"{title.name}{end}") for end in (".toml", ".safetensors", ".addax"))
    recipe.write_text(RECIPE.format(epochs=epochs, batch=BATCH, rate=RATES[kernel], patch=PATCH))
    addax("train", network, "--kernel", kernel, "--recipe", str(recipe), "--resume", "-o", str(made))
    addax("quantize", str(made), "-o", str(integers))
    for source in sources:
        value = addax("evaluate", str(integers), "--data", source)
        head = [
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            network,
            kernel,
            steps,
            Path(source).name,
            value["images"],
        ]
        append(out, [*head, *(round(value[name], 4) for name in FIGURES)])


def done(out: Path) -> list[dict[str, str]]:
    """The lines that stand in the table."""
    table = out / "super-resolution.csv"
    return list(csv.DictReader(table.read_text().splitlines())) if table.is_file() else []


def append(out: Path, row: list[object]) -> None:
    """Add a line to the table, behind a head where there is none."""
    table = out / "super-resolution.csv"
    new = not table.is_file()
    with table.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(row)


if __name__ == "__main__":
    given = sys.argv[1:]
    budget = STEPS
    if "--steps" in given:
        place = given.index("--steps")
        budget = int(given[place + 1])
        del given[place : place + 2]
    main(Path(given[0]), Path(given[1]) if len(given) > 1 else None, budget)
