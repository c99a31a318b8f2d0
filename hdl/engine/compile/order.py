"""The order of transfers: everything just before it is needed, weights as far ahead as their queue has room.

Commands are carried out in their order, one after the other, and a command waits until its queue has room and what it
reads has been written. So whatever stands behind it waits, too: the order decides what is fetched early, and a wrong
one stands still for ever. Here nothing waits for room that only something behind it could make.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..plan import EnginePlan
from ..records import Stream, Unit
from .bands import Band
from .layers import EngineLayer

__all__ = ["BLOCK_COMMANDS", "Item", "Run", "in_order", "layer_items"]

BLOCK_COMMANDS = 16
"""Read commands that are fetched together; the first command of a block fetches the next block."""
WRITES_AT_ONCE = 16
"""Write commands that are fetched together."""


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
    """A run and the queue that it goes to."""

    stream: Stream
    run: Run


def layer_items(
    layer: EngineLayer, bands: Sequence[Band], sizes: Sequence[Sequence[int]],
    stored: Callable[[str, int, int, int], Run], *, weights: int, descriptors: Run, writes: int,
    write_words: int, wide: bool,
) -> list[Item]:  # fmt: skip
    """What a layer reads, in the order in which it needs it.

    Parameters
    ----------
    sizes : words of weights by block of outputs and block of inputs
    stored : run of some rows of a block of a tensor, by name, block, first row and rows
    wide : its residual takes two words a pixel
    weights, writes : where its weights and write commands begin
    """
    items = [Item(stream=Stream.DESCRIPTORS, run=descriptors)]
    pool = layer.unit is not Unit.ARRAY
    residuals = Stream.WIDE_RESIDUALS if wide else Stream.RESIDUALS
    for number, band in enumerate(bands):
        at = weights
        for block, own in enumerate(sizes):
            if block % WRITES_AT_ONCE == 0:
                count = min(WRITES_AT_ONCE, len(sizes) - block)
                first = writes + (number * len(sizes) + block) * write_words
                items.append(Item(stream=Stream.WRITES, run=Run(address=first, words=count * write_words)))
            for inner, words in enumerate(own):
                source = block if pool else inner
                if pool or block == 0:
                    chunk = stored(layer.source, source, band.first_taken, band.taken)
                    items.append(Item(stream=Stream.FEATURES, run=chunk))
                if layer.residual is not None and inner == len(own) - 1:
                    joined = stored(layer.residual, block, band.row, band.rows)
                    items.append(Item(stream=residuals, run=joined))
                items.append(Item(stream=Stream.WEIGHTS, run=Run(address=at, words=words)))
                at += words
    return items


def in_order(items: Sequence[Item], plan: EnginePlan, *, command_words: int) -> list[dict[str, int]]:
    """Read commands for ``items``, which come as they are needed, each block of commands fetching the next."""
    led = _merged(_led(items, plan.weight_words))
    inner = BLOCK_COMMANDS - 1
    blocks = [led[at : at + inner] for at in range(0, len(led), inner)]
    commands: list[dict[str, int]] = []
    for number, block in enumerate(blocks):
        if number + 1 < len(blocks):
            words = (len(blocks[number + 1]) + (number + 2 < len(blocks))) * command_words
            following = Run(address=(number + 1) * BLOCK_COMMANDS * command_words, words=words)
            block = [Item(stream=Stream.COMMANDS, run=following), *block]
        commands += [_command(item) for item in block]
    return commands


def _led(items: Sequence[Item], room: int) -> list[Item]:
    """Weights moved ahead, in front of anything else that is needed while they still fit into ``room`` words: by then,
    all weights that stand in front of it have been taken."""
    weights = [item for item in items if item.stream is Stream.WEIGHTS]
    result: list[Item] = []
    taken, given, next_one = 0, 0, 0
    for item in items:
        if item.stream is Stream.WEIGHTS:
            taken += item.run.words
            continue
        while next_one < len(weights) and given < taken + room:
            run = weights[next_one].run
            words = min(run.words, taken + room - given)
            result.append(replace(weights[next_one], run=replace(run, words=words)))
            given += words
            if words == run.words:
                next_one += 1
            else:
                rest = replace(run, address=run.address + words, words=run.words - words)
                weights[next_one] = replace(weights[next_one], run=rest)
        result.append(item)
    return result + weights[next_one:]


def _merged(items: Sequence[Item]) -> list[Item]:
    """Neighbours joined where one goes on where the other ends, and waits for nothing more."""
    result: list[Item] = []
    for item in items:
        last = result[-1] if result else None
        if (
            last is not None and last.stream is item.stream and last.run.wait >= item.run.wait
            and last.run.address + last.run.words == item.run.address
        ):  # fmt: skip
            result[-1] = replace(last, run=replace(last.run, words=last.run.words + item.run.words))
        else:
            result.append(item)
    return result


def _command(item: Item) -> dict[str, int]:
    return {
        "stream": item.stream, "words": item.run.words, "address": item.run.address, "wait": item.run.wait,
    }  # fmt: skip
