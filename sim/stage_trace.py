"""What every stage of the RTL puts out, beside the tensors of the golden model: where do they begin to differ?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.templates import render
from ..hdl.family import Design, Outlet
from ..quant import golden
from ..quant.files.archive import load_program

__all__ = ["Difference", "StageTrace", "TracePoint", "compare_stages", "join_traces", "recorder_text", "trace_points"]

_CHUNK_BITS = 1 << 23
"""Bits of a stage's output that are looked at together."""
_WORD = 32


@dataclass(frozen=True, kw_only=True)
class TracePoint(Outlet):
    """A stream that is recorded, and the file that the recorder writes."""

    @property
    def beat_bits(self) -> int:
        """Bits of a beat."""
        return self.bits * self.count

    @property
    def words(self) -> int:
        """Words of a beat in the file."""
        return -(-self.beat_bits // _WORD)

    @property
    def file(self) -> str:
        """Name of the file that the recorder writes."""
        return f"trace_{self.stage}.bin"

    @property
    def elements(self) -> int:
        """Per image."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that differs. ``expected`` is None for one too many, ``found`` for one that never came."""

    image: int
    y: int
    x: int
    channel: int
    expected: int | None
    found: int | None

    def __str__(self) -> str:
        place = f"image {self.image}, pixel ({self.y}, {self.x}), channel {self.channel}"
        expected, found = ("nothing" if value is None else value for value in (self.expected, self.found))
        return f"{place}: expected {expected}, found {found}"


@dataclass(frozen=True, kw_only=True)
class StageTrace:
    """How the output of a stage compares.

    Attributes
    ----------
    values : that were expected
    mismatches : that differ, are missing, or are too many
    first : by image, y, x, channel
    """

    name: str
    values: int
    mismatches: int
    first: Difference | None


def trace_points(design: Design) -> tuple[TracePoint, ...]:
    """The streams of ``design`` that a tensor of the golden model passes, in the order of the Program."""
    return tuple(TracePoint(**vars(outlet)) for outlet in design.outlets)


def recorder_text(prefix: str, points: Sequence[TracePoint]) -> str:
    """Verilog of the recorder of the accelerator ``prefix``."""
    return render(Path(__file__).with_name("recorder.v.j2"), prefix=prefix, points=points)


def compare_stages(
    folder: Path, program: Path, pixels: NDArray[np.integer], points: Sequence[TracePoint]
) -> tuple[StageTrace, ...]:
    """Compare what the recorder wrote in ``folder`` with the golden model's tensors for ``pixels``.

    Parameters
    ----------
    program : file of the Program that is right
    """
    held = load_program(program)
    rows = [np.fromfile(folder / p.file, np.dtype("<u4")).reshape(-1, p.words) for p in points]
    chunk = max(1, _CHUNK_BITS // max(p.elements * p.bits for p in points))
    found = [StageTrace(name=p.stage, values=0, mismatches=0, first=None) for p in points]
    for begin in range(0, len(pixels), chunk):
        some = pixels[begin : begin + chunk]
        tensors = golden.run(held, some, trace={p.tensor for p in points}, threads=1).tensors
        found = [
            _joined(before, _compare(p, row, begin, tensors[p.tensor]))
            for before, p, row in zip(found, points, rows, strict=True)
        ]
    return tuple(
        _joined(before, _surplus(p, row, len(pixels))) for before, p, row in zip(found, points, rows, strict=True)
    )


def join_traces(parts: Sequence[tuple[int, Sequence[dict[str, Any]]]]) -> tuple[StageTrace, ...]:
    """One trace of those of all parts, as plain values, each with the number of its first image."""
    joined: list[StageTrace] = []
    for offset, stages in parts:
        own = []
        for entry in stages:
            first = entry["first"] and Difference(**{**entry["first"], "image": entry["first"]["image"] + offset})
            own.append(StageTrace(**{**entry, "first": first}))
        joined = [_joined(a, b) for a, b in zip(joined, own, strict=True)] if joined else own
    return tuple(joined)


def _joined(one: StageTrace, other: StageTrace) -> StageTrace:
    return replace(
        one, values=one.values + other.values, mismatches=one.mismatches + other.mismatches,
        first=one.first or other.first,
    )  # fmt: skip


def _compare(point: TracePoint, rows: NDArray[np.uint32], begin: int, tensor: NDArray[np.int64]) -> StageTrace:
    """Images from number ``begin`` on, whose results should be ``tensor``, (N, C, H, W)."""
    wanted = tensor.transpose(0, 2, 3, 1).reshape(-1)
    start = begin * point.elements
    came = _decode(point, rows, start, start + len(wanted))
    wrong = np.flatnonzero(came != wanted[: len(came)])
    missing = len(wanted) - len(came)
    first = None
    if len(wrong):
        at = int(wrong[0])
        first = _difference(point, start + at, expected=int(wanted[at]), found=int(came[at]))
    elif missing:
        first = _difference(point, start + len(came), expected=int(wanted[len(came)]), found=None)
    return StageTrace(name=point.stage, values=len(wanted), mismatches=len(wrong) + missing, first=first)


def _surplus(point: TracePoint, rows: NDArray[np.uint32], images: int) -> StageTrace:
    """What came after the last image."""
    end = images * point.elements
    extra = max(0, len(rows) * point.count - end)
    # The last beat may hold less than it has room for.
    if extra < point.count:
        return StageTrace(name=point.stage, values=0, mismatches=0, first=None)
    first = _difference(point, end, expected=None, found=int(_decode(point, rows, end, end + 1)[0]))
    return StageTrace(name=point.stage, values=0, mismatches=extra, first=first)


def _difference(point: TracePoint, at: int, *, expected: int | None, found: int | None) -> Difference:
    channels, height, width = point.shape
    image, y, x, channel = (int(k) for k in np.unravel_index(at, (at // point.elements + 1, height, width, channels)))
    return Difference(image=image, y=y, x=x, channel=channel, expected=expected, found=found)


def _decode(point: TracePoint, rows: NDArray[np.uint32], begin: int, end: int) -> NDArray[np.int64]:
    """Elements ``begin`` to ``end`` of the stream, as far as they are there."""
    first = begin // point.count
    beats = np.ascontiguousarray(rows[first : -(-end // point.count)])
    bits = np.unpackbits(beats.view(np.uint8), bitorder="little").reshape(len(beats), point.words * _WORD)
    words = bits[:, : point.beat_bits].reshape(-1, point.bits).astype(np.int64) << np.arange(point.bits)
    values: NDArray[np.int64] = words.sum(1)
    if point.signed:
        values -= (values >> (point.bits - 1)) << point.bits
    return values[begin - first * point.count :][: end - begin]
