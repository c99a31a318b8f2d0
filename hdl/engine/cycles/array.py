"""The computing half in the cycle model: steps with their weights, features, residuals and results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..activity import CycleUse
from ..core.core import AT_LANES, CoreDelays
from ..plan import EnginePlan
from ..records import TWICE, Stream, Unit, constants_record, further_records
from ..vector.widths import NormTiming
from .queues import TimedQueue, TimedRecords

__all__ = ["LayerCycles", "TimedStep", "computing", "steps_of"]

CAUSES = (CycleUse.DESCRIPTORS, CycleUse.WEIGHTS, CycleUse.FEATURES, CycleUse.RESULTS, CycleUse.RESIDUALS)
"""What a step may wait for, the first that is missing in front."""


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """One descriptor.

    Attributes
    ----------
    end : the cycle in which its last tap is issued
    busy : cycles in which the array or the pools are at work
    waits : of the cycles since the end of the descriptor before, those in which each of `CAUSES` is the first that the
        next step lacks; with ``busy`` they are all
    works : (N, 2), first and last cycles of the work of its steps
    """

    end: int
    busy: int
    waits: dict[CycleUse, int]
    works: NDArray[np.int64] = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class TimedStep:
    """What the cycle model knows of a step, see `core.steps`.

    Attributes
    ----------
    until : words of features that must have come, from the begin of the tile
    ends : words that are issued before the one with which each pixel is whole
    table : words of a table that come in front of its constants
    begins, fills : its results are the first, and the last parts of their words
    rooted, scaling : where a band goes by twice, whether what its tokens have in all blocks is whole behind the step,
        and whether the step needs what is made of that
    """

    pads: bool
    first: bool
    last: bool
    frees: bool
    until: int
    chunk: int
    pixels: int
    ends: Sequence[int]
    table: int = 0
    begins: bool = True
    fills: bool = True
    rooted: bool = False
    scaling: bool = False


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What a step does of a band, but for its tap: number of the chunk that it reads; whether that is freed behind it,
    and sums begin and end with it; which part of a word its results are, and whether the last one; whether it is of the
    first block of outputs; where a band goes by twice what a `TimedStep` has."""

    chunk: int
    frees: bool
    first: bool
    last: bool
    part: int
    fills: bool
    begins: bool
    rooted: bool = False
    scaling: bool = False


