"""The memory image of a Program: everything that an engine reads, and where it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ....quant.program import Program
from ..layout import TensorLayout, Words
from ..plan import EnginePlan
from ..records import MOST_APART, READ, WRITE, Unit, descriptor_record
from .bands import Band, bands_of, parts_of
from .descriptors import descriptor
from .order import in_order
from .places import BLOCK_COMMANDS, Places, places
from .reading.layers import EngineLayer, EngineNetwork
from .reading.reading import network_of
from .reading.stem import stored_input
from .skipping import Condition, Skip, conditions_of, in_order_of_need, skips_of
from .tokens import zeros_of
from .transfers import WRITES_AT_ONCE, Segment, Transfers, writes_of
from .weights import block_weights

__all__ = ["Compiled", "compiled"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """A Program for an engine: what stands in memory before it starts, and what it will do there.

    Attributes
    ----------
    words : (N, bytes of a word), the whole memory; tensors are 0
    first : words of the first block of commands, which begins at word 0
    areas : first word of every stored tensor
    bands : of every layer
    reuse : areas are used again, so that tensors may be overwritten
    reads, writes : all commands in their order, as `READ` and `WRITE` have them
    descriptors : all of them in their order
    segments : the bands that may be skipped, in their order
    skips : what each band of a layer under a condition needs, see `skipping`
    """

    network: EngineNetwork
    plan: EnginePlan
    words: Words
    first: int
    areas: dict[str, int]
    layouts: dict[str, TensorLayout]
    bands: dict[str, tuple[Band, ...]]
    reuse: bool
    reads: tuple[dict[str, int], ...]
    writes: tuple[dict[str, int], ...]
    descriptors: tuple[dict[str, int], ...]
    segments: tuple[Segment, ...] = ()
    skips: Mapping[str, tuple[Skip, ...]] = field(default_factory=dict)

    def with_input(self, image: NDArray[np.integer]) -> Words:
        """The memory with a (C, H, W) image in the area of the input."""
        stored, words = self.stored(image), self.words.copy()
        words[self.areas[self.network.tensors[0]] :][: len(stored)] = stored
        return words

    def stored(self, image: NDArray[np.integer]) -> Words:
        """The words of a (C, H, W) image in the area of the input."""
        return self.layouts[self.network.tensors[0]].pack(stored_input(self.network, image))

    @property
    def constants(self) -> Words:
        """The words that no run changes: commands, descriptors and weights, in front of the tensors."""
        return self.words[: min(self.areas.values())]

    @property
    def intact(self) -> tuple[str, ...]:
        """The tensors, results of layers, that stand in memory when all is done."""
        ends = {name: (at, at + self.layouts[name].words) for name, at in self.areas.items()}
        names = self.network.tensors
        return tuple(
            name for k, name in enumerate(names)
            if k and all(ends[later][1] <= ends[name][0] or ends[later][0] >= ends[name][1] for later in names[k + 1 :])
        )  # fmt: skip

    def asked(self, masks: Mapping[str, NDArray[np.integer]]) -> NDArray[np.bool_]:
        """(bands, pout), which numbers are in each band of the tensors that say what is skipped, in their order;
        ``masks`` has them, (1, H, W) each, by name."""
        found = [
            np.isin(np.arange(self.plan.pout), masks[layer.name][0, band.row : band.row + band.rows])
            for layer in self.network.layers if layer.marks for band in self.bands[layer.name]
        ]  # fmt: skip
        return np.array(found, np.bool_).reshape(-1, self.plan.pout)

    @property
    def masks(self) -> tuple[str, ...]:
        """Names of the tensors that say what is skipped."""
        return tuple(layer.name for layer in self.network.layers if layer.marks)

    def computed(self, name: str, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H,), which rows of a stored tensor are computed where `asked` says so."""
        rows = np.ones(self.layouts[name].shape[1], np.bool_)
        for band, skip in zip(self.bands.get(name, ()), self.skips.get(name, ()), strict=False):
            first = skip.entry + skip.first
            rows[band.row : band.row + band.rows] = asked[first : first + skip.bands, skip.number].any()
        return rows

    def tensor(self, words: Words, name: str) -> NDArray[np.int64]:
        """A stored tensor (C, H, W) out of a memory."""
        layout = self.layouts[name]
        return layout.unpack(words[self.areas[name] :][: layout.words])


