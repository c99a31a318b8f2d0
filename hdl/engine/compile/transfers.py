"""What an engine reads, in the order in which it needs it, and what it writes.

Everything has a *position*: how many words of weights the array has taken when it comes so far. It is the clock of the
compiler: it says what has happened before what, whatever the memory's latency.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..layout import TensorLayout
from ..plan import EnginePlan
from ..record import Record
from ..records import READ, WRITE, Stream, descriptor_record
from .bands import Band, parts_of
from .places import BLOCK_COMMANDS, Places
from .reading.layers import BlockRange, EngineLayer
from .skipping import Skip
from .weights import runs_again

__all__ = ["WRITES_AT_ONCE", "Item", "Run", "Segment", "Transfers", "queue_rooms", "writes_of"]

WRITES_AT_ONCE = 16
"""Write commands that are fetched together."""
_COMMAND_BLOCKS = 2
_DESCRIPTORS = 4


def queue_rooms(plan: EnginePlan) -> dict[Stream, int]:
    """Words that each queue of an engine holds: room for two bursts at least, or none would ever fit."""

    def of_records(count: int, record: Record) -> int:
        words = record.words(plan.word_bits)
        return max(count, -(-2 * plan.burst // words)) * words

    return {
        Stream.COMMANDS: of_records(_COMMAND_BLOCKS * BLOCK_COMMANDS, READ),
        Stream.DESCRIPTORS: of_records(_DESCRIPTORS, descriptor_record(plan)),
        Stream.WEIGHTS: plan.weight_words, Stream.FEATURES: plan.ring_words,
        Stream.RESIDUALS: plan.residual_pixels, Stream.WRITES: of_records(2 * WRITES_AT_ONCE, WRITE),
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Run:
    """Words of memory one behind the other.

    Attributes
    ----------
    wait : write commands that must have been answered before they may be read
    """

    address: int
    words: int
    wait: int = 0


@dataclass(frozen=True, kw_only=True)
class Item:
    """A run and the queue that it goes to.

    Attributes
    ----------
    ready : position at which it has been written, and its queue has room for it
    needed : position at which it is used
    """

    stream: Stream
    run: Run
    ready: int = 0
    needed: int = 0
    segment: int | None = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is read for a band that may be skipped.

    Attributes
    ----------
    skip : when it is skipped, as `records.SKIP` has it
    wait : write commands that must have been answered before that is known
    descriptor : number of the descriptor of the band
    begin, end : numbers of its first write command and of the one behind its last
    """

    skip: dict[str, int]
    wait: int
    descriptor: int
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class _Jobs:
    """When a tensor is written.

    Attributes
    ----------
    bands : of the layer that makes it
    ends : write commands at the end of every band's every block
    factor : of a pixel shuffle on the way
    """

    bands: Sequence[Band]
    ends: Sequence[int]
    factor: int

    def written(self, row: int, end: int, block: int, blocks: int) -> tuple[int, int]:
        """The row up to which rows from ``row`` on are written by one band, at most ``end``, and how many write
        commands have been carried out then."""
        r = self.factor
        number = next(k for k, band in enumerate(self.bands) if row < (band.row + band.rows) * r)
        band = self.bands[number]
        return min(end, (band.row + band.rows) * r), self.ends[(number * blocks + block + 1) * r * r - 1]


def writes_of(layer: EngineLayer, bands: Sequence[Band], blocks: int) -> int:
    """Write commands of a layer of so many blocks of outputs."""
    return blocks * (len(bands) if layer.shuffle == 1 else sum(band.rows for band in bands))


def _inputs(layer: EngineLayer, sizes: Sequence[int]) -> int:
    """Blocks of inputs that come with the weights of a block of outputs; those of a band that goes by twice come
    once, in front."""
    return len(sizes) - layer.twice


def _joined(layer: EngineLayer, band: Band) -> tuple[int, int]:
    """First row and number of rows of the residual of a band."""
    return (0, 1) if layer.hold else (band.row, band.rows)


