"""Co-simulation of a BUILD: images through the RTL, every word of every answer compared with the golden model."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import copy_file, write_bytes, write_text
from ..common.temporary import scratch_folder
from ..hdl.folder.build import Build
from ..hdl.folder.memories import write_memories
from ..hdl.interface import answer_words
from ..quant import golden
from ..quant.files.archive import program_bytes
from ..quant.golden.layout import checked
from ..quant.program import Program
from .cells import cell_models
from .job import EXPECTED, LEASH, PIXELS_FILE, PROGRAM, Job, images_done, run_job
from .stage_trace import Difference, StageTrace, TracePoint, join_traces, recorder_text, trace_points
from .stall import Stall
from .verilator import Simulator, build_simulator, find_verilator

__all__ = ["RUN", "Outcome", "answers", "run_job_in", "simulate", "simulator_name", "simulator_of"]

_TIMED_IMAGES = 6
"""Images of the run that measures the steady interval when the main run cannot."""
_STEADY_IMAGES = 8 * _TIMED_IMAGES
"""Images of the run that measures it again where the shorter one did not come to rest: queues fill first."""
_PART_CYCLES = 1 << 20
"""Fewest cycles of a part: below, starting a simulator takes longer than running it."""
_PART_FILLS = 20
"""A part takes at least so often the time that the pipeline needs to fill."""
_POLL_SECONDS = 0.2
RUN = "run"
"""Folder of a single run within the folder that `run_job_in` was given."""


@dataclass(frozen=True, kw_only=True)
class FirstDifference:
    """The stage where RTL and golden model begin to differ."""

    stage: str
    place: Difference


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a co-simulation found.

    Attributes
    ----------
    mismatches : score words, or elements of a raw result, that differ from the golden model
    class_mismatches : classes that differ from the golden model
    first_mismatch : image and class index of the first difference, of a raw result image, row, column and channel;
        or None
    classes : class of every image as the RTL says; empty where the Program does not classify
    cycles_first_image : from the first input beat to the first TLAST, without stalls
    cycles_per_image : steady interval between TLASTs, without stalls
    cycles : clock cycles of all runs together
    seconds : wall time that the simulators spent running them, added up
    parts : runs of the simulator that the images were shared among
    source_stalls : share of cycles, as measured, in which the source had beats left but gave none
    sink_stalls : share of cycles in which the sink had no room
    stages : how the output of every stage compares, in the order of the pipeline; empty when none was asked for
    """

    images: int
    mismatches: int
    class_mismatches: int
    first_mismatch: tuple[int, ...] | None
    classes: NDArray[np.int64]
    cycles_first_image: int
    cycles_per_image: int
    cycles: int
    seconds: float
    parts: int
    source_stalls: float
    sink_stalls: float
    stages: tuple[StageTrace, ...]
    cached_build: bool

    @property
    def bit_exact(self) -> bool:
        """Whether every score, every class and, where traced, every value between equals the golden model's."""
        return self.mismatches == 0 and self.class_mismatches == 0 and self.first_difference is None

    @property
    def first_difference(self) -> FirstDifference | None:
        """The first stage in the pipeline whose output differs, and where it does first."""
        return next((FirstDifference(stage=s.name, place=s.first) for s in self.stages if s.first is not None), None)


def simulator_of(build: Build, *, trace: str | None = None, points: Sequence[TracePoint] = ()) -> Simulator:
    """The compiled simulator of a BUILD; the memory files are read when it runs, so they are no part of it.

    Parameters
    ----------
    trace : kind of waveform that it can write
    points : stages whose outputs it records in every run
    """
    sources = (*build.sources, *cell_models(build.plan.fabric))
    top = f"{build.prefix}_harness"
    if not points:
        return build_simulator(sources, top, trace=trace)
    with scratch_folder("recorder") as folder:
        recorder = folder / f"{build.prefix}_recorder.sv"
        write_text(recorder, recorder_text(build.prefix, points))
        return build_simulator((*sources, recorder), top, trace=trace)