def compiled(program: Program, plan: EnginePlan, *, reuse: bool = False) -> Compiled:
    """The image of ``program`` for an engine of ``plan``.

    Parameters
    ----------
    reuse : the area of a tensor that no further layer reads is used again; else every tensor can be looked at when all
        is done

    Raises
    ------
    UserError
        for an operation that the engine does not have and for a layer that does not fit, by name.
    """
    network = network_of(program, plan)
    conditions = conditions_of(network) if plan.predicates else {}
    network = in_order_of_need(network, conditions)
    layouts = _layouts(network, plan)
    made = {layer.name: _made(layer, layouts[layer.name]) for layer in network.layers}
    bands = _bands(network, layouts, made, conditions, plan)
    skips = skips_of(network, conditions, bands, plan)
    weights = [[block_weights(layer, block, plan) for block in range(layer.blocks(plan))] for layer in network.layers]
    descriptors = [
        descriptor(layer, part, layouts, made[layer.name], plan, last=layer is network.layers[-1] and part is parts[-1])
        for layer in network.layers
        for parts in [parts_of(bands[layer.name])]
        for part in parts
    ]
    reads: list[dict[str, int]] = []
    count = sum(writes_of(layer, bands[layer.name], made[layer.name].blocks) for layer in network.layers)
    # How many commands there are depends on no address: the first round counts them.
    for _ in range(2):
        where = places(
            plan, reads=-(-len(reads) // BLOCK_COMMANDS) * BLOCK_COMMANDS, descriptors=len(descriptors),
            writes=count + sum(len(own) for own in skips.values()),
            weights=[sum(len(part) for block in own for part in block) for own in weights],
            layouts={name: layouts[name] for name in network.tensors}, readers=_readers(network) if reuse else {},
            zeros=max((zeros_of(layer, layouts, plan) for layer in network.layers), default=0),
            constants={name: layouts[name] for name in network.constants},
        )  # fmt: skip
        transfers = Transfers(plan, layouts, where, network)
        for layer, own, start in zip(network.layers, weights, where.weights, strict=True):
            sizes = [[len(part) for part in block] for block in own]
            transfers.layer(layer, bands[layer.name], sizes, start, skips.get(layer.name, ()))
        skipped = where.writes + count * WRITE.words(plan.word_bits)
        reads = in_order(transfers.items, plan, transfers.segments, skipped)
    texts = _texts(network, layouts, where, weights)
    stand_ins = [{"words": 0, "address": own.end - own.begin, "stride": 0} for own in transfers.segments]
    writes = [*transfers.writes, *stand_ins]
    return Compiled(
        network=network, plan=plan, words=_memory(plan, where, reads, descriptors, writes, texts),
        first=min(len(reads), BLOCK_COMMANDS) * READ.words(plan.word_bits), layouts=layouts,
        areas={name: where.areas[name] for name in network.tensors}, bands=bands, reuse=reuse,
        reads=tuple(reads), writes=tuple(transfers.writes), descriptors=tuple(descriptors),
        segments=tuple(transfers.segments), skips=skips,
    )  # fmt: skip


def _layouts(network: EngineNetwork, plan: EnginePlan) -> dict[str, TensorLayout]:
    """Those of all stored tensors and views."""
    return {
        name: TensorLayout(
            shape=network.shapes[name], format=network.format(name), channels=plan.channels, bits=plan.bits,
            head=network.heads.get(name, 0),
        )
        for name in (*network.tensors, *network.views, *network.moves, *network.constants)
    }  # fmt: skip


def _texts(
    network: EngineNetwork, layouts: Mapping[str, TensorLayout], where: Places, weights: Sequence[list[list[Words]]]
) -> dict[int, list[Words]]:  # fmt: skip
    """The words of weights and constants, by where they stand."""
    texts = {
        start: [part for block in own for part in block] for own, start in zip(weights, where.weights, strict=True)
    }
    return texts | {where.areas[name]: [layouts[name].pack(value)] for name, value in network.constants.items()}


def _bands(
    network: EngineNetwork, layouts: Mapping[str, TensorLayout], made: Mapping[str, TensorLayout],
    conditions: Mapping[str, Condition], plan: EnginePlan,
) -> dict[str, tuple[Band, ...]]:  # fmt: skip
    """The bands of every layer; those that may be skipped have descriptors of their own."""
    found: dict[str, tuple[Band, ...]] = {}
    factors = {layer.name: layer.shuffle for layer in network.layers}
    for layer in network.layers:
        source, result = found.get(layer.source), made[layer.name]
        bands = bands_of(
            layer.name, layer.window, layouts[layer.source], result, plan, runs=layer.runs(plan),
            most_rows=_most_rows(
                layer, result.shape[1], each=layer.other is not None and layouts[layer.other].shape[1] > 1
            ), stacked=max(len(layer.stacked), 1),
            means=layer.blocks(plan) if layer.name not in conditions and _is_mean(layer, result) else 0,
            early=layouts[layer.source].shape[1] if source is None else source[-1].row * factors[layer.source],
        )  # fmt: skip
        alone = layer.name in conditions
        found[layer.name] = tuple(replace(band, alone=True) for band in bands) if alone else bands
    return found


def _is_mean(layer: EngineLayer, result: TensorLayout) -> bool:
    """Whether it is a mean of a whole map, which is one pixel of each channel."""
    whole = layer.unit is Unit.SUM and result.shape[1:] == (1, 1)
    return whole and not any(layer.window.pads) and layer.window.dilations[0] == 1


def _readers(network: EngineNetwork) -> dict[str, int]:
    """The last layer that reads each tensor, but for the input and the result, which stay."""
    last: dict[str, int] = {}
    for number, layer in enumerate(network.layers):
        for name in layer.reads:
            last |= dict.fromkeys(network.stored(name), number)
    return {name: number for name, number in last.items() if name not in (network.tensors[0], network.output)}


def _most_rows(layer: EngineLayer, rows: int, *, each: bool) -> int:
    """Of a band, whose rows are a command each where pixels are shuffled, and apart from one tensor to the next where
    they are chosen; ``each``: a row of the other tokens is for one row alone."""
    if layer.other is not None and each:  # a row has weights of its own
        return 1
    if layer.stacked:
        return min(rows, MOST_APART)
    return WRITES_AT_ONCE if layer.shuffle > 1 else rows


def _made(layer: EngineLayer, stored: TensorLayout) -> TensorLayout:
    """The result of a layer as it is computed, before its pixels are shuffled."""
    if layer.shuffle == 1:
        return stored
    _, height, width = stored.shape
    shape = (len(layer.multiplier), height // layer.shuffle, width // layer.shuffle)
    return TensorLayout(shape=shape, format=stored.format, channels=stored.channels, bits=stored.bits)


def _memory(
    plan: EnginePlan, where: Places, reads: Sequence[dict[str, int]], descriptors: Sequence[dict[str, int]],
    writes: Sequence[dict[str, int]], weights: dict[int, list[Words]],
) -> Words:  # fmt: skip
    """All words; tensors are 0."""
    words = np.zeros((where.words, plan.word_bytes), np.uint8)
    lists = ((READ, reads, 0), (descriptor_record(plan), descriptors, where.descriptors), (WRITE, writes, where.writes))
    for record, values, place in lists:
        text = b"".join(
            word.to_bytes(plan.word_bytes, "little") for value in values for word in record.split(value, plan.word_bits)
        )
        own = np.frombuffer(text, np.uint8).reshape(-1, plan.word_bytes)
        words[place : place + len(own)] = own
    for place, parts in weights.items():
        own = np.concatenate(parts)
        words[place : place + len(own)] = own
    return words
