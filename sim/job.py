"""One run of the simulator over some images of a co-simulation: what a process of the executor does.

A job carries paths and small values only. Its session is a folder with the memory files, ``pixels.npy``,
``expected.npy`` and a leash, a file; whoever removes that stops all simulators of the session.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import write_text
from ..hdl.interface import stream_bytes
from ..quant.formats import Format
from ..quant.ops.ends import PIXEL
from .stage_trace import TracePoint, compare_stages
from .stall import Stall
from .verilator import Simulator, run_simulator

__all__ = ["EXPECTED", "LEASH", "PIXELS_FILE", "PROGRAM", "Job", "images_done", "run_job", "stimulus_text"]

PIXELS_FILE, EXPECTED, PROGRAM, LEASH = "pixels.npy", "expected.npy", "program.addax", "leash"
_ENDS = "ends.mem"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A part of a co-simulation.

    Attributes
    ----------
    session : folder with what all parts share
    name : of the folder within, which keeps what the simulator writes
    begin, end : images of the session's that are its part
    x : format of the input
    beat_bits : of the input
    answer_bits : of a beat of the output
    elements : of which so many stand in a beat
    signed : whether they have a sign; a class has none
    classifies : whether a packet ends in a class
    watchdog : cycles without output after which it has hung
    linger : cycles to simulate on after the last output, which show whether more comes than was asked for
    reset_after : beats of the input after which everything is reset and begins again; 0 for never
    waves : record a waveform, or toggles, as the simulator was built for
    points : stages whose outputs are compared; none without a recorder in the simulator
    """

    session: Path
    name: str
    begin: int
    end: int
    simulator: Simulator
    beat_bits: int
    answer_bits: int
    elements: int
    signed: bool
    classifies: bool
    stall: Stall
    seed: int
    watchdog: int
    linger: int = 0
    reset_after: int = 0
    waves: bool = False
    points: tuple[TracePoint, ...] = ()
    x: Format = PIXEL

    @property
    def folder(self) -> Path:
        """Where its simulator runs."""
        return self.session / self.name

    @property
    def images(self) -> int:
        """How many it runs."""
        return self.end - self.begin


def run_job(job: Job) -> dict[str, Any]:
    """Run a part and return what the bench found; with ``points``, what every stage's output showed as ``stages``.

    Raises
    ------
    UserError
        when the simulation fails, hangs, gives more than was asked for, ends packets in the wrong place, or takes back
        what it has offered.
    """
    folder = job.folder
    folder.mkdir()
    for memory in job.session.glob("*.mem"):
        (folder / memory.name).symlink_to(memory)
    pixels = np.load(job.session / PIXELS_FILE, mmap_mode="r")[job.begin : job.end]
    write_text(folder / "stimulus.mem", stimulus_text(pixels, job.beat_bits, job.x))
    np.save(folder / EXPECTED, np.load(job.session / EXPECTED, mmap_mode="r")[job.begin : job.end])
    settings = {
        "registers": {
            **job.stall.registers, "images": job.images, "seed": job.seed, "watchdog": job.watchdog,
            "linger": job.linger, **({"reset_after": job.reset_after} if job.reset_after else {}),
        },
        "answer_bits": job.answer_bits,
        "elements": job.elements,
        "signed": job.signed,
        "classifies": job.classifies,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(settings))
    run_simulator(
        job.simulator, f"{__package__}.bench", folder, seed=job.seed, waves=job.waves, leash=job.session / LEASH
    )
    (folder / "stimulus.mem").unlink()
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    if outcome["surplus"]:
        raise UserError(f"the RTL gives {outcome['surplus']} beats more than was asked for", exit_code=3)
    if outcome["hung"]:
        done = f"{outcome['images']} of {job.images} images"
        raise UserError(f"the simulation hangs: no output after {done}", exit_code=3)
    if not outcome["packets_ok"]:
        raise UserError("the RTL ends its packets in the wrong place", exit_code=3)
    if outcome["unstable"]:
        raise UserError("the RTL changes or takes back a beat that waits for the sink", exit_code=3)
    if job.points:
        found = compare_stages(folder, job.session / PROGRAM, np.asarray(pixels), job.points)
        outcome["stages"] = [asdict(result) for result in found]
    return {**outcome, "worker": os.getpid()}


def images_done(job: Job) -> int:
    """Images whose answers the simulator has given so far; may be asked while it runs, by any process."""
    try:
        return (job.folder / _ENDS).read_bytes().count(b"\n")
    except OSError:
        return 0


def stimulus_text(pixels: NDArray[np.integer], beat_bits: int, x: Format = PIXEL) -> str:
    """(N, C, H, W) images, elements of ``x``, as a ``$readmemh`` file, one word per beat of the input stream."""
    width = beat_bits // 8
    beats = stream_bytes(pixels, x).reshape(-1, width)
    return beats[:, ::-1].tobytes().hex("\n", width) + "\n"
