"""The networks of `super_resolution` in RTL: whole pictures through an engine, crops through accelerators of their own.

    python -m tests.bench.pictures_rtl OUT [SETS] [--steps N]

``OUT`` is the folder that `super_resolution` has trained into. One engine of 16 x 16 lanes runs each network on its
pictures: the smallest of Set5 where ``SETS`` has it, else the smallest photograph, and for a network whose pixels
choose also the smoothest and the liveliest square of the photographs. Every stored tensor is compared with the golden
model's, and cycles with those that are predicted for that picture. What the dataflow family has runs four crops there,
with random stalls. A line for each in ``OUT/pictures-rtl.csv``; the command can be killed and given again.
"""

import sys
from pathlib import Path

import numpy as np
from addax.api.build import Build
from addax.common.temporary import scratch_folder
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models.data.pairs import PHOTOGRAPHS, load_pairs
from addax.quant.files.archive import load_program
from addax.sim.cosim import simulate

from .dated import append, done
from .super_resolution import NETWORKS, SCALE, STEPS
from .through_engine import through_engine
from .trained import budget, now

PLAN = EnginePlan(device="xczu7ev", clock_mhz=200.0, choices=True, depthwise=3, predicates=512, factor_bits=24)
SQUARE, CROP, CROPS, STALL = 48, 24, 4, 0.3
CHOOSING = ("fadn-small-x2",)
"""What the dataflow family does not have, and what is worth three pictures."""
TABLE = "pictures-rtl.csv"
FIELDS = (
    "date", "network", "kernel", "steps", "arch", "picture", "rows", "columns", "cycles_predicted", "cycles",
    "lanes_at_work", "lut", "values", "mismatches", "seconds",
)  # fmt: skip


def smallest(sets):
    """The name and the small pixels of the picture of fewest pixels."""
    known = sets / "Set5" if sets is not None else None
    source = known if known is not None and known.is_dir() else PHOTOGRAPHS
    pair = min(load_pairs(source, "test", scale=SCALE).pairs, key=lambda pair: pair.low.size)
    return pair.name, pair.low


def squares():
    """The squares of the photographs whose neighbouring pixels differ the least and the most."""
    found = [
        (float(np.abs(np.diff(part.astype(int), axis=2)).mean()), f"{pair.name} {y}+{x}", part)
        for pair in load_pairs(PHOTOGRAPHS, "test", scale=SCALE).pairs
        for y in range(0, pair.low.shape[1] - SQUARE + 1, SQUARE)
        for x in range(0, pair.low.shape[2] - SQUARE + 1, SQUARE)
        for part in [pair.low[:, y : y + SQUARE, x : x + SQUARE]]
    ]
    (_, *smooth), (_, *lively) = min(found, key=lambda own: own[0]), max(found, key=lambda own: own[0])
    return [smooth, lively]


def whole(program, pixels):
    """Run one whole picture through the engine, and compare all that it stores."""
    found = through_engine(program.resized(*pixels.shape[1:]), PLAN, pixels)
    return {**{key: value for key, value in found.items() if key in FIELDS}, "lut": ""}


def through_dataflow(program, crops):
    """Run crops through an accelerator of the network, and tell the lookup tables of its moves."""
    own = program.resized(*crops.shape[2:])
    with scratch_folder("pictures") as folder:
        plan = fold(own, device="xczu7ev", clock_mhz=200.0, lanes=512)
        build = generate(own, plan, folder / "build", vectors=sample_vectors(own, 1))
        report = Build(folder=build).report().keys()
        outcome = simulate(build, crops, stall=STALL)
    return {
        "cycles_predicted": build.schedule.interval, "cycles": outcome.cycles_per_image or "",
        "lanes_at_work": round(own.macs() / report["lanes"] / build.schedule.interval, 4), "lut": report["lut"],
        "values": outcome.images * int(np.prod(own.shape(own.output))), "mismatches": outcome.mismatches,
        "seconds": "",
    }  # fmt: skip


def rows(program, network, sets):
    """What is to be measured of a network: family, picture, its size, and what measures it."""
    pictures = [smallest(sets), *(squares() if network in CHOOSING else [])]
    for name, pixels in pictures:
        yield "engine", name, pixels.shape[1:], lambda pixels=pixels: whole(program, pixels.astype(np.int64))
    if network not in CHOOSING:
        low = smallest(None)[1]
        crops = np.stack([low[:, :CROP, k * CROP : (k + 1) * CROP] for k in range(CROPS)]).astype(np.int64)
        yield "dataflow", f"{CROPS} crops", (CROP, CROP), lambda: through_dataflow(program, crops)


def main(out, sets, steps):
    """Measure what ``OUT/pictures-rtl.csv`` does not have yet; returns how many of its rows are wrong."""
    for network, kernel in NETWORKS:
        path = out / f"{network}-{kernel}-{steps}.addax"
        if not path.exists():
            print(f"{path} is not there yet: python -m tests.bench.super_resolution {out}")
            continue
        program = load_program(path)
        for arch, picture, (height, width), measure in rows(program, network, sets):
            key = {"network": network, "kernel": kernel, "steps": str(steps), "arch": arch, "picture": picture}
            if any(key.items() <= row.items() for row in done(out / TABLE)):
                continue
            row = {**key, "date": now(), "rows": height, "columns": width, **measure()}
            append(out / TABLE, FIELDS, row)
            print(row, flush=True)
    return sum(
        row["mismatches"] != "0" or row["cycles"] not in ("", row["cycles_predicted"]) for row in done(out / TABLE)
    )  # fmt: skip


if __name__ == "__main__":
    given, steps = budget(sys.argv[1:], "--steps", STEPS)
    sys.exit(3 if main(Path(given[0]), Path(given[1]) if len(given) > 1 else None, steps) else 0)
