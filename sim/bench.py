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

__all__ = ["images_through_rtl", "read_beats"]


@cocotb.test
async def images_through_rtl(dut: cocotb.handle.HierarchyObject) -> None:
    """Run the images of ``stimulus.mem`` and write what came out, compared with ``expected.npy``, to outcome.json."""
    job = json.loads(Path("job.json").read_text())
    for name, value in job["registers"].items():
        getattr(dut, name).value = value
    begin = time.perf_counter()
    dut.start.value = 1
    await RisingEdge(dut.done)
    seconds = time.perf_counter() - begin
    # (images, elements): scores, then the class; or the raw result in the order of the stream
    expected = np.load("expected.npy")
    received, last = read_beats(Path("results.mem"), job["answer_bits"], job["elements"])
    beats, classifies = expected.shape[1] // job["elements"], job["classifies"]
    complete = received[: min(len(received) // beats, len(expected)) * beats].reshape(-1, expected.shape[1])
    if job["signed"]:
        numbers = complete[:, :-1] if classifies else complete
        sign = 1 << (job["answer_bits"] // job["elements"] - 1)
        numbers[:] = (numbers ^ sign) - sign
    count = len(complete)
    wrong = complete != expected[:count]
    first_wrong = np.argwhere(wrong)[:1].tolist()
    packets_ok = bool((last == (np.arange(len(last)) % beats == beats - 1)).all())
    counters = ("first_input", "source_cycles", "source_stalls", "sink_stalls")
    Path("outcome.json").write_text(
        json.dumps({
            "hung": bool(int(dut.hung.value)),
            "images": count,
            "mismatches": int((wrong[:, :-1] if classifies else wrong).sum()),
            "class_mismatches": int(wrong[:, -1].sum()) if classifies else 0,
            "first_mismatch": first_wrong[0] if first_wrong else None,
            "packets_ok": packets_ok,
            "surplus": max(len(received) - len(expected) * beats, 0),
            # Harnesses of BUILDs from before do not watch.
            "unstable": hasattr(dut, "unstable") and bool(int(dut.unstable.value)),
            "classes": complete[:, -1].tolist() if classifies else [],
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


def read_beats(path: Path, answer_bits: int, elements: int) -> tuple[np.ndarray, np.ndarray]:
    """(beats, elements) of whole bytes without sign, the lowest first, and the last flags."""
    digits = answer_bits // 4
    words = [word.zfill(digits + 1) for word in _words(path)]
    raw = np.frombuffer(bytes.fromhex("".join(word[1:] for word in words)), np.uint8)
    parts = raw.reshape(len(words), elements, answer_bits // 8 // elements)[:, ::-1].astype(np.int64)
    values = np.zeros(parts.shape[:2], np.int64)
    for byte in range(parts.shape[2]):
        values = values << 8 | parts[:, :, byte]
    return values, np.array([int(word[0], 16) for word in words], np.int64)
