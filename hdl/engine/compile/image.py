"""The memory image of a Program: everything that an engine reads, and where it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....quant.program import Program
from ..layout import TensorLayout, Words, blocks_of
from ..plan import EnginePlan
from ..records import READ, WRITE, descriptor_record
from .bands import Band, bands_of, parts_of
from .descriptors import descriptor
from .order import in_order
from .places import BLOCK_COMMANDS, Places, places
from .reading.layers import EngineLayer, EngineNetwork
from .reading.reading import network_of
from .reading.stem import stored_input
from .transfers import WRITES_AT_ONCE, Transfers, writes_of
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
    layouts = {
        name: TensorLayout(shape=network.shapes[name], format=network.format(name), lanes=plan.pin, bits=plan.bits)
        for name in (*network.tensors, *network.views)
    }
    bands: dict[str, tuple[Band, ...]] = {}
    made: dict[str, TensorLayout] = {}
    factors = {layer.name: layer.shuffle for layer in network.layers}
    for layer in network.layers:
        source, made[layer.name] = bands.get(layer.source), _made(layer, layouts[layer.name])
        bands[layer.name] = bands_of(
            layer.name, layer.window, layouts[layer.source], made[layer.name], plan,
            runs=layer.runs(made[layer.name].blocks),
            most_rows=WRITES_AT_ONCE if layer.shuffle > 1 else made[layer.name].shape[1],
            early=layouts[layer.source].shape[1] if source is None else source[-1].row * factors[layer.source],
        )  # fmt: skip
    weights = [
        [block_weights(layer, block, plan) for block in range(blocks_of(len(layer.multiplier), plan.pout))]
        for layer in network.layers
    ]
    descriptors = [
        descriptor(layer, part, layouts, made[layer.name], plan, last=layer is network.layers[-1] and part is parts[-1])
        for layer in network.layers
        for parts in [parts_of(bands[layer.name])]
        for part in parts
    ]
    reads: list[dict[str, int]] = []
    # How many commands there are depends on no address: the first round counts them.
    for _ in range(2):
        where = places(
            plan, reads=-(-len(reads) // BLOCK_COMMANDS) * BLOCK_COMMANDS, descriptors=len(descriptors),
            writes=sum(writes_of(layer, bands[layer.name], made[layer.name].blocks) for layer in network.layers),
            weights=[sum(len(part) for block in own for part in block) for own in weights],
            layouts={name: layouts[name] for name in network.tensors}, readers=_readers(network) if reuse else {},
        )  # fmt: skip
        transfers = Transfers(plan, layouts, where, network.views)
        for layer, own, start in zip(network.layers, weights, where.weights, strict=True):
            transfers.layer(layer, bands[layer.name], [[len(part) for part in block] for block in own], start)
        reads = in_order(transfers.items, plan)
    texts = {
        start: [part for block in own for part in block] for own, start in zip(weights, where.weights, strict=True)
    }
    return Compiled(
        network=network, plan=plan, words=_memory(plan, where, reads, descriptors, transfers.writes, texts),
        first=min(len(reads), BLOCK_COMMANDS) * READ.words(plan.word_bits), areas=dict(where.areas), layouts=layouts,
        bands=bands, reuse=reuse, reads=tuple(reads), writes=tuple(transfers.writes), descriptors=tuple(descriptors),
    )  # fmt: skip


def _readers(network: EngineNetwork) -> dict[str, int]:
    """The last layer that reads each tensor, but for the input and the result, which stay."""
    last: dict[str, int] = {}
    for number, layer in enumerate(network.layers):
        for name in (layer.source, layer.residual):
            if name is not None:
                parts = network.views.get(name)
                last |= dict.fromkeys([name] if parts is None else [part.tensor for part in parts], number)
    return {name: number for name, number in last.items() if name not in (network.tensors[0], network.output)}


def _made(layer: EngineLayer, stored: TensorLayout) -> TensorLayout:
    """The result of a layer as it is computed, before its pixels are shuffled."""
    if layer.shuffle == 1:
        return stored
    _, height, width = stored.shape
    shape = (len(layer.multiplier), height // layer.shuffle, width // layer.shuffle)
    return TensorLayout(shape=shape, format=stored.format, lanes=stored.lanes, bits=stored.bits)


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
