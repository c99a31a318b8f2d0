"""The order of transfers: everything just before it is needed, weights as far ahead as their queue has room.

Commands are carried out in their order, one after the other, and a command waits until its queue has room and what it
reads has been written. So whatever stands behind it waits, too: the order decides what is fetched early, and a wrong
one stands still for ever. Here nothing waits for room that only something behind it could make.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from ..plan import EnginePlan
from ..records import READ, RUN_BITS, SKIP, WRITE, Stream
from .places import BLOCK_COMMANDS
from .transfers import Item, Run, Segment

__all__ = ["MOST_WORDS", "in_order"]

MOST_WORDS = (1 << RUN_BITS) - 1
"""Of a command."""


def in_order(
    items: Sequence[Item], plan: EnginePlan, segments: Sequence[Segment] = (), skipped: int = 0
) -> list[dict[str, int]]:  # fmt: skip
    """Read commands for ``items``, which come as they are needed, each block of commands fetching the next.

    Nothing crosses the ends of a segment, so that it can be skipped: it takes with it what it needs and no more, and
    one write command for each segment, from the address ``skipped`` on, then stands for those of the segment.
    """
    size, led, given = READ.words(plan.word_bits), [], 0
    for number, group in groupby(items, key=lambda item: item.segment):
        whole = list(group)
        own = _merged(_led(whole, plan, given))
        given += sum(item.run.words for item in whole if item.stream is Stream.WEIGHTS)
        if number is not None:
            place = skipped + number * WRITE.words(plan.word_bits)
            own = _skipped(own, segments[number], Run(address=place, words=WRITE.words(plan.word_bits)))
        led += own
    inner = BLOCK_COMMANDS - 1
    blocks = [led[at : at + inner] for at in range(0, len(led), inner)]
    commands: list[dict[str, int]] = []
    for number, block in enumerate(blocks):
        if number + 1 < len(blocks):
            words = (len(blocks[number + 1]) + (number + 2 < len(blocks))) * size
            following = Run(address=(number + 1) * BLOCK_COMMANDS * size, words=words)
            block = [Item(stream=Stream.COMMANDS, run=following), *block]
        commands += [_command(item) for item in block]
    return commands


def _skipped(items: Sequence[Item], segment: Segment, stands: Run) -> list[Item]:
    """``items`` unless nobody needs them, else ``stands``."""

    def skip(commands: int, where: int) -> Item:
        address = SKIP.pack({**segment.skip, "where": where})
        return Item(stream=Stream.SKIP, run=Run(address=address, words=commands, wait=segment.wait))

    return [skip(len(items), 0), *items, skip(1, 1), Item(stream=Stream.WRITES, run=stands)]


def _led(items: Sequence[Item], plan: EnginePlan, given: int = 0) -> list[Item]:
    """Weights moved to where they can be fetched while something else is not ready; ``given`` words went before.

    In front of an item that is ready when ``q`` words of weights have been taken stand those ``q`` words, without
    which that never comes, and what more their queue holds then. Of those, what is needed before the item always goes
    first; what is needed later is little at the beginning, so that the first features do not wait for it.
    Weights that the array makes itself go in front of nothing that it needs until they are written.
    """
    weights = [item for item in items if item.stream is Stream.WEIGHTS]
    result: list[Item] = []
    next_one = 0
    for item in items:
        if item.stream is Stream.WEIGHTS:
            continue
        early = max(item.ready + 2 * plan.set_words, item.needed - item.ready)
        upto = item.ready + min(plan.weight_words, early)
        while next_one < len(weights) and given < upto and weights[next_one].ready <= item.needed:
            run = weights[next_one].run
            words = min(run.words, upto - given)
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
    """Neighbours joined where one goes on where the other ends, waits for nothing more, and one command holds both."""
    result: list[Item] = []
    for item in items:
        last = result[-1] if result else None
        if (
            last is not None and last.stream is item.stream and last.run.wait >= item.run.wait
            and last.run.address + last.run.words == item.run.address
            and last.run.words + item.run.words <= MOST_WORDS
        ):  # fmt: skip
            result[-1] = replace(last, run=replace(last.run, words=last.run.words + item.run.words))
        else:
            result.append(item)
    return result


def _command(item: Item) -> dict[str, int]:
    return {
        "stream": item.stream, "words": item.run.words, "address": item.run.address, "wait": item.run.wait,
    }  # fmt: skip
