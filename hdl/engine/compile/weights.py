"""The stream of weights: pads, sets of weights and constants in the order in which an engine takes them.

For every band and every block of outputs, per block of inputs: a word of pad where the layer is padded; then for every
tap of the window a set, one weight for each lane, row after row, as many rows in a word as it has room for. In front of
the last set of a block of outputs stand the constants of its channels. A pool has no sets, and each of its blocks has
its constants. In a set of a depthwise layer the first weights of each output channel are those of the window columns
that it takes together, the last column first.

Where bands go by twice, all words of pad, one for each block, stand in front of the first block of a group once more.

The sets of a product of tokens are words of a stored tensor, which are read where they stand: here are its constants.

The table of a layer whose results are looked up stands in front of the constants of its first block, and comes once for
a descriptor; where each channel has its own, in front of those of every block, and comes with them.
"""

import numpy as np
from numpy.typing import NDArray

from ..layout import Words, blocks_of, words_of_elements
from ..plan import EnginePlan
from ..records import Unit
from .constants import channel_records
from .reading.layers import EngineLayer

__all__ = ["block_weights", "has_own_tables", "is_padded", "runs_again", "table_entries"]


def is_padded(layer: EngineLayer) -> bool:
    """Whether some tap lies outside the map, or pads say something else, as of layers whose bands go by twice."""
    return any(layer.window.pads) or layer.twice


def block_weights(layer: EngineLayer, block: int, plan: EnginePlan) -> list[Words]:
    """The words of one block of outputs, for each block of inputs by itself. Of a pool ``block`` is that of both."""
    pads = _pads(layer, plan)
    constants = np.concatenate([_table(layer, block, plan), _constants(layer, block, plan)])
    if layer.twice:
        # All blocks of a group go by once more in front of its first result.
        count = layer.sharing(plan)
        again = pads[block : block + count] if block % count == 0 else []
        return [*again, np.concatenate([pads[block], constants])]
    if layer.unit is not Unit.ARRAY:
        return [np.concatenate([*pads[layer.read_block(block, 0, plan) :][:1], constants])]
    if layer.other is not None:
        return [*[constants[:0]] * (layer.inputs(plan) - 1), constants]
    sets = _depthwise_sets(layer, block, plan) if layer.together else _sets(layer, block, plan)
    parts = []
    for k, own in enumerate(sets):
        whole = words_of_elements(own.reshape(-1, plan.channels), plan)
        cut = len(whole) - plan.set_words
        pieces = [whole[:cut], constants, whole[cut:]] if k == len(sets) - 1 else [whole]
        parts.append(np.concatenate([*pads[layer.read_block(block, k, plan) :][:1], *pieces]))
    return parts


def table_entries(layer: EngineLayer) -> int:
    """Words of the table of a layer; 0 where its results are not looked up."""
    return 0 if layer.table is None else layer.table.shape[-1]


def has_own_tables(layer: EngineLayer) -> bool:
    """Whether each channel has a table of its own."""
    return layer.table is not None and layer.table.ndim == 2


def runs_again(layer: EngineLayer, words: int, plan: EnginePlan) -> list[tuple[int, int]]:
    """The first block's ``words`` with the constants, in a band that is not the first of its descriptor: first word and
    number of words of what is taken again, which is all but the table that all blocks share."""
    table = 0 if has_own_tables(layer) else table_entries(layer)
    if not table:
        return [(0, words)]
    behind = len(_constants(layer, 0, plan)) + plan.set_words * (layer.weight is not None)
    before = words - behind - table
    return [(0, before), (before + table, behind)] if before else [(table, behind)]


def _table(layer: EngineLayer, block: int, plan: EnginePlan) -> Words:
    """The table that comes with a block of outputs: word k holds entry k of each of its channels."""
    own, entries = has_own_tables(layer), table_entries(layer)
    if layer.table is None or (block and not own):
        return np.zeros((0, plan.word_bytes), np.uint8)
    rows = layer.table[block * plan.pout : (block + 1) * plan.pout] if own else layer.table[None].repeat(plan.pout, 0)
    elements = np.zeros((entries, plan.pout), np.int64)
    elements[:, : len(rows)] = rows.T & ((1 << plan.bits) - 1)
    return words_of_elements(elements, plan)


def _pads(layer: EngineLayer, plan: EnginePlan) -> list[Words]:
    """A word for each block of words of the source; none where the layer is not padded."""
    if not is_padded(layer):
        return []
    whole = np.zeros(blocks_of(len(layer.pad), plan.channels) * plan.channels, np.int64)
    whole[: len(layer.pad)] = layer.pad & ((1 << plan.bits) - 1)
    return [words_of_elements(part[None], plan) for part in whole.reshape(-1, plan.channels)]


def _sets(layer: EngineLayer, block: int, plan: EnginePlan) -> NDArray[np.int64]:
    """(blocks of inputs, taps, pout, pin); what no channel has is neutral."""
    assert layer.weight is not None
    own = layer.weight[block * plan.pout : (block + 1) * plan.pout]
    outputs, inputs, rows, columns = own.shape
    blocks = blocks_of(inputs, plan.pin)
    whole = np.full((plan.pout, blocks * plan.pin, rows, columns), layer.neutral, np.int64)
    whole[:outputs, :inputs] = own
    parts = whole.reshape(plan.pout, blocks, plan.pin, rows * columns)
    return parts.transpose(1, 3, 0, 2)


def _depthwise_sets(layer: EngineLayer, block: int, plan: EnginePlan) -> NDArray[np.int64]:
    """(1, parts of the window, pout, pin)."""
    assert layer.weight is not None
    own = layer.weight[block * plan.pout : (block + 1) * plan.pout, 0]
    rows, columns, together = *own.shape[1:], layer.together
    parts = -(-columns // together)
    first = np.full((plan.pout, rows, parts * together), layer.neutral, np.int64)
    first[: len(own), :, parts * together - columns :] = own
    # The features of the other lanes are 0 as the lanes count them, whatever that stands for.
    whole = np.full((rows, parts, plan.pout, plan.pin), layer.kernel == "xnor", np.int64)
    whole[..., :together] = first.reshape(plan.pout, rows, parts, together)[..., ::-1].transpose(1, 2, 0, 3)
    # What no column is taken for holds a word of 0.
    whole[..., together : plan.depthwise] = layer.neutral
    return whole.reshape(1, rows * parts, plan.pout, plan.pin)


def _constants(layer: EngineLayer, block: int, plan: EnginePlan) -> Words:
    """The constants of a block of outputs, element by element of all its channels."""
    first, count = block * plan.pout, len(layer.multiplier)
    channels = []
    for channel in range(first, first + plan.pout):
        records = channel_records(layer, channel if channel < count else None, plan)
        channels.append([element for record, values in records for element in record.split(values, plan.bits)])
    return words_of_elements(np.array(channels).T, plan)
