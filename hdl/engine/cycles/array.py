"""The computing half in the cycle model: steps with their weights, features, residuals and results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.core import CoreDelays
from ..plan import EnginePlan
from ..records import Stream, Unit, constants_record
from .queues import TimedQueue, TimedRecords

__all__ = ["LayerCycles", "TimedStep", "computing", "steps_of"]

CAUSES = ("weights", "features", "results", "residuals")
"""What a step may wait for: its weights and constants; its features; room for its results; its residuals."""


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """One descriptor.

    Attributes
    ----------
    begin, end : cycles in which its first step is taken and its last tap is issued
    busy : cycles in which the array or the pools are at work
    waits : cycles between steps, by what the next one waited for last, of `CAUSES`
    """

    begin: int
    end: int
    busy: int
    waits: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TimedStep:
    """What the cycle model knows of a step, see `core.steps`.

    Attributes
    ----------
    until : words of features that must have come, from the begin of the tile
    ends : words that are issued before the one with which each pixel is whole
    """

    pads: bool
    first: bool
    last: bool
    frees: bool
    until: int
    chunk: int
    pixels: int
    ends: Sequence[int]


def steps_of(layer: dict[str, int]) -> Iterator[tuple[int, list[TimedStep]]]:
    """For each band of a descriptor the words of its tile and its steps."""
    pool = layer["unit"] != Unit.ARRAY
    taps = layer["kernel_rows"] * layer["kernel_columns"]
    outer = 1 if pool else taps
    for band in range(layer["bands"]):
        which = "first" if band == 0 else "final" if band == layer["bands"] - 1 else "middle"
        chunk, pixels = layer[f"chunk_{which}"], layer[f"pixels_{which}"]
        ends = range(taps - 1, taps * pixels, taps) if pool else _ends(layer, layer[f"rows_{which}"])
        blocks, inputs, groups = layer["out_blocks"], layer["in_blocks"], layer.get("groups", 1)
        steps = [
            TimedStep(
                pads=bool(layer["padded"] and tap == 0), first=pool or (inner == 0 and tap == 0),
                last=pool or (inner == inputs - 1 and tap == outer - 1), frees=block == blocks - 1 and tap == outer - 1,
                until=(group * inputs + inner + 1) * chunk, chunk=chunk, pixels=pixels, ends=ends,
            )
            for group in range(groups) for block in range(blocks) for inner in range(inputs) for tap in range(outer)
        ]  # fmt: skip
        yield chunk * inputs * groups, steps


def _ends(layer: dict[str, int], rows: int) -> Sequence[int]:
    """Of a step of the array; only where words of a depthwise layer make no window it is not one pixel per word."""
    if not layer.get("lead", 0):
        return range(rows * layer["columns"])
    row = [layer["lead"] + x * (layer["between"] + 1) for x in range(layer["columns"])]
    following = row[-1] + 1 - layer["shared"]
    return [y * following + end for y in range(rows) for end in row]


class _Array:
    """The state of the computing half between steps."""

    def __init__(self, plan: EnginePlan, queues: dict[Stream, TimedQueue], results: TimedQueue):
        self.plan, self.queues, self.results = plan, queues, results
        self.delays = CoreDelays.of(plan)
        self.constants = constants_record(plan).words(plan.bits)
        self.loader = 0
        self.ending = 0
        self.quiet = 0
        self.tile = 0
        self.joined = 0

    def loaded(self, step: TimedStep, begin: int, pool: bool) -> int | None:
        """The cycle in which all that comes with the weights is there."""
        weights, at = self.queues[Stream.WEIGHTS], begin + 1
        parts = [step.pads * 1, step.last * self.constants, 0 if pool else self.plan.pout]
        if len(weights.left) + sum(parts) > len(weights.came):
            return None
        for number, words in enumerate(parts):
            if words:
                after = weights.take(max(at, self.quiet) if number == 1 else at, words)
                assert after is not None
                at = after
        # A step is handed on with its last weight; what has none one cycle later.
        return at if pool else at - 1

    def conditions(self, layer: dict[str, int], step: TimedStep) -> dict[str, int] | None:
        """First cycle in which each of what the step needs is there; None while one is not known."""
        needs: dict[str, int | None] = {"features": self.queues[Stream.FEATURES].arrived(self.tile + step.until)}
        if step.last:
            needs["results"] = self.results.room_for(step.pixels * layer["result_words"])
            if layer["residual"]:
                words = self.joined + step.pixels * layer["residual_words"]
                needs["residuals"] = self.queues[Stream.RESIDUALS].arrived(words)
        # The issuer compares a cycle before it looks.
        known = {name: cycle + 1 for name, cycle in needs.items() if cycle is not None}
        return known if len(known) == len(needs) else None

    def run(self, layer: dict[str, int], step: TimedStep, taken: int, pool: bool) -> int:
        """Issue the taps of a step; returns how many cycles that takes."""
        words = layer["result_words"] if step.last else 1
        cycles = step.ends[-1] + 1 + (step.pixels - 1) * (words - 1)
        self.ending = taken + cycles
        if step.frees:
            self.queues[Stream.FEATURES].left += [self.ending] * step.chunk
        if step.last:
            delay = self.delays.pools if pool else self.delays.sums
            complete = [taken + 1 + end + delay + k * (words - 1) for k, end in enumerate(step.ends)]
            if layer["residual"]:
                self.joined += step.pixels * layer["residual_words"]
                self.queues[Stream.RESIDUALS].left += [at for at in complete for _ in range(layer["residual_words"])]
            self.results.claimed += step.pixels * words
            self.results.came += [at + self.delays.results + k for at in complete for k in range(words)]
            self.quiet = complete[-1] + self.delays.results + 1
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
        begin, busy, planned = None, 0, valid + 1
        bands = list(steps_of(layer))
        for number, (tile, steps) in enumerate(bands):
            for step in steps:
                at = max(array.loader, planned)
                if number == len(bands) - 1 and step is steps[-1]:
                    records.take(at)
                while (ready := array.loaded(step, at, pool)) is None:
                    yield False
                while (needs := array.conditions(layer, step)) is None:
                    yield False
                needs["weights"] = ready
                taken = max(array.ending, *needs.values())
                if begin is not None and taken > array.ending:
                    waits[max(needs, key=lambda name: needs[name])] += taken - array.ending
                begin = taken if begin is None else begin
                busy += array.run(layer, step, taken, pool)
                array.loader = taken + 1
                yield True
            array.tile += tile
        assert begin is not None
        done.append(LayerCycles(begin=begin, end=array.ending, busy=busy, waits=waits))
