"""What an engine reads, in the order in which it needs it, and what it writes.

Everything has a *position*: how many words of weights the array has taken when it comes so far. It is the clock of the
compiler: it says what has happened before what, whatever the memory's latency.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..layout import TensorLayout
from ..plan import EnginePlan
from ..record import Record
from ..records import READ, WRITE, Stream, descriptor_record
from .bands import Band, parts_of
from .places import BLOCK_COMMANDS, Places
from .reading.layers import EngineLayer, EngineNetwork
from .skipping import Skip
from .tokens import token_set
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
    ready : position at which it has been written, and its queue has room for it, of which weights need not speak
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
    stored = [band for band in bands if not band.keeps]
    return blocks * (len(stored) if layer.shuffle == 1 else sum(band.rows for band in stored))


def _inputs(layer: EngineLayer, sizes: Sequence[int]) -> int:
    """Blocks of inputs that come with the weights of a block of outputs; those of a band that goes by twice come
    once, in front."""
    return len(sizes) - layer.twice


def _joined(layer: EngineLayer, band: Band) -> tuple[int, int]:
    """First row and number of rows of the residual of a band."""
    return (0, 1) if layer.hold else (band.row, band.rows)


def _joined_block(layer: EngineLayer, block: int, plan: EnginePlan) -> int:
    """The block of the residual that joins a block of results: of denominators the one with that of its head."""
    return block // (layer.blocks(plan) // layer.groups) // plan.channels if layer.divides else block


class Transfers:
    """Collects what layers read and write, one layer after the other.

    Attributes
    ----------
    items : reads in the order of their use
    writes : all write commands, as `records.WRITE` has them
    segments : the bands that may be skipped, whose items say so
    """

    def __init__(
        self, plan: EnginePlan, layouts: Mapping[str, TensorLayout], places: Places, network: EngineNetwork
    ):  # fmt: skip
        self.plan, self.layouts, self.places, self.network = plan, layouts, places, network
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
        words = -(-len(sizes) // self.plan.made_parts)
        stored = [band for band in bands if not band.keeps]
        begins = {part[0].row for part in parts_of(bands)}
        for band in bands:
            for block in range(words):
                self.writes += [] if band.keeps else self._stores(layer, band, block)
                ends.append(len(self.writes))
        behind = (len(bands) - len(stored)) * words
        self._jobs[layer.name] = _Jobs(bands=stored, ends=ends[behind:], factor=layer.shuffle)
        for number, band in enumerate(bands):
            if skips:
                self._begin_segment(skips[number], ends, number * words, words)
            if band.row in begins:
                self._descriptor()
            self._band(layer, band, sizes, weights, ends[number * words :][:words], again=band.row not in begins)
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
        """Write commands of a block of words of a band: one for all its rows, or for each where pixels are shuffled."""
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
        """What one band reads; ``ends`` has the number of write commands at the end of each of its blocks of words;
        ``again``: another band of its descriptor went before."""
        plan, run, at = self.plan, layer.sharing(self.plan), weights
        residual = None if band.keeps else layer.residual
        taken = band.taken * self.layouts[layer.source].row_words * max(len(layer.stacked), 1)
        for block, own in enumerate(sizes):
            made = block // plan.made_parts
            self._write_commands(ends[made], ends[-1])
            for inner, words in enumerate(own):
                if block % run == 0 and inner % plan.read_parts == 0 and inner < _inputs(layer, own):
                    source = layer.read_block(block, inner, plan)
                    for name in layer.stacked or (layer.source,):
                        # The numbers of a choice have one block, which every block of results reads.
                        place = 0 if layer.stacked and name == layer.stacked[0] else source
                        self._rows(Stream.FEATURES, name, place, band.first_taken, band.taken)
                if inner == len(own) - 1 and residual is not None:
                    wide = self.layouts[residual].pixel_words > 1
                    stream = Stream.WIDE_RESIDUALS if wide else Stream.RESIDUALS
                    self._rows(stream, residual, _joined_block(layer, made, plan), *_joined(layer, band))
                shortened = again and block == 0 and inner == len(own) - 1
                for first, count in runs_again(layer, words, plan) if shortened else [(0, words)]:
                    run_of = Run(address=at + first, words=count)
                    if count:  # of a product of tokens only the last block of inputs has constants
                        self._weights(run_of)
                if layer.other is not None:
                    self._tokens(layer, band, block, inner)
                at += words
                whole = (inner + 1) % plan.read_parts == 0 or inner == len(own) - 1
                ends_run = (block + 1) % run == 0 or block == len(sizes) - 1
                # A band that goes by twice is done with a block of inputs when its results have been made.
                if inner == len(own) - 1 if layer.twice else whole and ends_run:
                    self._free(Stream.FEATURES, taken)
            if residual is not None:
                self._free(
                    Stream.RESIDUALS,
                    self.layouts[residual].run(_joined_block(layer, made, plan), *_joined(layer, band))[1],
                )
            # The writer takes a command when what is written by the one before it is there.
            filled = (block + 1) % plan.made_parts == 0 or block == len(sizes) - 1
            while filled and len(self._written) < ends[made]:
                self._written.append(self._position)
                self._free(Stream.WRITES, WRITE.words(self.plan.word_bits))

    def _weights(self, run: Run) -> None:
        written = self._written[run.wait - 1] if run.wait else 0
        self.items.append(Item(stream=Stream.WEIGHTS, run=run, ready=written, segment=self._segment))
        self._position += run.words

    def _tokens(self, layer: EngineLayer, band: Band, block: int, inner: int) -> None:
        """The set of a block of outputs and a block of inputs, tokens of a stored tensor; words of 0 fill it up."""
        own = token_set(layer, block, inner, self.layouts)
        assert layer.other is not None
        row = band.row if self.layouts[layer.other].shape[1] > 1 else 0
        first = own.tokens.start
        for run in self._runs(layer.other, own.block, row, 1):
            begin, end = (min(max(at, 0), run.words) for at in (first, first + len(own.tokens)))
            first -= run.words
            if begin < end:
                self._weights(replace(run, address=run.address + begin, words=end - begin))
        if missing := self.plan.pout - len(own.tokens):
            self._weights(Run(address=self.places.zeros, words=missing))

    def _rows(self, stream: Stream, name: str, block: int, row: int, rows: int) -> None:
        """Some rows of a block of a tensor."""
        for run in self._runs(name, block, row, rows):
            self._read(stream, run)

    def _runs(self, name: str, block: int, row: int, rows: int) -> Iterator[Run]:
        """Some rows of a block of a tensor or a view, in as many runs as bands of its layer wrote them."""
        for part in self.network.views.get(name, ()):
            if block < part.blocks:
                yield from self._runs(part.tensor, part.first + block, row, rows)
                return
            block -= part.blocks
        if (move := self.network.moves.get(name)) is not None:
            tensors, pixels = (of[block, row : row + rows].reshape(-1) for of in (move.tensor, move.pixel))
            cuts = np.flatnonzero((np.diff(tensors) != 0) | (np.diff(pixels) != 1)) + 1
            for begin, end in pairwise([0, *cuts.tolist(), len(pixels)]):
                yield from self._pixels(move.tensors[tensors[begin]], int(pixels[begin]), end - begin)
            return
        _, height, width = self.layouts[name].shape
        yield from self._pixels(name, (block * height + row) * width, rows * width)

    def _pixels(self, name: str, first: int, count: int) -> Iterator[Run]:
        """Pixels of a stored tensor one behind the other, counted block after block."""
        layout, jobs = self.layouts[name], self._jobs.get(name)
        (_, height, width), size = layout.shape, layout.pixel_words
        end = first + count
        while first < end:
            upto, wait = end, 0
            if jobs is not None:
                block, row = divmod(first // width, height)
                last, wait = jobs.written(row, height, block, layout.blocks)
                upto = min(end, (block * height + last) * width)
            yield Run(address=self.places.areas[name] + first * size, words=(upto - first) * size, wait=wait)
            first = upto

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