def simulate(
    build: Build,
    pixels: NDArray[np.integer],
    *,
    program: Program | None = None,
    stall: float = 0.0,
    stall_pattern: str = "both",
    seed: int = 1,
    waves: Path | None = None,
    trace_stages: bool = False,
    executor: Executor | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda images: None,
) -> Outcome:
    """Run (N, C, H, W) images through the RTL of ``build``.

    Parameters
    ----------
    program : another Program of the same shapes and formats whose weights are loaded instead of the build's own
    stall : share of cycles, 0 to 0.99, in which a side is stopped at random: the source has no beat, the sink no room
    stall_pattern : which side, and how: see `Stall`
    waves : file for a waveform of the first part, ``.vcd`` or ``.fst``
    trace_stages : compare the output of every stage, in a simulator that records them
    executor : where parts run, several at once; one after the other in this process when None. Its processes must see
        the temporary folder and the cache of this one
    workers : how many parts ``executor`` runs at once
    progress : called with the number of images done since the last call

    Raises
    ------
    UserError
        for images of another size, a Program that does not fit, a simulator that fails or hangs.
    """
    stalls = Stall(share=stall, pattern=stall_pattern)
    program = program or build.program
    if pixels.shape[1:] != program.input.shape or len(pixels) == 0:
        raise UserError(f"images of shape {pixels.shape[1:]} do not fit the network's {program.input.shape}")
    try:
        pixels = checked(program.input, pixels)
    except ValueError as error:
        raise UserError(str(error)) from error
    if stalls.share and stalls.pattern != "source" and not build.design.interface.handshake:
        raise UserError("the design has no handshake, so its sink cannot stall it; let the source alone: source, not "
                        f"{stalls.pattern}")  # fmt: skip
    trace = _kind_of_waves(waves)
    points = trace_points(build.design) if trace_stages else ()
    simulator = simulator_of(build, trace=trace, points=points)
    bounds = _parts(build, len(pixels), stalls, 1 if executor is None else workers)
    with _session(build, program, pixels) as folder:
        jobs = [
            _job(
                folder, f"part{k}", build, simulator, begin, end, stall=stalls, seed=seed + begin,
                waves=trace is not None and k == 0, points=points,
            )
            for k, (begin, end) in enumerate(bounds)
        ]  # fmt: skip
        timing = jobs[0]
        if stall or timing.images < _TIMED_IMAGES:
            timing = _timing_job(folder, build, program, pixels, simulator, _TIMED_IMAGES)
        extra = [] if timing is jobs[0] else [timing]
        results = _run([*jobs, *extra], jobs, executor, progress)
        timed = _steady(
            results[-1] if extra else results[0], min(_STEADY_IMAGES, int(build.manifest["capacity"])),
            lambda images: run_job(_timing_job(folder, build, program, pixels, simulator, images)),
        )  # fmt: skip
        if waves is not None:
            _keep_waves(jobs[0].folder, waves)
    return _outcome(build, results, bounds, timed, simulator)


