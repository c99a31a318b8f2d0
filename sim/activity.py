"""Switching activity: how often the nets of each block of a design toggle while it works on real images."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from ..common.cache import cached, digest, reading
from ..common.errors import UserError
from ..common.reading import open_regular
from ..common.temporary import scratch_folder
from ..hdl.blocks import BlockOf
from ..hdl.folder.build import Build
from .cosim import RUN, run_job_in, simulator_of
from .verilator import find_verilator

__all__ = [
    "ACTIVITY_VERSION", "Activity", "NetOwner", "Toggles", "activity_of", "kept_activity", "measure_activity",
    "read_activity", "read_saif",
]  # fmt: skip

ACTIVITY_VERSION = "4"
"""The version of what is kept in the cache."""
_CLOCK = "clk"
_INSTANCE = re.compile(r"\(INSTANCE\s+(?:\"[^\"]*\"\s+)?([^\s()]+)")
_NET = re.compile(r"\((\S+) \(T0 .*\(TC (\d{1,18})\)")
_DURATION = re.compile(r"\(DURATION\s+(\d{1,18})\b")
_LARGEST = 1 << 34
"""Bytes of a file; it is read line by line."""
_LONGEST = 1 << 14
"""Characters of a line: of one net."""


@dataclass(frozen=True, kw_only=True)
class Toggles:
    """How often some nets changed, together, and how many of them changed at all.

    Nets that never change do not count: synthesis finds most of them to be constants, and they would thin out the rest.
    """

    toggles: int
    nets: int

    def rate(self, cycles: int) -> float:
        """Toggles of a net in a cycle, on average."""
        return self.toggles / self.nets / cycles if self.nets else 0.0


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Toggles seen in a simulation.

    Attributes
    ----------
    parts : toggles by instance within `Design.inner` and block, of `hdl.blocks.BLOCKS`; an instance that is no part of
        the design has one block, "", and so have the nets that stand beside the instances, under ""
    cycles : clock cycles simulated
    images : images computed in them; None where nobody said
    """

    parts: Mapping[str, Mapping[str, Toggles]]
    cycles: int
    images: int | None


class NetOwner(Protocol):
    """Who tells which part and block of a design a net belongs to. Nets are named by the instances on the way to them,
    from below the one that is read, and their own name."""

    def part(self, way: Sequence[str]) -> str:
        """The part that nets beside the instances of the last one on the ``way`` belong to."""

    def block(self, way: Sequence[str], name: str) -> str | None:
        """The block of the net called ``name``; None for a net that shall not count."""


@dataclass(frozen=True)
class _Children:
    """A `NetOwner`: each child of the instance that is read is a part, and a `BlockOf` sorts the nets of some."""

    block_of: BlockOf

    def part(self, way: Sequence[str]) -> str:
        return way[0] if way else ""

    def block(self, way: Sequence[str], name: str) -> str | None:
        return self.block_of.net(".".join((*way[1:], name))) if self.block_of.counts(self.part(way)) else ""


def measure_activity(build: Build, pixels: NDArray[np.integer]) -> Activity:
    """Simulate ``pixels`` with toggle counting, or recall what the same simulation gave before.

    Counts are of the Verilog's nets without delays, so without glitches.
    """
    sources = [source.read_bytes() for source in build.sources]
    memories = [(build.path / entry["file"]).read_bytes() for entry in build.manifest["memories"]]
    key = digest(
        find_verilator().version, ACTIVITY_VERSION, build.design.block_of.key, *sources, *memories, pixels.tobytes()
    )

    def simulated() -> Activity:
        simulator = simulator_of(build, trace="saif")
        with scratch_folder("saif") as session:
            run_job_in(session, build, simulator, pixels)
            return activity_of(build, session / RUN / "dump.saif")

    return kept_activity(key, simulated, images=len(pixels))


def kept_activity(key: str, make: Callable[[], Activity], *, images: int) -> Activity:
    """What ``make`` finds in a simulation of ``images``, or what it found before under the same ``key``."""

    def write(folder: Path) -> None:
        found = make()
        parts = {part: {block: vars(own) for block, own in blocks.items()} for part, blocks in found.parts.items()}
        (folder / "activity.json").write_text(json.dumps({"parts": parts, "cycles": found.cycles}))

    folder, _ = cached("activity", key, write)
    with reading(folder, "activity"):
        kept = json.loads((folder / "activity.json").read_text())
        parts = {
            part: {block: Toggles(toggles=int(own["toggles"]), nets=int(own["nets"])) for block, own in blocks.items()}
            for part, blocks in kept["parts"].items()
        }
        return Activity(parts=parts, cycles=int(kept["cycles"]), images=images)


