"""How often the nets of each block of an engine toggle while it runs an image of a network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.cache import digest
from ..common.errors import UserError
from ..common.temporary import scratch_folder
from ..hdl.engine.blocks import BLOCK_OF_INSTANCE, EngineNets
from ..hdl.engine.compile.image import Compiled
from ..hdl.family import DUT
from ..hdl.folder.engine import EngineBuild
from .activity import ACTIVITY_VERSION, Activity, Toggles, kept_activity, read_activity
from .engine import engine_simulator, run_engine
from .verilator import Simulator, find_verilator

__all__ = ["engine_activity_of", "measure_engine_activity"]

_OWNER = EngineNets()


def measure_engine_activity(build: EngineBuild, image: Compiled, pixels: NDArray[np.integer]) -> Activity:
    """Run ``image`` on each of (N, C, H, W) ``pixels`` with toggle counting, or recall what the same runs gave before.

    Counts are of the Verilog's nets without delays, so without glitches.

    Raises
    ------
    UserError
        when a run hangs or ends with an error.
    """
    sources = [source.read_bytes() for source in build.sources]
    data = (image.words.tobytes(), pixels.tobytes())
    key = digest(find_verilator().version, ACTIVITY_VERSION, _OWNER.key, build.prefix, *sources, *data)

    def simulated() -> Activity:
        simulator = engine_simulator(build, trace="saif")
        return _together([_of_a_run(simulator, image, own) for own in pixels])

    return kept_activity(key, simulated, images=len(pixels))


def engine_activity_of(path: Path) -> Activity:
    """The activity in a SAIF file that some simulator wrote of an engine whose top it calls ``dut``.

    Raises
    ------
    UserError
        when the file cannot be read, is not SAIF, is of another design, or its clock never ticked.
    """
    found = read_activity(path, DUT, _OWNER)
    if missing := [block for block in dict.fromkeys(BLOCK_OF_INSTANCE.values()) if block not in found.parts]:
        raise UserError(
            f"{path} is of another design: it has no {', '.join(missing[:3])}; without it, --power simulates by itself"
        )
    return found


def _of_a_run(simulator: Simulator, image: Compiled, pixels: NDArray[np.integer]) -> Activity:
    with scratch_folder("saif") as folder:
        path = folder / "dump.saif"
        run = run_engine(simulator, image, pixels, saif=path)
        if run.code:
            raise UserError(f"the engine ended with error {run.code}", exit_code=3)
        return read_activity(path, DUT, _OWNER)


def _together(runs: Sequence[Activity]) -> Activity:
    """The activity of several runs of the same RTL, one behind the other: nets are those of the run with most."""
    parts: dict[str, dict[str, Toggles]] = {}
    for run in runs:
        for part, blocks in run.parts.items():
            known = parts.setdefault(part, {})
            for block, own in blocks.items():
                before = known.get(block, Toggles(toggles=0, nets=0))
                known[block] = Toggles(toggles=before.toggles + own.toggles, nets=max(before.nets, own.nets))
    return Activity(parts=parts, cycles=sum(run.cycles for run in runs), images=len(runs))
