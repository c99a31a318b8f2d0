"""Predicted cycles of a run: reader, array and writer, each going on as far as it knows what it waits for."""

from dataclasses import dataclass

from ..compile.image import Compiled
from ..compile.transfers import queue_rooms
from ..records import READ, WRITE, Stream, descriptor_record
from .array import LayerCycles, computing
from .queues import TimedQueue, TimedRecords
from .transfers import Memory, reading, writing

__all__ = ["EngineCycles", "predicted"]

_REST = 2
"""Cycles from the last answer to rest: the answer is counted, and ``busy`` falls."""


@dataclass(frozen=True, kw_only=True)
class EngineCycles:
    """A whole run.

    Attributes
    ----------
    total : cycles from start to done
    layers : by descriptor
    read_words, written_words : from and to memory
    """

    total: int
    layers: tuple[LayerCycles, ...]
    read_words: int
    written_words: int


def predicted(image: Compiled, memory: Memory | None = None) -> EngineCycles:
    """Cycles of one run of ``image``, exactly.

    Each part does one thing after the other, and each thing happens in the first cycle in which all that it waits for
    has happened. So the model is sums and maxima, and takes a time that grows with bursts and steps, not with cycles.

    Raises
    ------
    ValueError
        when the engine would stand still for ever: a transfer waits for one behind it.
    """
    plan, memory, bits = image.plan, memory or Memory(), image.plan.word_bits
    queues = {stream: TimedQueue(room) for stream, room in queue_rooms(plan).items()}
    queues[Stream.WIDE_RESIDUALS] = queues[Stream.RESIDUALS]
    commands = TimedRecords(queues[Stream.COMMANDS], READ.words(bits))
    descriptors = TimedRecords(queues[Stream.DESCRIPTORS], descriptor_record(plan).words(bits))
    writes = TimedRecords(queues[Stream.WRITES], WRITE.words(bits))
    results, answered, layers = TimedQueue(plan.result_words), [], []  # type: ignore[var-annotated]
    parts = [
        reading(plan, memory, image.first, image.reads, commands, queues, answered),
        computing(plan, image.descriptors, descriptors, queues, results, layers),
        writing(plan, memory, image.writes, writes, results, answered),
    ]  # fmt: skip
    while parts:
        moved = False
        for part in list(parts):
            try:
                while next(part):
                    moved = True
            except StopIteration:
                parts.remove(part)
                moved = True
        if not moved:
            raise ValueError("the engine stands still: a transfer waits for one behind it")
    return EngineCycles(
        total=answered[-1] + _REST, layers=tuple(layers), read_words=sum(read["words"] for read in image.reads),
        written_words=sum(write["words"] for write in image.writes),
    )  # fmt: skip
