"""Predicted cycles of a run: reader, array and writer, each going on as far as it knows what it waits for."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..activity import CycleUse
from ..compile.image import Compiled
from ..compile.transfers import queue_rooms
from ..records import READ, WRITE, Stream, descriptor_record
from .array import LayerCycles, computing
from .queues import TimedQueue, TimedRecords
from .transfers import Memory, is_skipped, reading, writing

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
    loads, stores : (N, 2), cycles of the first and last beats of bursts
    """

    total: int
    layers: tuple[LayerCycles, ...]
    read_words: int
    written_words: int
    loads: NDArray[np.int64] = field(compare=False, repr=False)
    stores: NDArray[np.int64] = field(compare=False, repr=False)

    @property
    def spent(self) -> NDArray[np.int64]:
        """(descriptors + 1, activities), cycles of each `CycleUse` up to the end of each descriptor, and behind the
        last one. All of them together are ``total``."""
        found = np.zeros((len(self.layers) + 1, len(CycleUse)), np.int64)
        for row, layer in zip(found, self.layers, strict=False):
            row[CycleUse.WORK] = layer.busy
            for cause, cycles in layer.waits.items():
                row[cause] = cycles
        found[-1, CycleUse.END] = self.total - 1 - self.layers[-1].end
        return found

    @property
    def together(self) -> NDArray[np.int64]:
        """(2, 2, 2), cycles in which the array does not and does work, no beat and one is read, none and one is
        written."""
        works = np.concatenate([layer.works for layer in self.layers])
        edges = np.unique(np.concatenate([[0, self.total], *(_edges(own) for own in (works, self.loads, self.stores))]))
        inside = [_inside(own, edges[:-1]) for own in (works, self.loads, self.stores)]
        found = np.zeros((2, 2, 2), np.int64)
        np.add.at(found, tuple(inside), np.diff(edges))
        return found


def _edges(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cycles in which spans of a first and a last one begin, and those behind them."""
    return np.concatenate([spans[:, 0], spans[:, 1] + 1])


def _inside(spans: NDArray[np.int64], cycles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whether each of ``cycles`` lies in one of the spans, which are in order and apart."""
    number = np.searchsorted(spans[:, 0], cycles, side="right") - 1
    return ((number >= 0) & (spans[number, 1] >= cycles)).astype(np.int64)


def predicted(
    image: Compiled, memory: Memory | None = None, asked: NDArray[np.bool_] | None = None
) -> EngineCycles:  # fmt: skip
    """Cycles of one run of ``image``, exactly; where bands may be skipped, of one on pixels of which `Compiled.asked`
    is ``asked``, and without it of one that skips none.

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
    loads, stores = [], []  # type: ignore[var-annotated]
    layers_run, writes_run = _carried_out(image, asked)
    parts = [
        reading(plan, memory, image.first, image.reads, commands, queues, answered, loads, asked),
        computing(plan, layers_run, descriptors, queues, results, layers),
        writing(plan, memory, writes_run, writes, results, answered, stores),
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
        total=answered[-1] + _REST, layers=tuple(layers),
        read_words=(sum(last - first + 1 for first, last in loads)) // plan.beats,
        written_words=sum(write["words"] for write in writes_run), loads=np.array(loads), stores=np.array(stores),
    )  # fmt: skip


def _carried_out(
    image: Compiled, asked: NDArray[np.bool_] | None
) -> tuple[list[dict[str, int]], list[dict[str, int]]]:  # fmt: skip
    """The descriptors and the write commands of a run."""
    layers: list[dict[str, int]] = []
    writes: list[dict[str, int]] = []
    at, done = 0, 0
    for segment in image.segments:
        if is_skipped(segment.skip, asked):
            layers += image.descriptors[done : segment.descriptor]
            writes += image.writes[at : segment.begin]
            writes.append({"words": 0, "address": segment.end - segment.begin, "stride": 0})
            done, at = segment.descriptor + 1, segment.end
    return [*layers, *image.descriptors[done:]], [*writes, *image.writes[at:]]
