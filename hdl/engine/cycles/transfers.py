"""Reader and writer of the cycle model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plan import EnginePlan
from ..records import SKIP, Stream
from .queues import TimedQueue, TimedRecords

__all__ = ["Memory", "bursts_of", "is_skipped", "reading", "writing"]

_FIRST_MADE = 3
"""The cycle in which the first burst of all stands ready, counted from that of ``start``."""
_MADE = 2
"""Cycles from a command to its first burst."""
_LOOKED = 3
"""Cycles that a skip takes, but for those of the bands behind the first."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory that answers in order: the first beat of a read ``latency`` cycles after its address, then one in every
    cycle, at most ``slots`` bursts at once; a write ``latency`` cycles after its last beat."""

    latency: int = 20
    slots: int = 64


def bursts_of(command: dict[str, int], plan: EnginePlan) -> list[int]:
    """Words of the bursts of a command: none crosses a multiple of the longest one."""
    left, address, found = command["words"], command["address"], []
    if command.get("stride", 1) != 1:
        return [1] * left
    while left:
        words = min(left, plan.burst - address % plan.burst)
        found.append(words)
        left, address = left - words, address + words
    return found


def reading(
    plan: EnginePlan, memory: Memory, first: int, commands: Sequence[dict[str, int]], records: TimedRecords,
    queues: dict[Stream, TimedQueue], answered: list[int], beats: list[tuple[int, int]],
    asked: NDArray[np.bool_] | None = None,
) -> Iterator[bool]:  # fmt: skip
    """Carry out read commands: fills ``came`` of ``queues``, and ``beats`` with the first and last one of each burst;
    ``asked`` is of `Compiled.asked`, None: nothing is skipped. Yields True behind every burst, False to wait."""
    lasts: list[int] = []
    made, ready = _FIRST_MADE, 0
    skipped = 0
    boot = {"stream": int(Stream.COMMANDS), "words": first, "address": 0, "wait": 0}
    for number, command in enumerate((boot, *commands)):
        if number:
            while (valid := records.valid()) is None:
                yield False
            if skipped and command["stream"] != Stream.COMMANDS:
                records.take(valid)
                skipped -= 1
                continue
            if command["stream"] == Stream.SKIP:
                while len(answered) < command["wait"]:
                    yield False
                skip = SKIP.unpack(command["address"])
                begins = max(valid, answered[command["wait"] - 1] + 1)
                records.take(begins + skip["bands"] + _LOOKED)
                skipped = command["words"] if is_skipped(skip, asked) else 0
                continue
            # It is taken when the last burst of the command before stands ready.
            records.take(taken := max(valid, made))
            made = taken + _MADE
        while len(answered) < command["wait"]:
            yield False
        waited = answered[command["wait"] - 1] + 1 if command["wait"] else 0
        queue = queues[Stream(command["stream"])]
        for words in bursts_of(command, plan):
            while (room := queue.room_for(words)) is None:
                yield False
            ahead = lasts[-plan.outstanding] + 1 if len(lasts) >= plan.outstanding else 0
            made = max(made, ready)
            # What has left a queue is known a cycle later; what decides is a register.
            requested = max(made, waited, room + 1, ahead) + 1
            slot = lasts[-memory.slots] + 1 if len(lasts) >= memory.slots else 0
            addressed = max(requested, slot)
            begin = max(addressed + memory.latency, lasts[-1] + 1 if lasts else 0)
            lasts.append(begin + words * plan.beats - 1)
            beats.append((begin, lasts[-1]))
            queue.claimed += words
            queue.came += range(begin + plan.beats, begin + words * plan.beats + 1, plan.beats)
            ready = addressed + 1
            yield True


def is_skipped(skip: dict[str, int], asked: NDArray[np.bool_] | None) -> bool:
    """Whether what a `records.SKIP` speaks of is skipped."""
    first = skip["first"]
    there = asked is None or bool(asked[first : first + skip["bands"] + 1, skip["number"]].any())
    return there == bool(skip["where"])


def writing(
    plan: EnginePlan, memory: Memory, commands: Sequence[dict[str, int]], records: TimedRecords, results: TimedQueue,
    answered: list[int], beats: list[tuple[int, int]],
) -> Iterator[bool]:  # fmt: skip
    """Carry out write commands: ``answered`` gets the cycle in which the last burst of each is answered, ``beats`` the
    first and last one of each burst."""
    made, ready, written = 0, 0, 0
    end = 0
    answers: list[int] = []
    for command in commands:
        while (valid := records.valid()) is None:
            yield False
        if command["stride"] == 0:
            # All before it have been answered, and are counted.
            quiet = max(valid, answers[-1] + 1 if answers else 0)
            records.take(quiet)
            answered += [quiet] * command["address"]
            continue
        records.take(taken := max(valid, made))
        made = taken + _MADE
        for words in bursts_of(command, plan):
            while (there := results.arrived(written + words)) is None:
                yield False
            ahead = answers[-plan.outstanding] + 1 if len(answers) >= plan.outstanding else 0
            made = max(made, ready)
            addressed = max(made, there, ahead) + 1
            # Data in the cycle behind the address, or behind the data before.
            begin = max(addressed, end) + 1
            end = begin + words * plan.beats - 1
            beats.append((begin, end))
            results.left += range(begin + plan.beats - 1, end + 1, plan.beats)
            answers.append(max(end + memory.latency, answers[-1] + 1 if answers else 0))
            written += words
            ready = addressed + 1
            yield True
        answered.append(answers[-1])
