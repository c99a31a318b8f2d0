"""What stands in the place of a run, whole or left over, and who still runs there."""

import contextlib
import json
import re
from pathlib import Path

from addax.common.cache import SUMS
from addax.common.files import MARKER

__all__ = ["as_told", "entries_of", "files_of", "leftovers", "survivors"]

TIMES = {"images_per_second", "sim_cycles_per_second", "seconds", "date", "cached_build"}
"""What a run says or writes that another run need not: how long it took, and whether the cache helped."""
DRAWN = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC|\b[mp][0-9a-f]{10}\b|\$date[^$]*\$end")
"""Dates in pages and waveforms, and what matplotlib calls the parts of a drawing: other words every time."""
STAYS = {".in-use", SUMS}
"""Names of the cache that begin with a dot and are no leftovers."""


def as_told(value):
    """A JSON value without times and dates."""
    if isinstance(value, dict):
        return {key: as_told(inner) for key, inner in value.items() if key not in TIMES}
    return [as_told(inner) for inner in value] if isinstance(value, list) else value


def files_of(work):
    """What stands in ``work`` by name, temporary names apart, without times and dates."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = _told(path)
    return found


def _told(path):
    """What a file says, but for times, dates, and the sums of files that hold them."""
    if path.name == MARKER:
        return sorted(json.loads(path.read_text())["files"])
    if path.suffix == ".json":
        return as_told(json.loads(path.read_text()))
    if path.suffix == ".csv":
        return [line.rpartition(",")[0] for line in path.read_text().splitlines()]  # the last column is seconds
    return DRAWN.sub(b"", path.read_bytes())


def leftovers(place):
    """Temporary names in the folders of a run."""
    kept = [path for part in ("work", "cache") for path in (place / part).rglob("*")]
    odd = {path for path in kept if path.name.startswith(".") or path.suffix == ".lock"}
    outermost = [path for path in odd if not odd.intersection(path.parents)]
    return [path.name for path in (*outermost, *(place / "scratch").iterdir()) if path.name not in STAYS]


def survivors(place):
    """Commands of processes that a run in ``place`` started, by what only they have in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"ADDAX_CACHE={place}/cache".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
    return found


def entries_of(place):
    """Whole entries of the cache, and which file lists each: another one when the entry was made anew."""
    lists = (place / "cache").glob(f"*/*/{SUMS}")
    return {path.parent: path.stat().st_ino for path in lists if not path.parent.name.startswith(".")}
