"""When every stage works, seen in the RTL: on which image, from which cycle to which, and what it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import write_text
from ..common.templates import render
from ..common.temporary import scratch_folder
from ..hdl.family import WorkSignals
from ..hdl.folder.build import Build
from ..quant.program import Program
from .cells import cell_models
from .cosim import RUN, run_job_in
from .stall import Stall
from .verilator import build_simulator

__all__ = ["ANSWERS", "PIXELS_TRACK", "Timeline", "Wait", "Work", "watch"]

PIXELS_TRACK, ANSWERS = "pixels", "answer"
"""Tracks of the input and of the output stream."""
_ROW_WORDS = 3
_SHORTEST, _MOST = 8, 512
"""Waits of fewer cycles, or of less than this part of an image's interval, are counted but not told one by one."""


@dataclass(frozen=True, kw_only=True)
class _Track(WorkSignals):
    """What begins groups, and the file in which the stopwatch notes when."""

    file: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Cycles in which a stage that is at an image does not work, and what it waits for."""

    begin: int
    cycles: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """A stage at an image.

    Attributes
    ----------
    begin, end : cycles after the first input beat; the end is excluded
    busy : cycles in which it works; in the others it waits
    waits : the longer ones
    """

    image: int
    begin: int
    end: int
    busy: int
    waits: tuple[Wait, ...]

    @property
    def waiting(self) -> int:
        """Cycles in which it waits, of all waits."""
        return self.end - self.begin - self.busy


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """All tracks of a run, in the order of the pipeline; each is at every image once, one after the other."""

    clock_mhz: float
    network: str
    device: str
    tracks: dict[str, tuple[Work, ...]]


def watch(
    build: Build, pixels: NDArray[np.integer], *, program: Program | None = None, stall: Stall | None = None,
    seed: int = 1,
) -> Timeline:  # fmt: skip
    """Run (N, C, H, W) images, as many as the harness holds, through the RTL of ``build`` in a simulator that notes
    when groups begin.

    Parameters
    ----------
    program : another Program whose weights are loaded, as in `cosim.simulate`
    stall, seed : of the run; the same as of another run give the same cycles

    Raises
    ------
    UserError
        when the simulation fails or hangs, or a stage does not begin all its groups.
    """
    tracks, pixels = _tracks(build), pixels[: build.manifest["capacity"]]
    with scratch_folder("stopwatch") as folder:
        probe = folder / f"{build.prefix}_stopwatch.sv"
        template = Path(__file__).with_name("stopwatch.v.j2")
        write_text(probe, render(template, prefix=build.prefix, tracks=tracks))
        sources = (*build.sources, *cell_models(build.plan.fabric), probe)
        simulator = build_simulator(sources, f"{build.prefix}_harness")
        run = folder / "session"
        run.mkdir()
        outcome = run_job_in(run, build, simulator, pixels, program=program, stall=stall, seed=seed, linger=True)
        shortest = max(_SHORTEST, build.schedule.interval // _MOST)
        works = {
            track.name: _works(track, run / RUN / track.file, len(pixels), outcome["first_input"], shortest)
            for track in tracks
        }
    return Timeline(
        clock_mhz=build.plan.clock_mhz, network=build.program.metadata.get("network", "accelerator"),
        device=build.plan.device, tracks=works,
    )  # fmt: skip


def _tracks(build: Build) -> list[_Track]:
    design = build.design
    found = [
        _stream(
            PIXELS_TRACK, "s_axis", design.interface.beats, blocked="waits for the accelerator",
            starved="the source has no beat",
        ),
        *design.work,
        _stream(
            ANSWERS, "m_axis", design.interface.answers, blocked="the sink has no room",
            starved="waits for the next beat",
        ),
    ]  # fmt: skip
    return [_Track(**vars(rhythm), file=f"track{number}.bin") for number, rhythm in enumerate(found)]


def _stream(name: str, port: str, beats: int, *, blocked: str, starved: str) -> WorkSignals:
    return WorkSignals(
        name=name, begin=f"{port}_tvalid && {port}_tready", go=f"{port}_tready", groups=beats, steps=1,
        blocked=blocked, starved=starved,
    )  # fmt: skip


def _works(track: _Track, path: Path, images: int, first_input: int, shortest: int) -> tuple[Work, ...]:
    rows = np.fromfile(path, np.dtype("<u4")).reshape(-1, _ROW_WORDS).astype(np.int64)
    if len(rows) != images * track.groups:
        raise UserError(
            f"{track.name} began {len(rows):,} groups for {images} images instead of {images * track.groups:,}",
            exit_code=3,
        )
    cycles = (rows[:, 0] | rows[:, 1] << 32) - first_input
    pairs = zip(cycles.reshape(images, -1), rows[:, 2].reshape(images, -1), strict=True)
    return tuple(_work(track, image, begins, held, shortest) for image, (begins, held) in enumerate(pairs))


def _work(track: _Track, image: int, begins: NDArray[np.int64], held: NDArray[np.int64], shortest: int) -> Work:
    gaps = np.diff(begins) - track.steps
    waits: Sequence[int] = np.flatnonzero(gaps >= shortest).tolist()
    return Work(
        image=image, begin=int(begins[0]), end=int(begins[-1]) + track.steps, busy=track.groups * track.steps,
        waits=tuple(
            Wait(
                begin=int(begins[k]) + track.steps, cycles=int(gaps[k]),
                reason=track.blocked if held[k + 1] else track.starved,
            )
            for k in waits
        ),
    )  # fmt: skip
