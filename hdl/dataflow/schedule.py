"""The cycle model: when each stage is at work, from Program and Plan alone.

Every stage is a machine with a fixed rhythm: a group of output channels takes ``steps`` cycles and leaves after a known
latency. In the steady state the slowest stage sets the pace of all. For the first image the times follow forward, stage
by stage: rows complete, groups begin, beats leave; nothing waits for what comes behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm

import numpy as np

from ...quant.program import Program
from ..activation.entry import entry_latency, entry_of
from ..interface import answer_beats
from ..streams.packet import packet_latency
from ..timing import Schedule, StageTiming
from .build import StageBuild, readers_of
from .kinds.rhythm import NEVER, Cycles, spaced, spaced_before
from .stages import INPUT_STAGE

__all__ = ["Cycles", "Flow", "flow", "latest", "main_way", "schedule"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Times of some images that follow each other without a pause, in cycles after the first input beat.

    Attributes
    ----------
    begins : of a stage, when each of its groups begins
    emitted : of a stage, when each beat leaves its array
    sent : of a stage or the pixels, when each beat of its queue has been taken by all who read it
    came : of a stage and which of its ``reads``, when beats have been written into the ring, or enter the queue of a
        residual or of a stream that is joined
    held : of those that are one of several readers, until when a beat may stay in front of their queue: the fork, and
        what gathers beats, keep it there while the others need no further one
    """

    begins: Mapping[str, Cycles]
    emitted: Mapping[str, Cycles]
    sent: Mapping[str, Cycles]
    came: Mapping[tuple[str, int], Cycles]
    held: Mapping[tuple[str, int], Cycles] = field(default_factory=dict)


def schedule(builds: tuple[StageBuild, ...], program: Program, *, pixels: int = 1) -> Schedule:
    """Predict interval and latency.

    The interval is the largest of what any stage needs to read its ring, to write it, or to emit its beats, of what
    forks need to hand beats to all their readers, and of the input and output beats.

    Parameters
    ----------
    pixels : per beat of the input
    """
    times = flow(builds, program, pixels=pixels, images=1)
    input_beats = program.input.shape[1] * program.input.shape[2] // pixels
    timings = tuple(
        StageTiming(
            name=build.stage.name, lanes=build.lanes, interval=build.interval, busy=build.window.read_cycles,
            begin=int(times.begins[build.stage.name][0]),
            end=int(times.begins[build.stage.name][-1]) + build.window.steps,
            first_beat=int(times.emitted[build.stage.name][0]), last_beat=int(times.emitted[build.stage.name][-1]),
        )
        for build in builds
    )  # fmt: skip
    last = builds[-1]
    results = _split(_queued(times.emitted[last.stage.name], last.gather), last.split)
    forks = [_fork_cycles(edges, len(times.sent[name])) for name, edges in _edges(builds, program, pixels).items()]
    answers = answer_beats(program, last.next_simd)
    interval = max(input_beats, answers, *(build.interval for build in builds), *forks)
    return Schedule(interval=interval, latency=int(results[-1]) + packet_latency(program), stages=timings)


def flow(
    builds: Sequence[StageBuild], program: Program, *, pixels: int, images: int, fixed: Flow | None = None,
    stands: frozenset[str] = frozenset(),
) -> Flow:  # fmt: skip
    """Everything as early as possible, with room for everything.

    Parameters
    ----------
    fixed : times that stand, of what leaves the pixels and the stages called ``stands``
    """
    beats = images * program.input.shape[1] * program.input.shape[2] // pixels
    edges_of = _edges(builds, program, pixels)
    begins: dict[str, Cycles] = {}
    emitted: dict[str, Cycles] = {}
    sent: dict[str, Cycles] = {}
    came: dict[tuple[str, int], Cycles] = {}
    held: dict[tuple[str, int], Cycles] = {}

    def send(name: str, ready: Cycles, claimed: Cycles | None = None) -> None:
        """Hand the beats of ``name``, whose places are ``claimed`` anew, to all who read them."""
        edges = edges_of.get(name, [])
        offered = ready if fixed is not None else _offered(edges, ready)
        sent[name] = np.maximum.reduce([edge.taken(offered) for edge in edges]) if edges else offered
        for edge in edges:
            came[edge.build.stage.name, edge.port] = edge.delivered(offered)
            if edge.waits and len(edges) > 1:
                held[edge.build.stage.name, edge.port] = edge.held(offered, claimed)

    first = np.arange(beats, dtype=np.int64) + entry_latency(entry_of(program))
    send(INPUT_STAGE, first if fixed is None else fixed.sent[INPUT_STAGE])
    for build in builds:
        name = build.stage.name
        if fixed is not None and name in stands:
            begins[name] = fixed.begins[name]
        else:
            begins[name] = build.rhythm.begins([came[name, port] for port in range(len(build.stage.reads))])
        beats_of_group = begins[name][:, None] + build.group_latency + np.arange(build.group_beats)
        emitted[name] = np.asarray(beats_of_group.reshape(-1))
        ready = _queued(emitted[name], build.gather)
        send(name, fixed.sent[name] if fixed is not None and name in stands else ready, _claimed(build, begins[name]))
    return Flow(begins=begins, emitted=emitted, sent=sent, came=came, held=held)