class Transfers:
    """Collects what layers read and write, one layer after the other.

    Attributes
    ----------
    items : reads in the order of their use
    writes : all write commands, as `records.WRITE` has them
    segments : the bands that may be skipped, whose items say so
    """

    def __init__(
        self, plan: EnginePlan, layouts: Mapping[str, TensorLayout], places: Places,
        views: Mapping[str, tuple[BlockRange, ...]],
    ):  # fmt: skip
        self.plan, self.layouts, self.places, self.views = plan, layouts, places, views
        self.items: list[Item] = []
        self.writes: list[dict[str, int]] = []
        self.segments: list[Segment] = []
        self._segment: int | None = None
        self._position = 0
        self._written: list[int] = []
        self._jobs: dict[str, _Jobs] = {}
        self._rooms = queue_rooms(plan)
        self._claimed = dict.fromkeys(self._rooms, 0)
        self._freed: dict[Stream, tuple[list[int], list[int]]] = {stream: ([0], [0]) for stream in self._rooms}
        self._descriptors = 0
        self._fetched = 0

    def layer(
        self, layer: EngineLayer, bands: Sequence[Band], sizes: Sequence[Sequence[int]], weights: int,
        skips: Sequence[Skip] = (),
    ) -> None:  # fmt: skip
        """Append a layer.

        Parameters
        ----------
        sizes : words of weights by block of outputs and block of inputs
        weights : place of the first of them
        skips : of a layer under a condition, what each band needs
        """
        ends: list[int] = []
        self._jobs[layer.name] = _Jobs(bands=bands, ends=ends, factor=layer.shuffle)
        begins = {part[0].row for part in parts_of(bands)}
        for band in bands:
            for block in range(len(sizes)):
                self.writes += self._stores(layer, band, block)
                ends.append(len(self.writes))
        for number, band in enumerate(bands):
            if skips:
                self._begin_segment(skips[number], ends, number * len(sizes), len(sizes))
            if band.row in begins:
                self._descriptor()
            self._band(layer, band, sizes, weights, ends[number * len(sizes) :], again=band.row not in begins)
            self._segment = None

    def _begin_segment(self, skip: Skip, ends: Sequence[int], first: int, blocks: int) -> None:
        """What comes is of a band that may be skipped, whose blocks end at ``ends`` from ``first`` on."""
        mask, before = self._jobs[skip.mask], self._fetched
        self._segment = len(self.segments)
        self.segments.append(Segment(
            skip={"first": skip.entry + skip.first, "bands": skip.bands - 1, "number": skip.number, "where": 0},
            wait=mask.ends[skip.first + skip.bands - 1], descriptor=self._descriptors, begin=before,
            end=ends[first + blocks - 1],
        ))  # fmt: skip

    def _stores(self, layer: EngineLayer, band: Band, block: int) -> list[dict[str, int]]:
        """Write commands of a block of a band: one for all its rows, or one for each where pixels are shuffled."""
        layout, area, r = self.layouts[layer.name], self.places.areas[layer.name], layer.shuffle
        if r == 1:
            place, words = layout.run(block, band.row, band.rows)
            return [{"address": area + place, "words": words, "stride": 1}]
        (own, part), columns = divmod(block, r * r), layout.shape[2] // r
        return [
            {"address": area + layout.run(own, row * r + part // r, 1)[0] + part % r, "words": columns, "stride": r}
            for row in range(band.row, band.row + band.rows)
        ]

    def _band(
        self, layer: EngineLayer, band: Band, sizes: Sequence[Sequence[int]], weights: int, ends: Sequence[int], *,
        again: bool,
    ) -> None:  # fmt: skip
        """What one band reads; ``ends`` has the number of write commands at the end of each of its blocks; ``again``:
        another band of its descriptor went before."""
        run, at = len(sizes) // layer.runs(len(sizes)), weights
        taken = band.taken * self.layouts[layer.source].row_words * max(len(layer.stacked), 1)
        for block, own in enumerate(sizes):
            self._write_commands(ends[block], ends[len(sizes) - 1])
            for inner, words in enumerate(own):
                if block % run == 0 and inner < _inputs(layer, own):
                    source = block // run * _inputs(layer, own) + inner
                    for name in layer.stacked or (layer.source,):
                        # The numbers of a choice have one block, which every block of results reads.
                        place = 0 if layer.stacked and name == layer.stacked[0] else source
                        self._rows(Stream.FEATURES, name, place, band.first_taken, band.taken)
                if inner == len(own) - 1 and layer.residual is not None:
                    wide = self.layouts[layer.residual].pixel_words > 1
                    stream = Stream.WIDE_RESIDUALS if wide else Stream.RESIDUALS
                    self._rows(stream, layer.residual, block, *_joined(layer, band))
                shortened = again and block == 0 and inner == len(own) - 1
                for first, count in runs_again(layer, words, self.plan) if shortened else [(0, words)]:
                    run_of = Run(address=at + first, words=count)
                    self.items.append(Item(stream=Stream.WEIGHTS, run=run_of, segment=self._segment))
                    self._position += count
                at += words
                # A band that goes by twice is done with a block of inputs when its results have been made.
                if inner == len(own) - 1 if layer.twice else block % run == run - 1:
                    self._free(Stream.FEATURES, taken)
            if layer.residual is not None:
                self._free(Stream.RESIDUALS, self.layouts[layer.residual].run(block, *_joined(layer, band))[1])
            # The writer takes a command when what is written by the one before it is there.
            while len(self._written) < ends[block]:
                self._written.append(self._position)
                self._free(Stream.WRITES, WRITE.words(self.plan.word_bits))

    def _rows(self, stream: Stream, name: str, block: int, row: int, rows: int) -> None:
        """Some rows of a block of a tensor, in as many runs as bands of its layer wrote them."""
        for part in self.views.get(name, ()):
            if block < part.blocks:
                self._rows(stream, part.tensor, part.first + block, row, rows)
                return
            block -= part.blocks
        layout, end = self.layouts[name], row + rows
        jobs = self._jobs.get(name)
        while row < end:
            upto, wait = (end, 0) if jobs is None else jobs.written(row, end, block, layout.blocks)
            place, words = layout.run(block, row, upto - row)
            self._read(stream, Run(address=self.places.areas[name] + place, words=words, wait=wait))
            row = upto

    def _descriptor(self) -> None:
        words = descriptor_record(self.plan).words(self.plan.word_bits)
        self._read(Stream.DESCRIPTORS, Run(address=self.places.descriptors + self._descriptors * words, words=words))
        self._descriptors += 1
        self._free(Stream.DESCRIPTORS, words)

    def _write_commands(self, needed: int, available: int) -> None:
        """Fetch write commands up to ``needed``, and what is left of ``available`` with them, some at a time."""
        words = WRITE.words(self.plan.word_bits)
        while self._fetched < needed:
            count = min(WRITES_AT_ONCE, available - self._fetched)
            self._read(Stream.WRITES, Run(address=self.places.writes + self._fetched * words, words=count * words))
            self._fetched += count

    def _read(self, stream: Stream, run: Run) -> None:
        """Append a run that is ready when it has been written and its queue has room."""
        queue = Stream.RESIDUALS if stream is Stream.WIDE_RESIDUALS else stream
        self._claimed[queue] += run.words
        freed, positions = self._freed[queue]
        at = bisect_left(freed, self._claimed[queue] - self._rooms[queue])
        room = positions[at] if at < len(positions) else self._position
        written = self._written[run.wait - 1] if run.wait else 0
        self.items.append(Item(
            stream=stream, run=run, ready=max(room, written), needed=self._position, segment=self._segment
        ))  # fmt: skip

    def _free(self, stream: Stream, words: int) -> None:
        """So many words of a queue are free when the array has come to here."""
        freed, positions = self._freed[stream]
        freed.append(freed[-1] + words)
        positions.append(self._position)