def _turns(layer: dict[str, int], plan: EnginePlan) -> list[_Turn]:
    """The turns of a band, each of which has all taps of a window."""
    apart, groups = layer["unit"] != Unit.ARRAY or layer.get("depthwise", 0), layer.get("groups", 1)
    blocks, inputs, read, made = layer["out_blocks"], layer["in_blocks"], plan.read_parts, plan.made_parts
    if any(layer.get(name) for name in TWICE):
        return [
            _Turn(
                chunk=group * inputs + inner, frees=scaling, first=True, last=scaling, part=0, fills=True,
                begins=scaling and group == inner == 0, rooted=not scaling and inner == inputs - 1, scaling=scaling,
            )
            for group in range(groups) for scaling in (False, True) for inner in range(inputs)
        ]  # fmt: skip
    if apart:
        count = groups * inputs
        found = []
        for row in range(count):
            fills = row % made == made - 1 or row == count - 1
            found.append(_Turn(
                chunk=row // made, frees=fills, first=True, last=True, part=row % made, fills=fills, begins=row == 0
            ))  # fmt: skip
        return found
    chunks = -(-inputs // read)
    return [
        _Turn(
            chunk=group * chunks + inner // read,
            frees=block == blocks - 1 and (inner % read == read - 1 or inner == inputs - 1),
            first=inner == 0, last=inner == inputs - 1, part=block % made,
            fills=block % made == made - 1 or block == blocks - 1, begins=group == block == 0,
        )
        for group in range(groups) for block in range(blocks) for inner in range(inputs)
    ]  # fmt: skip


def steps_of(layer: dict[str, int], plan: EnginePlan) -> Iterator[tuple[int, list[TimedStep]]]:
    """For each band of a descriptor the words of its tile and its steps."""
    pool = layer["unit"] != Unit.ARRAY
    taps = layer["kernel_rows"] * layer["kernel_columns"]
    outer, turns = 1 if pool else taps, _turns(layer, plan)
    for band in range(layer["bands"]):
        which = "first" if band == 0 else "final" if band == layer["bands"] - 1 else "middle"
        chunk, pixels = layer[f"chunk_{which}"], layer[f"pixels_{which}"]
        ends = range(taps - 1, taps * pixels, taps) if pool else _ends(layer, layer[f"rows_{which}"])
        steps = [
            TimedStep(
                pads=bool(layer["padded"] and tap == 0), first=turn.first and tap == 0,
                last=turn.last and tap == outer - 1, frees=turn.frees and tap == outer - 1,
                until=(turn.chunk + 1) * chunk, chunk=chunk, pixels=pixels, ends=ends,
                table=_table(layer, begins=band == 0 and turn.begins) if turn.last and tap == outer - 1 else 0,
                begins=turn.part == 0, fills=turn.fills, rooted=turn.rooted, scaling=turn.scaling,
            )
            for turn in turns for tap in range(outer)
        ]  # fmt: skip
        yield chunk * (turns[-1].chunk + 1), steps


def _table(layer: dict[str, int], *, begins: bool) -> int:
    """Words of a table of a step that ends sums; ``begins``: of the first block of outputs of the descriptor."""
    return layer.get("table", 0) if begins or layer.get("own_tables") else 0


def _ends(layer: dict[str, int], rows: int) -> Sequence[int]:
    """Of a step of the array; only where words of a depthwise layer make no window it is not one pixel per word."""
    if not layer.get("lead", 0):
        return range(rows * layer["columns"])
    row = [layer["lead"] + x * (layer["between"] + 1) for x in range(layer["columns"])]
    following = row[-1] + 1 - layer["shared"]
    return [y * following + end for y in range(rows) for end in row]


def _residuals(layer: dict[str, int], step: TimedStep) -> int:
    """Words of residuals of a step that ends sums: of every pixel, or one for all of them."""
    return (1 if layer.get("hold") else step.pixels) * layer["residual_words"]


class _Array:
    """The state of the computing half between steps."""

    def __init__(self, plan: EnginePlan, queues: dict[Stream, TimedQueue], results: TimedQueue):
        self.plan, self.queues, self.results = plan, queues, results
        self.delays = CoreDelays.of(plan)
        self.constants = constants_record(plan).words(plan.bits)
        self.further = {name: record.words(plan.bits) for name, record in further_records(plan).items()}
        self.loader = 0
        self.parts: list[int] = []
        self.at = 0
        # Nothing has been done in the cycle of `start`, which is 0.
        self.ending = -1
        self.quiet = 0
        self.tile = 0
        self.joined = 0
        self.norms, self.there = NormTiming.of(plan, AT_LANES), 0

    def loaded(self, layer: dict[str, int], step: TimedStep, begin: int, pool: bool) -> int | None:
        """The cycle in which all that comes with the weights is there; None while some of it has not come. What has
        come is taken, for a table may be longer than the queue."""
        weights = self.queues[Stream.WEIGHTS]
        if not self.parts:
            constants = self.constants + sum(words for name, words in self.further.items() if layer[name])
            self.parts = [step.pads * 1, step.last * (step.table + constants), 0 if pool else self.plan.set_words]
            self.at = begin + 1
        for number in range(len(self.parts)):
            if words := min(self.parts[number], len(weights.came) - len(weights.left)):
                after = weights.take(max(self.at, self.quiet) if number == 1 else self.at, words)
                assert after is not None
                self.at = after
                self.parts[number] -= words
            if self.parts[number]:
                return None
        self.parts = []
        # A step is handed on with its last weight; what has none one cycle later.
        return self.at if pool else self.at - 1

    def conditions(self, layer: dict[str, int], step: TimedStep) -> dict[CycleUse, int] | None:
        """First cycle in which each of what the step needs is there; None while one is not known."""
        came = self.queues[Stream.FEATURES].arrived(self.tile + step.until)
        needs: dict[CycleUse, int | None] = {CycleUse.FEATURES: came}
        if step.last:
            needs[CycleUse.RESULTS] = self.results.room_for(step.pixels * layer["result_words"] * step.begins)
            if layer["residual"]:
                words = self.joined + _residuals(layer, step)
                needs[CycleUse.RESIDUALS] = self.queues[Stream.RESIDUALS].arrived(words)
            if step.scaling:
                needs[CycleUse.RESIDUALS] = self.there
        # The issuer compares a cycle before it looks.
        known = {cause: cycle + 1 for cause, cycle in needs.items() if cycle is not None}
        return known if len(known) == len(needs) else None

    def run(self, layer: dict[str, int], step: TimedStep, taken: int, pool: bool) -> int:
        """Issue the taps of a step; returns how many cycles that takes."""
        # Of a pixel; a quotient takes more of them than its one word.
        words = layer["result_words"] if step.last else 1
        pace = self.delays.pace if step.last and layer.get("divides") else words
        cycles = step.ends[-1] + 1 + (step.pixels - 1) * (pace - 1)
        self.ending = taken + cycles
        if step.frees:
            self.queues[Stream.FEATURES].left += [self.ending] * step.chunk
        if step.rooted:
            roots = layer.get("norm") and self.norms.rooted(self.plan, step.pixels, layer["longest"])
            self.there = self.ending + (roots or self.norms.summed + 2)
        if step.last and not layer.get("keeps"):
            delay = self.delays.pools if pool else self.delays.sums
            if step.scaling:
                delay = self.delays.norms if layer.get("norm") else self.delays.distances
            complete = [taken + 1 + end + delay + k * (pace - 1) for k, end in enumerate(step.ends)]
            if layer["residual"]:
                self.joined += _residuals(layer, step)
                leaves = complete[-1:] if layer.get("hold") else complete
                self.queues[Stream.RESIDUALS].left += [at for at in leaves for _ in range(layer["residual_words"])]
            self.results.claimed += step.pixels * words * step.begins
            delay = self.delays.results + (self.delays.counts if layer.get("levels") else 0)
            delay += self.delays.quotients if layer.get("divides") else 0
            delay += self.delays.across if layer.get("across") else 0
            if step.fills:
                self.results.came += [at + delay + k for at in complete for k in range(words)]
            self.quiet = complete[-1] + delay + 1
        return cycles


def computing(
    plan: EnginePlan, layers: Sequence[dict[str, int]], records: TimedRecords, queues: dict[Stream, TimedQueue],
    results: TimedQueue, done: list[LayerCycles],
) -> Iterator[bool]:  # fmt: skip
    """Run descriptors: fills ``left`` of ``queues`` and ``came`` of ``results``. Yields True behind every step."""
    array = _Array(plan, queues, results)
    for layer in layers:
        while (valid := records.valid()) is None:
            yield False
        pool, waits = layer["unit"] != Unit.ARRAY, dict.fromkeys(CAUSES, 0)
        works: list[tuple[int, int]] = []
        planned = valid + 1
        bands = list(steps_of(layer, plan))
        for number, (tile, steps) in enumerate(bands):
            for step in steps:
                at = max(array.loader, planned)
                if number == len(bands) - 1 and step is steps[-1]:
                    records.take(at)
                while (ready := array.loaded(layer, step, at, pool)) is None:
                    yield False
                while (needs := array.conditions(layer, step)) is None:
                    yield False
                needs |= {CycleUse.DESCRIPTORS: at, CycleUse.WEIGHTS: ready}
                told = array.ending
                for cause in CAUSES:
                    if (there := needs.get(cause, 0)) > told:
                        waits[cause] += there - told
                        told = there
                taken = told
                busy = array.run(layer, step, taken, pool)
                works.append((taken + 1, taken + busy))
                array.loader = taken + 1
                yield True
            array.tile += tile
        own = np.array(works)
        busy = int((own[:, 1] - own[:, 0] + 1).sum())
        done.append(LayerCycles(end=array.ending, busy=busy, waits=waits, works=own))
