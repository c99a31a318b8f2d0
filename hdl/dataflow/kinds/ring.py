"""The rhythm of stages with a ring of rows, windows and moves: groups begin when their rows are complete."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...maps.move import MoveShape
from ...maps.window_shape import WindowShape
from .rhythm import NEVER, Cycles, Rhythm, spaced, spaced_before

if TYPE_CHECKING:
    from .build import StageBuild

__all__ = ["RingRhythm"]


class RingRhythm(Rhythm):
    """Beats of port 0 are written into the ring ``shape``, beats of all others wait as residuals in a queue."""

    leaves_waiting = True

    def __init__(self, build: "StageBuild", shape: WindowShape | MoveShape):
        super().__init__(build)
        self.shape = shape

    def taken(self, arrivals: Cycles) -> Cycles:
        """When they are written."""
        return self._written(arrivals)[0]

    def begins(self, came: Sequence[Cycles]) -> Cycles:
        """When rows and residuals are there."""
        w, build = self.shape, self.build
        _, complete = self._written(came[0])
        ready = np.repeat(complete[:, w.needed_rows - 1].reshape(-1), w.row_reads)
        for port, residual in enumerate(came[1:], 1):
            groups = np.arange(1, len(ready) + 1)
            ready = np.maximum(ready, residual[-(-groups * build.group_beats // build.waiting_split(port)) - 1] + 1)
        return spaced(ready, w.steps)

    def due(self, port: int, begins: Cycles, count: int) -> Cycles:
        """Until when beats must be written into the ring, or enter the queue of a residual."""
        if port:
            entries = np.full(count, NEVER, np.int64)
            groups = np.arange(1, len(begins) + 1)
            last = -(-groups * self.build.group_beats // self.build.waiting_split(port)) - 1
            np.minimum.at(entries, last, begins - 1)
            return entries
        return self._latest_writes(begins)[:, *self._inside].reshape(-1)

    def left(self, port: int, came: Cycles, begins: Cycles) -> Cycles:
        """Into `Narrow`, which takes the next with the last part of the one before."""
        at = self.shape.latency + self.shape.steps - 1 + self.build.array_latency + 1
        parts = (begins[:, None] + at + np.arange(self.build.group_beats)).reshape(-1)
        split = self.build.waiting_split(port)
        if split == 1:
            return parts
        lasts = parts.reshape(-1, split)[:, -1]
        return np.concatenate([[np.int64(-NEVER)], lasts[:-1]])

    def rows_held(self, begins: Cycles, came: Cycles) -> int:
        """Rows that some group still needs, and those that are being written."""
        w = self.shape
        written = self._latest_writes(begins, came)
        starts = written[:, : w.used_height, 0, 0].reshape(-1)
        lasts = begins.reshape(-1, w.row_reads)[:, -1] + w.steps - 1
        freed = np.repeat(lasts, np.tile(w.freed_rows, len(written)))
        # row n needs freed[n - rows] < starts[n]
        gone = np.searchsorted(freed, starts, side="left")
        return int((np.arange(len(starts)) + 1 - gone).max())

    @property
    def _inside(self) -> tuple[slice, slice]:
        """Rows and columns of the padded map that the map is."""
        (top, left), w = self.shape.corner, self.shape
        return slice(top, top + w.height), slice(left, left + w.width)

    def _written(self, arrivals: Cycles) -> tuple[Cycles, Cycles]:
        """When beats are written into the ring, given when they come, and when each row of each image is complete."""
        w = self.shape
        inside = arrivals.reshape(-1, w.height, w.width, w.chunks)
        ready = np.full((len(inside), w.padded_height, w.padded_width, w.chunks), -(1 << 40), np.int64)
        ready[:, *self._inside] = inside
        written = spaced(ready.reshape(-1), 1).reshape(ready.shape)
        return written[:, *self._inside].reshape(-1), written[:, :, -1, -1] + 1

    def _latest_writes(self, begins: Cycles, came: Cycles | None = None) -> Cycles:
        """When beats, padding among them, are written into the ring at the latest for groups to begin in time; those
        that have been written before, when they ``came``."""
        w = self.shape
        firsts = begins.reshape(-1, len(w.needed_rows), w.row_reads)[:, :, 0]
        due = np.full((len(firsts), w.padded_height, w.padded_width, w.chunks), NEVER, np.int64)
        if came is not None:
            due[:, *self._inside] = came.reshape(-1, w.height, w.width, w.chunks)
        for number, row in enumerate(w.needed_rows):
            due[:, row - 1, -1, -1] = np.minimum(due[:, row - 1, -1, -1], firsts[:, number] - 1)
        return spaced_before(due.reshape(-1), 1).reshape(due.shape)
