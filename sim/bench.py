"""The cocotb side of a co-simulation: sets up the harness, starts it, waits, compares.

cocotb imports this module inside the simulator. All that happens at clock edges happens in the harness.
"""

import json
import os
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from ..common.executor import end_with_parent

__all__ = ["images_through_rtl"]


@cocotb.test
async def images_through_rtl(dut: cocotb.handle.HierarchyObject) -> None:
    """Run the images of ``stimulus.mem`` and write what came out, compared with ``expected.npy``, to outcome.json."""
    end_with_parent()
    job = json.loads(Path("job.json").read_text())
    for name, value in job["registers"].items():
        getattr(dut, name).value = value
    begin = time.perf_counter()
    dut.start.value = 1
    await RisingEdge(dut.done)
    seconds = time.perf_counter() - begin
    expected = np.load("expected.npy")  # (images, classes + 1): scores, then the class
    received, last = _read_beats(Path("results.mem"), job["answer_bits"])
    complete = received[: len(received) // expected.shape[1] * expected.shape[1]].reshape(-1, expected.shape[1])
    if job["score_signed"]:
        sign = 1 << (job["score_bits"] - 1)
        scores = complete[:, :-1] & (2 * sign - 1)
        complete[:, :-1] = (scores ^ sign) - sign
    count = len(complete)
    wrong = complete != expected[:count]
    first_wrong = np.argwhere(wrong)[:1].tolist()
    packets_ok = bool((last == (np.arange(len(last)) % expected.shape[1] == expected.shape[1] - 1)).all())
    counters = ("first_input", "source_cycles", "source_stalls", "sink_stalls")
    Path("outcome.json").write_text(
        json.dumps({
            "hung": bool(int(dut.hung.value)),
            "images": count,
            "mismatches": int(wrong[:, :-1].sum()),
            "class_mismatches": int(wrong[:, -1].sum()),
            "first_mismatch": first_wrong[0] if first_wrong else None,
            "packets_ok": packets_ok,
            "classes": complete[:, -1].tolist(),
            **{name: int(getattr(dut, name).value) for name in counters},
            "ends": [int(line, 16) for line in _words(Path("ends.mem"))],
            "cycles": int(dut.cycle.value),
            "seconds": seconds,
            "pid": os.getpid(),
        })
    )  # fmt: skip


def _words(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text().split() if not line.startswith(("//", "@"))]


def _read_beats(path: Path, answer_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Words without sign, and the last flags."""
    words = [int(word, 16) for word in _words(path)]
    last = np.array([word >> answer_bits for word in words], np.int64)
    return np.array([word & ((1 << answer_bits) - 1) for word in words], np.int64), last
