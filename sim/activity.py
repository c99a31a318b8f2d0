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
from ..hdl.dataflow import PIPELINE
from ..hdl.emit import Build
from .cosim import RUN, run_job_in, simulator_of
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
            toggles = read_saif(Path(name, RUN, "dump.saif"), f"dut/{PIPELINE}")
        result = {"toggles": toggles, "cycles": outcome["cycles"], "images": len(pixels)}
        (folder / "activity.json").write_text(json.dumps(result))

    folder, _ = cached("activity", key, make)
    return Activity(**json.loads((folder / "activity.json").read_text()))


def read_saif(path: Path, instance: str) -> dict[str, int]:
    """Toggle counts under ``instance``, a path of names joined by ``/``.

    Each of its children has the toggles of everything below it, "" those of its own nets. Clock nets are left out: what
    they cost is a matter of flip-flops, not of nets.

    Raises
    ------
    UserError
        when the file is not SAIF or has no such instance.
    """
    totals: dict[str, int] = {}
    wanted = instance.split("/")
    stack: list[str] = []
    depth_of: list[int] = []
    depth = 0
    opening = re.compile(r"\(INSTANCE\s+(?:\"[^\"]*\"\s+)?([^\s()]+)")
    net = re.compile(r"\((\S+) \(T0 .*\(TC (\d+)\)")
    try:
        stream = path.open()
    except OSError as error:
        raise UserError(f"cannot read activity file {path}: {error.strerror}") from error
    with stream:
        for line in stream:
            if match := opening.search(line):
                stack.append(match[1])
                depth_of.append(depth)
            elif (at := _find(stack, wanted)) and (toggles := net.search(line)) and toggles[1] != "clk":
                part = stack[at] if len(stack) > at else ""
                totals[part] = totals.get(part, 0) + int(toggles[2])
            depth += line.count("(") - line.count(")")
            while depth_of and depth <= depth_of[-1]:
                depth_of.pop()
                stack.pop()
    if not totals:
        raise UserError(f"{path} holds no activity of {instance!r}")
    return totals


def _find(stack: list[str], wanted: list[str]) -> int:
    """Where in ``stack`` the path ``wanted`` ends; 0 when it is not there."""
    for begin in range(len(stack) - len(wanted) + 1):
        if stack[begin : begin + len(wanted)] == wanted:
            return begin + len(wanted)
    return 0
