"""Small networks that double pictures, by equal budgets.

    python -m tests.bench.super_resolution OUT [SETS] [--steps N]

Trains EDSR-small, its GhostSR, its frequency-aware twin and its adder twin on the embedded photographs, 3,000 steps of
16 patches of 24 x 24 small pixels each unless ``--steps`` says otherwise, quantises each to 8 bits, and measures float
and integers on whole pictures: the photographs' lower parts, and Set5 and Set14 where the folder ``SETS`` has them
(../shared/data/sr_test).

The command can be killed and given again: a run goes on after its last whole epoch, and those that are done stay. Each
result appends a line to ``OUT/super-resolution.csv``: its date, PSNR and SSIM of integers, floats and bicubic scaling,
and the multiplications of the mean picture, relative to those of EDSR-small.
"""

import sys
from pathlib import Path

import torch
from addax.models.data.pairs import PHOTOGRAPHS, load_pairs
from addax.models.data.tiles import TileExamples
from addax.models.files.checkpoint import load_checkpoint
from addax.models.nets import zoo
from addax.models.nets.counting import count
from addax.models.nets.fadn import FADN, routed

from .dated import append, done
from .trained import addax, budget, now, trained

SCALE = 2
SHAPE = (3, 24, 24)
DENSE = "edsr-small-x2"
NETWORKS = ((DENSE, "mult"), ("ghostsr-small-x2", "mult"), ("fadn-small-x2", "mult"), (DENSE, "adder"))
SETS = ("Set5", "Set14")
TABLE = "super-resolution.csv"
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
FIELDS = ("date", "network", "kernel", "steps", "data", "pictures", *FIGURES, "cost")


def epochs_of(steps):
    """Epochs of the photographs that have about so many steps."""
    found = TileExamples(pairs=load_pairs(PHOTOGRAPHS, "train", scale=SCALE), patch=PATCH)
    batches, rest = divmod(len(found), BATCH)
    return max(1, round(steps / (batches + (rest > 1))))


def main(out, sets, steps):
    """Train, quantise and measure what ``OUT/super-resolution.csv`` does not have yet."""
    sources = [PHOTOGRAPHS] + [str(sets / name) for name in SETS if sets is not None and (sets / name).is_dir()]
    epochs = epochs_of(steps)
    for network, kernel in NETWORKS:
        wanted = {"network": network, "kernel": kernel, "steps": str(steps)}
        known = {row["data"] for row in done(out / TABLE) if wanted.items() <= row.items()}
        missing = [source for source in sources if Path(source).name not in known]
        if missing:
            run(out, network, kernel, steps, epochs, missing)


def run(out, network, kernel, steps, epochs, sources):
    """Train and quantise one network, where that is not done, and write down what it reaches on ``sources``."""
    out.mkdir(parents=True, exist_ok=True)
    title = f"{network}-{kernel}-{steps}"
    recipe, made = (out / f"{title}{end}" for end in (".toml", ".safetensors"))
    recipe.write_text(RECIPE.format(epochs=epochs, batch=BATCH, rate=RATES[kernel], patch=PATCH))
    _, integers, _ = trained(made, network, "--kernel", kernel, "--recipe", recipe)
    for source in sources:
        value = addax("evaluate", integers, "--data", source)
        row = {
            "date": now(), "network": network, "kernel": kernel, "steps": steps, "data": Path(source).name,
            "pictures": value["images"], **{name: round(value[name], 4) for name in FIGURES},
            "cost": round(cost(load_checkpoint(made)[0], network, source), 4),
        }  # fmt: skip
        append(out / TABLE, FIELDS, row)


def cost(module, network, source):
    """Terms of a forward pass relative to those of `DENSE`: of a frequency-aware network those of the branches that the
    pixels of ``source`` take, the mean of its pictures."""
    if not isinstance(module, FADN):
        own, dense = (
            sum(count(zoo.build(name, kernel="mult", shape=SHAPE), SHAPE).terms.values()) for name in (network, DENSE)
        )
        return own / dense
    pictures = load_pairs(source, "test", scale=SCALE).pairs
    found = [routed(module, torch.from_numpy(pair.low).float() / 255) for pair in pictures]
    return sum(each.nominal_macs / each.dense_macs for each in found) / len(found)


if __name__ == "__main__":
    given, steps = budget(sys.argv[1:], "--steps", STEPS)
    main(Path(given[0]), Path(given[1]) if len(given) > 1 else None, steps)
