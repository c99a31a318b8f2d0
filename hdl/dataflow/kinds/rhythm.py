"""When a stage takes beats, begins groups and needs what it reads: what every kind of stage says to the cycle model.

Times are cycles after the first input beat of the design, of some images that follow each other without a pause.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .build import StageBuild

__all__ = ["NEVER", "Cycles", "Rhythm", "spaced", "spaced_before"]

Cycles = NDArray[np.int64]
NEVER = 1 << 60


class Rhythm(ABC):
    """The rhythm of one stage with its fold.

    Attributes
    ----------
    leaves_waiting : whether a beat for one of its queues may stay in front of it until it is due
    """

    leaves_waiting: ClassVar[bool] = False

    def __init__(self, build: "StageBuild"):
        self.build = build

    @abstractmethod
    def taken(self, arrivals: Cycles) -> Cycles:
        """When beats of a stream without a queue are taken, given when they are offered."""

    @abstractmethod
    def begins(self, came: Sequence[Cycles]) -> Cycles:
        """When groups begin, given for all that it reads when beats have been taken, or enter their queue."""

    @abstractmethod
    def due(self, port: int, begins: Cycles, count: int) -> Cycles:
        """The latest cycles for ``count`` beats of a stream to be taken, or enter their queue: groups begin in time."""

    def left(self, port: int, came: Cycles, begins: Cycles) -> Cycles:
        """When beats of a stream leave the queue in which it waits."""
        raise ValueError(f"stream {port} of {self.build.stage.name} waits in no queue")

    def awaited(self, came: Sequence[Cycles]) -> int:
        """Which of the streams that it reads it waits for."""
        return 0

    def rows_held(self, begins: Cycles, came: Cycles) -> int:
        """The most rows that are in its ring at once, those that are being written among them; 0 without a ring."""
        return 0


def spaced(ready: Cycles, gap: int) -> Cycles:
    """Earliest times that are no earlier than ``ready``, in order, and at least ``gap`` apart."""
    ramp = gap * np.arange(len(ready), dtype=np.int64)
    return np.asarray(np.maximum.accumulate(ready - ramp) + ramp)


def spaced_before(due: Cycles, gap: int) -> Cycles:
    """Latest times that are no later than ``due``, in order, and at least ``gap`` apart."""
    return -spaced(-due[::-1], gap)[::-1]
