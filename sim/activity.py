"""Switching activity: how often the nets of each part of a design toggle while it works on real images."""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..hdl.emit import Build
from .cosim import run_job_in, simulator_of
from .verilator import find_verilator

__all__ = ["Activity", "measure_activity", "read_saif"]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Toggles seen in a simulation.

    Attributes
    ----------
    toggles : per part of the accelerator (stage or converter, "" for the top itself), a net that crosses a module's
        border counted on both sides
    cycles : clock cycles simulated
    images : images computed in them
    """

    toggles: dict[str, int]
    cycles: int
    images: int


def measure_activity(build: Build, pixels: NDArray[np.uint8]) -> Activity:
    """Simulate ``pixels`` with toggle counting, or recall what the same simulation gave before.

    Counts are of the Verilog's nets without delays, so without glitches.
    """
    sources = [source.read_bytes() for source in build.sources]
    memories = [(build.path / entry["file"]).read_bytes() for entry in build.manifest["memories"]]
    key = digest(find_verilator().version, *sources, *memories, pixels.tobytes())

    def make(folder: Path) -> None:
        simulator = simulator_of(build, trace="saif")
        with tempfile.TemporaryDirectory(prefix="addax-saif-") as name:
            outcome = run_job_in(Path(name), build, simulator, pixels)
            toggles = read_saif(Path(name, "dump.saif"), "dut")
        result = {"toggles": toggles, "cycles": outcome["cycles"], "images": len(pixels)}
        (folder / "activity.json").write_text(json.dumps(result))

    folder, _ = cached("activity", key, make)
    return Activity(**json.loads((folder / "activity.json").read_text()))


def read_saif(path: Path, instance: str) -> dict[str, int]:
    """Toggle counts under ``instance``: for each of its children everything below, and under "" its own nets.

    Raises
    ------
    UserError
        when the file is not SAIF or has no such instance.
    """
    totals: dict[str, int] = {}
    stack: list[str] = []
    depth_of: list[int] = []
    depth = 0
    opening = re.compile(r"\(INSTANCE\s+(?:\"[^\"]*\"\s+)?([^\s()]+)")
    count = re.compile(r"\(TC (\d+)\)")
    try:
        stream = path.open()
    except OSError as error:
        raise UserError(f"cannot read activity file {path}: {error.strerror}") from error
    with stream:
        for line in stream:
            if match := opening.search(line):
                stack.append(match[1])
                depth_of.append(depth)
            elif instance in stack and (toggles := count.search(line)):
                inner = stack[stack.index(instance) + 1 :]
                part = inner[0] if inner else ""
                totals[part] = totals.get(part, 0) + int(toggles[1])
            depth += line.count("(") - line.count(")")
            while depth_of and depth <= depth_of[-1]:
                depth_of.pop()
                stack.pop()
    if not totals:
        raise UserError(f"{path} holds no activity of {instance!r}")
    return totals
