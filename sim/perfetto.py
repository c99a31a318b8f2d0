"""A timeline as a Chrome trace, which ui.perfetto.dev and chrome://tracing show: stages as tracks, images as slices."""

from typing import Any

from .stopwatch import Timeline, Work

__all__ = ["TRACED", "chrome_trace"]

TRACED = 16
"""Images of a trace: enough to see the pipeline fill and settle."""
_PROCESS = 1
_DIGITS = 6
"""Digits of a microsecond after the point: picoseconds, finer than any clock."""


def chrome_trace(timeline: Timeline) -> dict[str, Any]:
    """The JSON value, in the Trace Event Format: times in microseconds at the clock of the Plan, cycles as arguments.

    Every track has one slice per image, and within it the longer waits.
    """
    title = f"{timeline.network} on {timeline.device}, {timeline.clock_mhz:g} MHz"
    events = [_named("process_name", 0, title)]
    for number, (name, works) in enumerate(timeline.tracks.items(), 1):
        events += [_named("thread_name", number, name), _meta("thread_sort_index", number, sort_index=number)]
        for work in works:
            events += _slices(work, number, timeline.clock_mhz)
    return {
        "displayTimeUnit": "ns",
        "otherData": {"clock_mhz": timeline.clock_mhz, "unit of cycles": "after the first input beat"},
        "traceEvents": events,
    }


def _slices(work: Work, track: int, clock_mhz: float) -> list[dict[str, Any]]:
    def piece(kind: str, name: str, begin: int, cycles: int, **arguments: int) -> dict[str, Any]:
        return {
            "ph": "X", "pid": _PROCESS, "tid": track, "cat": kind, "name": name,
            "ts": round(begin / clock_mhz, _DIGITS), "dur": round(cycles / clock_mhz, _DIGITS),
            "args": {"first_cycle": begin, "cycles": cycles, **arguments},
        }  # fmt: skip

    image = piece(
        "image", f"image {work.image}", work.begin, work.end - work.begin, image=work.image, busy=work.busy,
        waiting=work.waiting,
    )  # fmt: skip
    return [image, *(piece("wait", wait.reason, wait.begin, wait.cycles, image=work.image) for wait in work.waits)]


def _named(what: str, track: int, name: str) -> dict[str, Any]:
    return _meta(what, track, name=name)


def _meta(what: str, track: int, **arguments: Any) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": track, "name": what, "args": arguments}