def latest(builds: Sequence[StageBuild], program: Program, times: Flow, *, pixels: int) -> Flow:
    """Everything as late as it may be for the scores to come as in ``times``, within the queues behind the stages."""
    counts = {INPUT_STAGE: program.input.shape[0] * pixels}
    counts |= {build.stage.name: build.gather * build.out_count for build in builds}
    due = {name: np.full(len(beats), NEVER, np.int64) for name, beats in times.sent.items()}
    begins: dict[str, Cycles] = {}
    sent: dict[str, Cycles] = {}
    for build in reversed(builds):
        name = build.stage.name
        if build is builds[-1]:
            begins[name], sent[name] = times.begins[name], times.sent[name]
        else:
            begins[name], sent[name] = _latest_begins(build, due[name])
        for port, source in enumerate(build.stage.reads):
            edge = _Edge(build, port, counts[source])
            due[source] = np.minimum(due[source], edge.due(begins[name], len(due[source])))
    sent[INPUT_STAGE] = spaced_before(due[INPUT_STAGE], 1)
    return Flow(begins=begins, emitted={}, sent=sent, came={})


def main_way(builds: Sequence[StageBuild], times: Flow) -> frozenset[str]:
    """Stages on the way from the result back to the pixels: through layers, and from a join along the stream that it
    waits for under ``times``."""
    by_name = {build.stage.name: build for build in builds}
    way, name = set(), builds[-1].stage.name
    while name != INPUT_STAGE:
        way.add(name)
        build = by_name[name]
        reads = build.stage.reads
        name = reads[build.rhythm.awaited([times.came[name, port] for port in range(len(reads))])]
    return frozenset(way)


