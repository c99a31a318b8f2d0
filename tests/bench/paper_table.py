"""Engines of one kernel each, side by side, as the AdderNet paper compares them.

``python -m tests.bench.paper_table CSV [DEVICE:LANES:BITS..]`` can be killed and given again: each row that is done is
a dated line of ``CSV`` and stays. Engines are alike but for their kernel and what their sums need to hold 4,608
products, a window of 3 x 3 in 512 channels. Lanes that multiply become multiplier blocks where synthesis likes, so
logic alone is not compared yet. Rows of ECP5 are placed and routed with one seed where they fit.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from addax.common.errors import UserError
from addax.common.temporary import scratch_folder
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.folder.engine import generate_engine
from addax.reports.devices.devices import device
from addax.reports.engine.report import make_engine_report

from .dated import append, done

PRODUCTS = 4608
ROWS = (
    ("ecp5-85k", 8, 8), ("xczu7ev", 16, 8), ("ecp5-85k", 8, 16), ("xczu7ev", 16, 16), ("ecp5-85k", 16, 8),
    ("xczu7ev", 32, 8), ("ecp5-85k", 16, 16),
)  # fmt: skip
"""Devices, lanes of a row and rows, bits."""
KERNELS = ("adder", "mult")
COLUMNS = (
    "date", "device", "lanes", "bits", "kernel", "sum_bits", "lut", "ff", "bram", "dsp", "mhz", "lanes_lut",
    "memory_lut", "seconds", "note",
)  # fmt: skip
LANES = ("lanes", "trees")
"""Blocks of the array."""


def sum_bits(kernel: str, bits: int) -> int:
    """Bits of a sum of `PRODUCTS` products, sign included."""
    largest = {"adder": (1 << bits) - 1, "mult": 1 << 2 * bits - 1, "shift": (1 << bits) * 64, "xnor": 1}[kernel]
    return max(16, (PRODUCTS * largest).bit_length() + 1)


def plan_of(name: str, lanes: int, bits: int, kernel: str) -> EnginePlan:
    """The engine of a row."""
    return EnginePlan(
        device=name, pin=lanes, pout=lanes, bits=bits, kernels=(kernel,), fabric=device(name).fabric,
        memory_bits=min(128, lanes * bits), sum_bits=sum_bits(kernel, bits), clock_mhz=100.0,
    )  # fmt: skip


def measured(plan: EnginePlan, *, placed: bool) -> dict[str, object]:
    """What the tools count of the engine of ``plan``."""
    with scratch_folder("table") as folder:
        build = generate_engine(plan, folder / "build")
        made = make_engine_report(build, folder / "report", synth=True, placed=placed)
        assert made.synthesis is not None
        total, blocks = made.synthesis.total, made.keys["blocks"]
        return {
            "lut": made.keys["lut"], "ff": total.ff, "bram": total.bram, "dsp": total.dsp,
            "mhz": made.placement.fmax_mhz if made.placement else "",
            "lanes_lut": sum(blocks[name]["lut"] for name in LANES),
            "memory_lut": total.lutram,
        }  # fmt: skip


def row(table: Path, name: str, lanes: int, bits: int, kernel: str) -> None:
    """Measure one engine, unless ``table`` has it, and write down what came of it."""
    plan = plan_of(name, lanes, bits, kernel)
    key = {"device": name, "lanes": f"{lanes}x{lanes}", "bits": str(bits), "kernel": kernel}
    if any(key.items() <= line.items() for line in done(table)):
        return
    begun, note = time.monotonic(), ""
    try:
        found = measured(plan, placed=name.startswith("ecp5"))
    except UserError as error:
        found, note = measured(plan, placed=False), f"not placed: {error}"
    line = {
        **key, **found, "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), "sum_bits": plan.sum_bits,
        "seconds": round(time.monotonic() - begun), "note": note,
    }  # fmt: skip
    append(table, COLUMNS, line)
    print(line, flush=True)


def main(table: Path, chosen: list[str]) -> None:
    """Measure the rows called ``DEVICE:LANES:BITS`` in ``chosen``, or all."""
    wanted = [(name, int(lanes), int(bits)) for name, lanes, bits in (entry.split(":") for entry in chosen)] or ROWS
    for name, lanes, bits in wanted:
        for kernel in KERNELS:
            row(table, name, lanes, bits, kernel)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
