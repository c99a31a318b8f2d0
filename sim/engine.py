"""Simulation of an engine: one image in memory, the whole memory afterwards."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import write_text
from ..common.temporary import scratch_folder
from ..hdl.engine.activity import ACTIVITY_BITS, CycleUse
from ..hdl.engine.compile.image import Compiled
from ..hdl.engine.harness import HARNESS_BYTES
from ..hdl.engine.layout import beats_text
from ..hdl.engine.plan import EnginePlan
from ..hdl.folder.engine import EngineBuild
from ..hdl.folder.engine_bench import WATCHDOG
from .cells import cell_models
from .verilator import Simulator, build_simulator, run_simulator

__all__ = ["EngineRun", "engine_simulator", "run_engine"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineRun:
    """What a simulated run of an engine did.

    Attributes
    ----------
    words : (N, bytes of a word), the memory afterwards
    cycles : from start to done
    read_beats, write_beats : of the memory
    spent : (descriptors + 1, activities), cycles of each `CycleUse` up to the end of each descriptor, and behind all
    together : (2, 2, 2), cycles in which the array does not and does work, no beat and one is read, none and one is
        written
    code : of `hdl.engine.engine.ERRORS`
    seconds : that the simulator took
    """

    words: NDArray[np.uint8]
    cycles: int
    read_beats: int
    write_beats: int
    spent: NDArray[np.int64]
    together: NDArray[np.int64]
    code: int
    seconds: float


def engine_simulator(build: EngineBuild, *, trace: str | None = None) -> Simulator:
    """The compiled simulator of an engine, for any image; ``trace`` as `verilator.build_simulator` has it."""
    sources = (*build.sources, *cell_models(build.plan.fabric))
    return build_simulator(sources, f"{build.prefix}_harness", trace=trace)


def run_engine(
    simulator: Simulator, image: Compiled, pixels: NDArray[np.integer], *, latency: int = 20, slots: int = 64,
    spread: int = 1, seed: int = 1, watchdog: int = WATCHDOG, runs: int = 1, faults: dict[str, int] | None = None,
    saif: Path | None = None,
) -> EngineRun:  # fmt: skip
    """Run ``image`` on (C, H, W) ``pixels``.

    Parameters
    ----------
    latency : cycles from the address of a read to its first beat, and from the last beat of a write to its answer
    slots : read bursts that the memory takes before the first is answered
    spread : of the latencies: each burst has its own, at random from ``latency - spread + 1`` to ``latency``
    seed : of these latencies, not 0
    watchdog : cycles without a transfer after which it hangs
    runs : starts, one behind the other, over the same memory; the cycles are those of the last
    faults : ``fail_read``, ``fail_write``: number of the beat from which on the memory answers with an error
    saif : where the toggles go that a simulator with this trace counts

    Raises
    ------
    UserError
        when it hangs, and for an image that is larger than the memory of the harness.
    """
    plan, words = image.plan, image.with_input(pixels)
    if words.nbytes > HARNESS_BYTES:
        raise UserError(f"the image takes {words.nbytes:,} bytes; the memory that is simulated has {HARNESS_BYTES:,}")
    with scratch_folder("run") as folder:
        write_text(folder / "memory.mem", beats_text(words, plan.memory_bits))
        settings = {
            "first": image.first, "words": len(words) * plan.beats, "latency": latency, "slots": slots,
            "spread": spread, "seed": seed, "watchdog": watchdog, "runs": runs, **(faults or {}),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(settings))
        (folder / "leash").touch()
        run_simulator(
            simulator, f"{__package__}.engine_bench", folder, seed=1, waves=saif is not None, leash=folder / "leash"
        )
        outcome = json.loads((folder / "outcome.json").read_text())
        if outcome.pop("hung"):
            raise UserError(f"the engine hangs after {outcome['cycles']} cycles", exit_code=3)
        if saif is not None:
            (folder / "dump.saif").replace(saif)
        spent = np.array([int(word, 16) for word in _hexadecimal(folder / "activity.mem")], np.int64)
        spent = spent.reshape(-1, 1 << ACTIVITY_BITS, 2, 2)[:, : len(CycleUse)]
        works = spent.sum(0)
        together = np.stack([works.sum(0) - works[CycleUse.WORK], works[CycleUse.WORK]])
        return EngineRun(
            words=_words(folder / "result.mem", plan), spent=spent.sum((2, 3)), together=together, **outcome
        )  # fmt: skip


def _hexadecimal(path: Path) -> list[str]:
    """The words of a memory file that a simulator has written."""
    return [line for line in path.read_text().split() if not line.startswith(("//", "@"))]


def _words(path: Path, plan: EnginePlan) -> NDArray[np.uint8]:
    lines = _hexadecimal(path)
    beats = np.frombuffer(bytes.fromhex("".join(lines)), np.uint8).reshape(len(lines), -1)[:, ::-1]
    return np.ascontiguousarray(beats).reshape(-1, plan.word_bytes)