class _Edge:
    """From the queue of a stage to one that reads it: beats are gathered or split on the way.

    Parameters
    ----------
    port : which of its ``reads`` it is
    have : elements per beat that leave
    """

    def __init__(self, build: StageBuild, port: int, have: int):
        self.build = build
        self.port = port
        self.waits = build.stage.waits(port)  # in a queue of its own
        want = build.wants(port, have)
        self.widen = lcm(have, want) // have
        self.narrow = lcm(have, want) // want

    def _offered(self, offered: Cycles) -> Cycles:
        """When the parts come to what is behind."""
        whole = offered if self.widen == 1 else offered.reshape(-1, self.widen)[:, -1] + 1
        return _split(whole, self.narrow)

    def delivered(self, offered: Cycles) -> Cycles:
        """When what is behind takes them."""
        parts = self._offered(offered)
        return parts if self.waits else self.build.rhythm.taken(parts)

    def held(self, offered: Cycles, claimed: Cycles | None) -> Cycles:
        """The latest cycles for entries to stay in front of the queue without the next beat being offered later.

        A fork keeps a beat for one reader until the next is due, or a group behind which it came claims its place.
        Gathered beats stay where they were gathered, while the fork keeps the first part of the next.
        """
        kept, nexts = (0, 1) if self.widen == 1 else (self.widen, self.widen + 1)
        until = np.append(offered[nexts :: self.widen] - 1, NEVER)
        if claimed is not None:
            places = claimed[kept :: self.widen] - 1
            until[: len(places)] = np.minimum(until[: len(places)], places)
        return until

    def taken(self, offered: Cycles) -> Cycles:
        """When the beats themselves are taken."""
        if self.waits:
            return offered
        left = self.delivered(offered).reshape(-1, self.narrow)[:, -1]
        if self.narrow == self.widen == 1:
            return left
        # A converter takes a beat when its last one has left, with its last part.
        whole = offered.reshape(-1, self.widen)
        free = np.concatenate([whole[:1, 0], left[:-1]])
        if self.widen > 1:
            return spaced(np.concatenate([np.maximum(whole[:, :1], free[:, None]), whole[:, 1:]], 1).reshape(-1), 1)
        return np.asarray(np.maximum(offered, free))

    def due(self, begins: Cycles, count: int) -> Cycles:
        """The latest cycles for ``count`` beats to be taken, so that groups begin in time."""
        entries = self.build.rhythm.due(self.port, begins, count * self.narrow // self.widen)
        if not self.waits:
            parts = entries.reshape(-1, self.narrow)
            entries = (parts - np.arange(self.narrow)).min(1) - (1 if self.narrow > 1 else 0)
            entries = spaced_before(entries, self.narrow)
        if self.widen == 1:
            return entries
        due = np.full((len(entries), self.widen), NEVER, np.int64)
        due[:, -1] = entries - 1
        return spaced_before(due.reshape(-1), 1)


def _edges(builds: Sequence[StageBuild], program: Program, pixels: int) -> dict[str, list[_Edge]]:
    """Who reads the beats of each stage, and of the pixels."""
    counts = {INPUT_STAGE: program.input.shape[0] * pixels}
    counts |= {build.stage.name: build.gather * build.out_count for build in builds}
    return {
        name: [_Edge(build, port, counts[name]) for build, port in readers]
        for name, readers in readers_of(builds).items()
    }


def _offered(edges: Sequence[_Edge], ready: Cycles) -> Cycles:
    """When each beat is offered that may leave when ``ready``: not before all readers have taken the last one."""
    offered = ready
    while len(edges) > 1:
        done = np.maximum.reduce([edge.taken(offered) for edge in edges])
        after = np.maximum(ready, np.concatenate([ready[:1], done[:-1] + 1]))
        if np.array_equal(after, offered):
            break
        offered = after
    return offered


def _fork_cycles(edges: Sequence[_Edge], beats: int) -> int:
    """Cycles per image of ``beats`` that a fork needs: its readers pause at different times, for padding or to split
    beats, and between a fork and them nothing waits."""
    if len(edges) < 2:
        return 0
    images = 3
    offered = _offered(edges, np.arange(images * beats, dtype=np.int64))
    done = np.maximum.reduce([edge.taken(offered) for edge in edges])
    return int(done[-1] - done[-1 - beats])


def _queued(pushed: Cycles, gather: int) -> Cycles:
    """When beats leave a queue into which ``gather`` at a time enter as one."""
    entered = pushed if gather == 1 else pushed.reshape(-1, gather)[:, -1] + 1
    return spaced(entered + 1, 1)


def _split(beats: Cycles, parts: int) -> Cycles:
    """When the parts of beats leave a `Narrow`, which takes a new beat with the last part of the one before."""
    if parts == 1:
        return beats
    return np.asarray((spaced(beats, parts)[:, None] + 1 + np.arange(parts)).reshape(-1))


def _claimed(build: StageBuild, begins: Cycles) -> Cycles:
    """When a group begins that needs the place of each beat of the queue, which must have left it by then."""
    beats, gather = build.group_beats, build.gather
    count = len(begins) * beats // gather
    # the first group whose own beats and those before it are more than the queue holds without beat n
    groups = ((np.arange(count) + build.plan.queue) * gather) // beats
    return np.where(groups < len(begins), begins[np.minimum(groups, len(begins) - 1)], NEVER)


def _latest_begins(build: StageBuild, due: Cycles) -> tuple[Cycles, Cycles]:
    """When groups begin and beats leave the queue at the latest, if beats must have left when ``due``.

    A group claims its beats' places before it begins: those of earlier beats, which must have left by then.
    """
    limit = due.tolist()
    beats, gather, steps = build.group_beats, build.gather, build.window.steps
    groups = len(limit) * gather // beats
    capacity = build.plan.queue * gather
    begins, sent = [0] * groups, limit
    begin, leave = 2 * NEVER, 2 * NEVER
    way = build.group_latency + (2 if gather > 1 else 1)
    for group in reversed(range(groups)):
        begin -= steps
        # Beats of the queue that this group completes, the last one first.
        for beat in range(((group + 1) * beats) // gather - 1, (group * beats) // gather - 1, -1):
            leave = min(leave - 1, limit[beat])
            sent[beat] = leave
            begin = min(begin, leave - way - ((beat + 1) * gather - 1) % beats)
        begins[group] = begin
        freed = -(-((group + 1) * beats - capacity) // gather)
        if freed > 0:
            limit[freed - 1] = min(limit[freed - 1], begin - 1)
    return np.array(begins, np.int64), np.array(sent, np.int64)