def activity_of(build: Build, path: Path, *, images: int | None = None) -> Activity:
    """The activity in a SAIF file that some simulator wrote of ``build``.

    Raises
    ------
    UserError
        when the file cannot be read, is not SAIF, is of another design, or its clock never ticked.
    """
    block_of = build.design.block_of
    found = read_saif(path, build.design.inner, block_of)
    names = [part.instance for part in build.design.parts]
    if missing := [name for name in names if name not in found.parts]:
        has = sorted(part for part in found.parts if block_of.counts(part))
        raise UserError(
            f"{path} is of another design: it has no {', '.join(missing[:3])}, but "
            f"{', '.join(has[:3]) or 'no stages'}; without it, --power simulates by itself"
        )
    return Activity(parts=found.parts, cycles=found.cycles, images=images)


def read_saif(path: str | Path, instance: str, block_of: BlockOf) -> Activity:
    """Toggle counts under the first instance called ``instance``, child by child.

    Clock nets are left out: what they cost is a matter of flip-flops, not of nets.

    Parameters
    ----------
    block_of : sorts the nets of the children that are parts into blocks

    Raises
    ------
    UserError
        when the file is not SAIF, has no such instance, or its clock never ticked.
    """
    return read_activity(path, instance, _Children(block_of))


def read_activity(path: str | Path, instance: str, owner: NetOwner) -> Activity:
    """Toggle counts under the first instance called ``instance``, sorted by ``owner``; see `read_saif`."""
    path = Path(path)
    try:
        with open_regular(path, limit=_LARGEST) as stream:
            counts, cycles, ticks = _counts(_lines(stream, path), instance, owner)
    except OSError as error:
        raise UserError(
            f"cannot read activity file {path}: {error.strerror}; without it, --power simulates by itself"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a SAIF file") from error
    if not counts:
        what = "no duration, so it is no whole SAIF file" if cycles is None else f"no activity of {instance!r}"
        raise UserError(f"{path} holds {what}")
    if not ticks:
        raise UserError(f"in {path} the clock of {instance!r} never ticks; the activity says nothing")
    parts: dict[str, dict[str, Toggles]] = {}
    for (part, block), (toggles, nets) in counts.items():
        blocks = parts.setdefault(part, {})
        if nets:
            blocks[block] = Toggles(toggles=toggles, nets=nets)
    return Activity(parts=parts, cycles=ticks // 2, images=None)


def _lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    while line := stream.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise UserError(f"{path} is not a SAIF file of one net per line: one has more than {_LONGEST} characters")
        yield line.decode("ascii")


def _counts(
    stream: Iterable[str], instance: str, owner: NetOwner
) -> tuple[dict[tuple[str, str], list[int]], int | None, int]:
    """Toggles and nets by part and block; the duration, if there is one; toggles of the clock."""
    counts: dict[tuple[str, str], list[int]] = {}
    duration: int | None = None
    ticks = depth = 0
    stack: list[str] = []
    depth_of: list[int] = []
    at = 0  # where in the stack the children of the instance begin; 0 while it is not there
    for line in stream:
        if net := _NET.search(line) if at else None:
            name = net[1].partition("\\[")[0].removeprefix("\\")
            if name == _CLOCK:
                ticks = max(ticks, int(net[2]))
            elif int(net[2]):
                block = owner.block(stack[at:], name)
                if block is not None:
                    entry = counts.setdefault((owner.part(stack[at:]), block), [0, 0])
                    entry[0] += int(net[2])
                    entry[1] += 1
            elif len(stack) > at:
                counts.setdefault((owner.part(stack[at:]), ""), [0, 0])  # it is there, though it rests
        elif opened := _INSTANCE.search(line):
            stack.append(opened[1].removeprefix("\\"))
            depth_of.append(depth)
            if not at and opened[1] == instance:
                at = len(stack)
        elif duration is None and (lasts := _DURATION.search(line)):
            duration = int(lasts[1])
        depth += line.count("(") - line.count(")")
        while depth_of and depth <= depth_of[-1]:
            depth_of.pop()
            stack.pop()
        if len(stack) < at:
            break
    return counts, duration, ticks
