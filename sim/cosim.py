"""Co-simulation of a BUILD: images through the RTL, every score compared with the golden model."""

import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import write_text
from ..hdl.emit import Build, hex_lines, pack_pixels, write_memories
from ..quant import golden
from ..quant.program import Program
from .cells import cell_models
from .verilator import Simulator, build_simulator, find_verilator, run_simulator

__all__ = ["Outcome", "simulate", "simulator_name", "simulator_of"]

_TIMED_IMAGES = 6
"""Images of the run that measures the steady interval when the main run cannot."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a co-simulation found.

    Attributes
    ----------
    mismatches : score words that differ from the golden model
    class_mismatches : classes that differ from the golden model
    first_mismatch : image and class index of the first difference, or None
    classes : class of every image as the RTL says
    cycles_first_image : from the first input beat to the first TLAST, without stalls
    cycles_per_image : steady interval between TLASTs, without stalls
    cycles : clock cycles of all runs together
    seconds : wall time that the simulators spent running them
    """

    images: int
    mismatches: int
    class_mismatches: int
    first_mismatch: tuple[int, int] | None
    classes: NDArray[np.int64]
    cycles_first_image: int
    cycles_per_image: int
    cycles: int
    seconds: float
    cached_build: bool

    @property
    def bit_exact(self) -> bool:
        """Whether every score and every class equals the golden model's."""
        return self.mismatches == 0 and self.class_mismatches == 0


def simulator_of(build: Build, *, trace: str | None = None) -> Simulator:
    """The compiled simulator of a BUILD; the memory files are read when it runs, so they are no part of it."""
    sources = (*build.sources, *cell_models(build.plan.fabric))
    return build_simulator(sources, f"{build.prefix}_harness", trace=trace)


