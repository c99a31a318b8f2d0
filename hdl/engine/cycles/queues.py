"""Queues of the cycle model: when each word has come and has left."""

from dataclasses import dataclass

__all__ = ["TimedQueue", "TimedRecords"]

BLOCK_RAM_CYCLES = 2
"""From a word into a queue of block RAM until it can leave."""


class TimedQueue:
    """The words of a stream, by their number.

    Attributes
    ----------
    claimed : words for which room has been taken
    came : cycle in which each word is handed to the queue
    left : cycle in which each makes room
    """

    def __init__(self, room: int):
        self.room = room
        self.claimed = 0
        self.came: list[int] = []
        self.left: list[int] = []

    def room_for(self, words: int) -> int | None:
        """The first cycle in which there is room for so many more; None while that is not known."""
        needed = self.claimed + words - self.room
        if needed <= 0:
            return 0
        return self.left[needed - 1] + 1 if needed <= len(self.left) else None

    def arrived(self, words: int) -> int | None:
        """The first cycle that knows of so many words; None while they have not come."""
        if words == 0:
            return 0
        return self.came[words - 1] + 1 if words <= len(self.came) else None

    def take(self, begin: int, count: int) -> int | None:
        """Take so many words, one in every cycle from ``begin`` on; returns the cycle behind the last one, or None
        while they have not come."""
        first = len(self.left)
        if first + count > len(self.came):
            return None
        came = self.came[first : first + count]
        self.left += [max(begin + k, cycle + BLOCK_RAM_CYCLES) for k, cycle in enumerate(came)]
        return self.left[-1] + 1


@dataclass
class TimedRecords:
    """Records that are gathered from words; the words of the next one come from the cycle on in which one is taken."""

    queue: TimedQueue
    words: int
    free: int = 0
    taken: int = 0

    def valid(self) -> int | None:
        """The first cycle in which the next record can be taken; None while that is not known."""
        if len(self.queue.left) < (self.taken + 1) * self.words:
            return self.queue.take(self.free, self.words)
        return self.queue.left[-1] + 1

    def take(self, cycle: int) -> None:
        """The record is taken."""
        self.taken += 1
        self.free = cycle
