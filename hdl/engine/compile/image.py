"""The memory image of a Program: everything that an engine reads, and where it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....quant.program import Program
from ..layout import TensorLayout, Words, blocks_of
from ..plan import EnginePlan
from ..records import READ, WRITE, Unit, descriptor_record
from .bands import Band, bands_of, parts_of
from .layers import EngineLayer, EngineNetwork, network_of
from .order import BLOCK_COMMANDS, Item, Run, in_order, layer_items
from .weights import block_weights, is_padded

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
    reads: tuple[dict[str, int], ...]
    writes: tuple[dict[str, int], ...]
    descriptors: tuple[dict[str, int], ...]

    def with_input(self, image: NDArray[np.integer]) -> Words:
        """The memory with a (C, H, W) image in the area of the input."""
        name = self.network.tensors[0]
        layout, words = self.layouts[name], self.words.copy()
        words[self.areas[name] :][: layout.words] = layout.pack(self.network.stored_input(image))
        return words

    def tensor(self, words: Words, name: str) -> NDArray[np.int64]:
        """A stored tensor (C, H, W) out of a memory."""
        layout = self.layouts[name]
        return layout.unpack(words[self.areas[name] :][: layout.words])


def compiled(program: Program, plan: EnginePlan) -> Compiled:
    """The image of ``program`` for an engine of ``plan``.

    Raises
    ------
    UserError
        for an operation that the engine does not have and for a layer that does not fit, by name.
    """
    network = network_of(program, plan)
    layouts = {
        name: TensorLayout(shape=network.shapes[name], format=network.format(name), lanes=plan.pin, bits=plan.bits)
        for name in network.tensors
    }
    bands = {
        layer.name: bands_of(layer.name, layer.window, layouts[layer.source], layouts[layer.name], plan)
        for layer in network.layers
    }
    weights = [_layer_weights(layer, layouts, plan) for layer in network.layers]
    descriptors = [
        _descriptor(layer, part, layouts, plan, last=layer is network.layers[-1] and part is parts[-1])
        for layer in network.layers
        for parts in [parts_of(bands[layer.name])]
        for part in parts
    ]
    return _placed(network, plan, layouts, bands, weights, descriptors)


def _layer_weights(layer: EngineLayer, layouts: dict[str, TensorLayout], plan: EnginePlan) -> list[list[Words]]:
    """Words by block of outputs and block of inputs."""
    channels = len(layer.multiplier)
    return [block_weights(layer, block, plan) for block in range(blocks_of(channels, plan.pout))]


def _placed(
    network: EngineNetwork, plan: EnginePlan, layouts: dict[str, TensorLayout], bands: dict[str, tuple[Band, ...]],
    weights: list[list[list[Words]]], descriptors: list[dict[str, int]],
) -> Compiled:  # fmt: skip
    """Give every part its place, commands first, and write down what points to what.

    How many commands there are depends on no address, so the first round counts them with areas from 0 on.
    """
    record = descriptor_record(plan)
    sizes = [record.words(plan.word_bits), WRITE.words(plan.word_bits), READ.words(plan.word_bits)]
    texts = [np.concatenate([part for block in layer for part in block]) for layer in weights]
    blocks = 0
    for _ in range(2):
        at = blocks * BLOCK_COMMANDS * sizes[2]
        begin = {"descriptors": at}
        at += len(descriptors) * sizes[0]
        begin["writes"] = at
        runs = [len(bands[layer.name]) * layouts[layer.name].blocks for layer in network.layers]
        at += sum(runs) * sizes[1]
        starts = []
        for text in texts:
            starts.append(at)
            at += len(text)
        areas = {}
        for name in network.tensors:
            areas[name] = at
            at += layouts[name].words
        items, writes = _transfers(network, plan, layouts, bands, weights, starts, areas, begin, sizes)
        reads = in_order(items, plan, command_words=sizes[2])
        blocks = -(-len(reads) // BLOCK_COMMANDS)
    words = np.zeros((at, plan.word_bytes), np.uint8)
    lists = ((READ, reads, 0), (record, descriptors, begin["descriptors"]), (WRITE, writes, begin["writes"]))
    for kind, values, place in lists:
        text = _bytes([word for value in values for word in kind.split(value, plan.word_bits)], plan)
        words[place : place + len(text)] = text
    for place, text in zip(starts, texts, strict=True):
        words[place : place + len(text)] = text
    return Compiled(
        network=network, plan=plan, words=words, first=min(len(reads), BLOCK_COMMANDS) * sizes[2], areas=areas,
        layouts=layouts, bands=bands, reads=tuple(reads), writes=tuple(writes), descriptors=tuple(descriptors),
    )  # fmt: skip


def _transfers(
    network: EngineNetwork, plan: EnginePlan, layouts: dict[str, TensorLayout], bands: dict[str, tuple[Band, ...]],
    weights: list[list[list[Words]]], starts: list[int], areas: dict[str, int], begin: dict[str, int],
    sizes: list[int],
) -> tuple[list[Item], list[dict[str, int]]]:  # fmt: skip
    """What is read in the order of its use, and all write commands."""
    items: list[Item] = []
    writes: list[dict[str, int]] = []
    first_runs: dict[str, int] = {}
    descriptor = begin["descriptors"]

    def stored(name: str, block: int, row: int, rows: int) -> Run:
        """Some rows of a block, and the write command that stores the last of them."""
        first, words = layouts[name].run(block, row, rows)
        wait = 0
        if name in first_runs:
            band = next(k for k, band in enumerate(bands[name]) if row + rows <= band.row + band.rows)
            wait = first_runs[name] + band * layouts[name].blocks + block + 1
        return Run(address=areas[name] + first, words=words, wait=wait)

    for layer, own, start in zip(network.layers, weights, starts, strict=True):
        result, count = layouts[layer.name], len(parts_of(bands[layer.name]))
        first_runs[layer.name] = len(writes)
        items += layer_items(
            layer, bands[layer.name], [[len(part) for part in block] for block in own], stored,
            weights=start, descriptors=Run(address=descriptor, words=count * sizes[0]),
            writes=begin["writes"] + len(writes) * sizes[1], write_words=sizes[1],
            wide=layer.residual is not None and layouts[layer.residual].pixel_words > 1,
        )  # fmt: skip
        descriptor += count * sizes[0]
        for band in bands[layer.name]:
            for block in range(result.blocks):
                place, words = result.run(block, band.row, band.rows)
                writes.append({"address": areas[layer.name] + place, "words": words})
    return items, writes


def _bytes(words: Sequence[int], plan: EnginePlan) -> Words:
    text = b"".join(word.to_bytes(plan.word_bytes, "little") for word in words)
    return np.frombuffer(text, np.uint8).reshape(-1, plan.word_bytes)


def _descriptor(
    layer: EngineLayer, part: tuple[Band, ...], layouts: dict[str, TensorLayout], plan: EnginePlan, *, last: bool
) -> dict[str, int]:  # fmt: skip
    """The descriptor of some bands of a layer."""
    source, result, window = layouts[layer.source], layouts[layer.name], layer.window
    columns, width, ring = result.shape[2], source.shape[2], plan.ring_words
    residual = layouts[layer.residual] if layer.residual is not None else None
    values: dict[str, int] = {}
    # A part of one band has a first one alone, and one of two no middle one.
    chosen = {"first": part[0], "middle": part[1 if len(part) > 2 else 0], "final": part[-1]}
    for which, band in chosen.items():
        values |= {
            f"rows_{which}": band.rows, f"taken_{which}": band.taken, f"pixels_{which}": band.rows * columns,
            f"chunk_{which}": band.taken * width,
        }  # fmt: skip
    (stride_rows, stride_columns), (down, right) = window.strides, window.dilations
    return values | {
        "unit": layer.unit, "kernel": plan.kernels.index(layer.kernel) if layer.kernel else 0, "last": last,
        "signed": source.format.signed, "padded": is_padded(layer), "residual": residual is not None,
        "residual_signed": residual is not None and residual.format.signed,
        "residual_words": residual.pixel_words if residual is not None else 0, "result_words": result.pixel_words,
        "bands": len(part), "in_blocks": source.blocks,
        "out_blocks": result.blocks if layer.unit is Unit.ARRAY else 1, "columns": columns, "width": width,
        "kernel_rows": window.kernel[0], "kernel_columns": window.kernel[1], "top": part[0].top,
        "left": window.pads[1], "stride_rows": stride_rows, "stride_columns": stride_columns, "dilation_rows": down,
        "dilation_columns": right, "origin": (-part[0].top * width - window.pads[1]) % ring,
        "next_row": (stride_rows * width - stride_columns * (columns - 1)) % ring,
        "next_line": (down * width - right * (window.kernel[1] - 1)) % ring, "low": layer.low, "high": layer.high,
    }  # fmt: skip