def simulate(
    build: Build,
    pixels: NDArray[np.uint8],
    *,
    program: Program | None = None,
    stall: float = 0.0,
    seed: int = 1,
    waves: Path | None = None,
    executor: Executor | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Outcome:
    """Run (N, C, H, W) images through the RTL of ``build``.

    Parameters
    ----------
    program : another Program of the same shapes and formats whose weights are loaded instead of the build's own
    stall : share of cycles, 0 to 0.99, in which the source has no beat, and likewise the sink no room, at random
    waves : file for a waveform, ``.vcd`` or ``.fst``
    executor : where parts run, several at once; in this process when None
    progress : called with the number of images done as parts end

    Raises
    ------
    UserError
        for images of another size, a Program that does not fit, a simulator that fails or hangs.
    """
    if not 0 <= stall <= 0.99:
        raise UserError(f"stall must be a share in 0..0.99, not {stall}")
    program = program or build.program
    if pixels.shape[1:] != program.input.shape or len(pixels) == 0:
        raise UserError(f"images of shape {pixels.shape[1:]} do not fit the network's {program.input.shape}")
    trace = None
    if waves is not None:
        trace = waves.suffix.lstrip(".")
        if trace not in ("vcd", "fst"):
            raise UserError(f"waveform file must end in .vcd or .fst, not {waves.name!r}")
        if trace == "fst":
            require_lz4()
    simulator = simulator_of(build, trace=trace)
    expected = answers(program, pixels)

    capacity = int(build.manifest["capacity"])
    part = capacity if executor is None else min(capacity, -(-len(pixels) // 2))
    jobs = [
        _Job(
            build=build, program=program, simulator=simulator, pixels=pixels[k : k + part],
            expected=expected[k : k + part], stall=stall, seed=seed + k, waves=waves,
        )
        for k in range(0, len(pixels), part)
    ]  # fmt: skip
    if stall or len(pixels) < _TIMED_IMAGES:
        again = np.arange(_TIMED_IMAGES) % len(pixels)
        timing = _Job(
            build=build, program=program, simulator=simulator, pixels=pixels[again], expected=expected[again],
            stall=0.0, seed=1, waves=None,
        )  # fmt: skip
        jobs.append(timing)
    else:
        timing = jobs[0]
    results = []
    for job, result in zip(jobs, map(run_job, jobs) if executor is None else executor.map(run_job, jobs), strict=True):
        results.append(result)
        if not (job is timing and job is not jobs[0]):
            progress(len(job.pixels))
    timed = results[jobs.index(timing)]
    counted = results if timing is jobs[0] else results[:-1]
    offsets = np.cumsum([0] + [r["images"] for r in counted])
    first = next(
        ((int(at + r["first_mismatch"][0]), int(r["first_mismatch"][1]))
         for at, r in zip(offsets, counted, strict=False) if r["first_mismatch"]), None,
    )  # fmt: skip
    intervals = np.diff(timed["ends"])
    return Outcome(
        images=len(pixels),
        mismatches=sum(r["mismatches"] for r in results),
        class_mismatches=sum(r["class_mismatches"] for r in results),
        first_mismatch=first,
        classes=np.concatenate([np.array(r["classes"], np.int64) for r in counted]),
        cycles_first_image=timed["ends"][0] - timed["first_input"],
        cycles_per_image=int(intervals[-1]),
        cycles=sum(r["cycles"] for r in results),
        seconds=sum(r["seconds"] for r in results),
        cached_build=simulator.cached,
    )


def require_lz4() -> None:
    """FST needs the lz4 headers when Verilator compiles its writer."""
    if not any(Path(p, "lz4.h").is_file() for p in ("/usr/include", "/usr/local/include")):
        raise UserError("FST waveforms need the lz4 headers (Debian package liblz4-dev); or name a .vcd file")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """One run of the simulator over some images."""

    build: Build
    program: Program
    simulator: Simulator
    pixels: NDArray[np.uint8]
    expected: NDArray[np.int64]
    stall: float
    seed: int
    waves: Path | None


def run_job(job: _Job) -> dict[str, Any]:
    """Run one part in a folder of its own and return what the bench found."""
    with tempfile.TemporaryDirectory(prefix="addax-sim-") as name:
        folder = Path(name)
        outcome = run_job_in(
            folder, job.build, job.simulator, job.pixels, program=job.program, expected=job.expected, stall=job.stall,
            seed=job.seed,
        )  # fmt: skip
        if job.waves is not None:
            _keep_waves(folder, job.waves)
    return outcome


def run_job_in(
    folder: Path, build: Build, simulator: Simulator, pixels: NDArray[np.uint8], *, program: Program | None = None,
    expected: NDArray[np.int64] | None = None, stall: float = 0.0, seed: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Run ``pixels`` in ``folder``, which keeps what the simulator writes, and return what the bench found.

    Parameters
    ----------
    expected : (N, classes + 1) scores and class; from the golden model when None

    Raises
    ------
    UserError
        when the simulation fails, hangs, or ends packets in the wrong place.
    """
    program = program or build.program
    if expected is None:
        expected = answers(program, pixels)
    prepare(folder, build, program, pixels)
    np.save(folder / "expected.npy", expected)
    job = {
        "images": len(pixels),
        "stall": stall,
        "seed": seed,
        "watchdog": min(build.schedule.watchdog(stall), (1 << 32) - 1),
        "data_out": build.manifest["data_out"],
        "score_bits": build.program.score_format.bits,
        "score_signed": build.program.score_format.signed,
    }
    (folder / "job.json").write_text(json.dumps(job))
    run_simulator(simulator, f"{__package__}.bench", folder, seed=seed)
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    if outcome["hung"]:
        raise UserError(
            f"the simulation hangs: no output after {outcome['images']} of {len(pixels)} images", exit_code=3
        )
    if not outcome["packets_ok"]:
        raise UserError("the RTL ends its packets in the wrong place", exit_code=3)
    return outcome


def answers(program: Program, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What the golden model expects of every image: scores, then the class, (N, classes + 1)."""
    result = golden.run(program, pixels)
    return np.concatenate([result.scores, result.classes[:, None]], axis=1)


def prepare(folder: Path, build: Build, program: Program, pixels: NDArray[np.uint8]) -> None:
    """Put memory files and stimulus where the simulator will run: the build's own files, unless others are loaded."""
    if program is build.program:
        for entry in build.manifest["memories"]:
            shutil.copy(build.path / entry["file"], folder)
    else:
        write_memories(folder, build.images_for(program))
    write_text(folder / "stimulus.mem", hex_lines(pack_pixels(pixels, build.plan.pixels), build.manifest["data_in"]))


def _keep_waves(folder: Path, target: Path) -> None:
    dumps = [p for p in folder.iterdir() if p.name.startswith("dump.")]
    if not dumps:
        raise UserError("the simulator wrote no waveform")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(dumps[0], target)
    except OSError as error:
        raise UserError(f"cannot write waveform {target}: {error.strerror}") from error


def simulator_name() -> str:
    """Which simulator runs."""
    return f"verilator {find_verilator().version}"