def _parts(build: Build, images: int, stall: Stall, workers: int) -> list[tuple[int, int]]:
    """First image, and last plus one, of every part: as few parts as the harness can hold and keep the workers busy."""
    timing = build.schedule
    running = 1 - stall.share
    cycles = max(_PART_CYCLES * running, _PART_FILLS * timing.latency)
    least = max(_TIMED_IMAGES, int(cycles / timing.interval) + 1)
    parts = max(-(-images // int(build.manifest["capacity"])), min(workers, images // least), 1)
    if parts > 1:
        parts = -(-parts // workers) * workers
    ends = [images * (k + 1) // parts for k in range(parts)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _run(
    jobs: Sequence[Job], counted: Sequence[Job], executor: Executor | None, progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Results of all ``jobs``, while ``progress`` hears of the images of those ``counted``.

    Whatever ends this early, an error or an interrupt, stops their simulators first.
    """
    with contextlib.ExitStack() as stack:
        if executor is None or len(jobs) == 1:
            executor = stack.enter_context(ThreadPoolExecutor(1))
        futures: list[Future[dict[str, Any]]] = []
        try:
            futures += [executor.submit(run_job, job) for job in jobs]
            pending, reported = set(futures), 0
            while pending:
                ended, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                for future in ended:
                    future.result()
                done = sum(images_done(job) for job in counted)
                if done > reported:
                    progress(done - reported)
                    reported = done
            return [future.result() for future in futures]
        except BaseException as error:
            for job in jobs:
                (job.session / LEASH).unlink(missing_ok=True)
            wait([future for future in futures if not future.cancel()])
            if isinstance(error, BrokenExecutor):
                raise UserError("a process that ran the simulator was killed, perhaps for want of memory") from error
            raise


def _timing_job(
    folder: Path, build: Build, program: Program, pixels: NDArray[np.integer], simulator: Simulator, images: int
) -> Job:
    """A run of so many images without stalls; what repeats them lives in a session of its own, in ``folder``."""
    again = np.arange(images) % len(pixels)
    side = folder / f"timing{images}"
    side.mkdir()
    prepare(side, build, program, pixels[again])
    np.save(side / EXPECTED, np.load(folder / EXPECTED)[again])
    (side / LEASH).symlink_to(folder / LEASH)
    return _job(side, RUN, build, simulator, 0, images)


def _steady(timed: dict[str, Any], longest: int, again: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """A run whose last two intervals are as long as each other: ``timed``, or a longer one that ``again`` makes.

    Raises
    ------
    UserError
        where no run is so: then no interval is what images that follow each other take.
    """
    intervals = np.diff(timed["ends"])
    if len(intervals) < 2 or intervals[-1] == intervals[-2]:
        return timed
    if len(timed["ends"]) >= longest:
        raise UserError(
            f"the RTL has no steady interval: the last of {len(timed['ends'])} images are {intervals[-2]} and "
            f"{intervals[-1]} cycles apart",
            exit_code=3,
        )
    return _steady(again(longest), longest, again)


def _outcome(
    build: Build, results: Sequence[dict[str, Any]], bounds: Sequence[tuple[int, int]], timed: dict[str, Any],
    simulator: Simulator,
) -> Outcome:  # fmt: skip
    """Join the results of all parts, and of the run that was timed where that is another."""
    counted = results[: len(bounds)]
    begins = [begin for begin, _ in bounds]
    first = next(
        ((begin + r["first_mismatch"][0], *_element(build.program, r["first_mismatch"][1]))
         for begin, r in zip(begins, counted, strict=True) if r["first_mismatch"]), None,
    )  # fmt: skip

    def total(name: str, among: Sequence[dict[str, Any]] = counted) -> Any:
        return sum(r[name] for r in among)

    return Outcome(
        images=bounds[-1][1],
        mismatches=total("mismatches", results),
        class_mismatches=total("class_mismatches", results),
        first_mismatch=first,
        classes=np.concatenate([np.array(r["classes"], np.int64) for r in counted]),
        cycles_first_image=timed["ends"][0] - timed["first_input"],
        cycles_per_image=int(np.diff(timed["ends"])[-1]),
        cycles=total("cycles", results),
        seconds=total("seconds", results),
        parts=len(counted),
        source_stalls=total("source_stalls") / max(total("source_cycles"), 1),
        sink_stalls=total("sink_stalls") / max(total("cycles"), 1),
        stages=join_traces([(b, r["stages"]) for b, r in zip(begins, counted, strict=True) if "stages" in r]),
        cached_build=simulator.cached,
    )


def _kind_of_waves(waves: Path | None) -> str | None:
    if waves is None:
        return None
    kind = waves.suffix.lstrip(".")
    if kind not in ("vcd", "fst"):
        raise UserError(f"waveform file must end in .vcd or .fst, not {waves.name!r}")
    if kind == "fst":
        require_lz4()
    return kind


def require_lz4() -> None:
    """FST needs the lz4 headers when Verilator compiles its writer."""
    if not any(Path(p, "lz4.h").is_file() for p in ("/usr/include", "/usr/local/include")):
        raise UserError("FST waveforms need the lz4 headers (Debian package liblz4-dev); or name a .vcd file")


@contextlib.contextmanager
def _session(build: Build, program: Program, pixels: NDArray[np.integer]) -> Iterator[Path]:
    """A folder with what all parts share, until the block ends."""
    with scratch_folder("sim") as folder:
        prepare(folder, build, program, pixels)
        np.save(folder / EXPECTED, answers(program, pixels))
        write_bytes(folder / PROGRAM, program_bytes(program))
        (folder / LEASH).touch()
        yield folder


def _job(
    session: Path, name: str, build: Build, simulator: Simulator, begin: int, end: int, *, stall: Stall | None = None,
    seed: int = 1, waves: bool = False, points: tuple[TracePoint, ...] = (), linger: bool = False,
    reset_after: int = 0,
) -> Job:  # fmt: skip
    stall = stall or Stall()
    timing, program = build.schedule, build.program
    return Job(
        session=session, name=name, begin=begin, end=end, simulator=simulator, beat_bits=build.manifest["data_in"],
        answer_bits=build.manifest["data_out"], elements=build.design.interface.elements,
        x=program.input.format, signed=program.format(program.output).signed, classifies=program.classifies,
        stall=stall, seed=seed, watchdog=min(timing.watchdog(stall.share), (1 << 32) - 1), waves=waves, points=points,
        # Rows that the next stage does not read may leave a stage when the last score has been told.
        # An interval in any case: an answer too many would come within it.
        linger=timing.interval + (timing.latency if points or linger else 0), reset_after=reset_after,
    )  # fmt: skip


def run_job_in(
    folder: Path, build: Build, simulator: Simulator, pixels: NDArray[np.integer], *, program: Program | None = None,
    expected: NDArray[np.int64] | None = None, stall: Stall | None = None, seed: int = 1, linger: bool = False,
    reset_after: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Run ``pixels`` and return what the bench found; ``folder / RUN`` keeps what the simulator writes.

    Parameters
    ----------
    expected : what `answers` gives; from the golden model when None
    stall : none when None
    linger : go on until what no answer waits for has left the stages, too
    reset_after : see `Job`

    Raises
    ------
    UserError
        when the simulation fails, hangs, or ends packets in the wrong place.
    """
    program = program or build.program
    prepare(folder, build, program, pixels)
    np.save(folder / EXPECTED, answers(program, pixels) if expected is None else expected)
    (folder / LEASH).touch()
    return run_job(
        _job(
            folder, RUN, build, simulator, 0, len(pixels), stall=stall, seed=seed, waves=simulator.trace is not None,
            linger=linger, reset_after=reset_after,
        )
    )  # fmt: skip


def answers(program: Program, pixels: NDArray[np.integer]) -> NDArray[np.int64]:
    """What the golden model expects of every image: scores, then the class, (N, classes + 1); or the elements of a raw
    result in the order of the stream, (N, H * W * C)."""
    return answer_words(program, golden.run(program, pixels).output)


def _element(program: Program, number: int) -> tuple[int, ...]:
    """What a word of an answer is: the index of a class, or row, column and channel."""
    if program.classifies:
        return (number,)
    channels, height, width = program.shape(program.output)
    return tuple(int(k) for k in np.unravel_index(number, (height, width, channels)))


def prepare(folder: Path, build: Build, program: Program, pixels: NDArray[np.integer]) -> None:
    """Put images and memory files where jobs look for them: the build's own files, unless others are loaded."""
    if program is build.program:
        for entry in build.manifest["memories"]:
            shutil.copy(build.path / entry["file"], folder)
    else:
        write_memories(folder, build.images_for(program))
    np.save(folder / PIXELS_FILE, pixels)


def _keep_waves(folder: Path, target: Path) -> None:
    dumps = [p for p in folder.iterdir() if p.name.startswith("dump.")]
    if not dumps:
        raise UserError("the simulator wrote no waveform")
    copy_file(dumps[0], target)


def simulator_name() -> str:
    """The name and version of the simulator."""
    return f"verilator {find_verilator().version}"
