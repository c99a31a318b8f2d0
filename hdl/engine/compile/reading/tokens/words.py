"""Moves that leave words whole: what they make is not stored, but read as words of other tensors in another order."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ......common.errors import UserError
from ......quant.program import Concat, Constant, Program, Rearrange, Slice
from ....layout import TensorLayout, blocks_of
from ....plan import EnginePlan
from ..layers import BlockRange, Ints, WordMove
from .heads import blocks_up_to, head_sizes, moved_values

__all__ = ["TensorViews", "word_move"]


def _stored_words(name: str, layout: TensorLayout) -> WordMove:
    """A stored tensor as words of itself."""
    _, height, width = layout.shape
    pixel = np.arange(layout.blocks * height * width).reshape(layout.blocks, height, width)
    return WordMove(tensors=(name,), tensor=np.zeros_like(pixel), pixel=pixel)


def _joined_blocks(parts: Sequence[WordMove]) -> WordMove:
    """Blocks of several tensors one behind the other."""
    tensors = tuple(name for part in parts for name in part.tensors)
    first = np.cumsum([0, *(len(part.tensors) for part in parts)])
    return WordMove(
        tensors=tensors, tensor=np.concatenate([part.tensor + at for part, at in zip(parts, first, strict=False)]),
        pixel=np.concatenate([part.pixel for part in parts]),
    )  # fmt: skip


def word_move(
    op: Concat | Rearrange | Slice, sources: Sequence[WordMove], layouts: Sequence[TensorLayout], result: TensorLayout
) -> WordMove:
    """What ``op`` makes of ``sources``, as words of the stored tensors that those are words of.

    Raises
    ------
    UserError
        where a word of the result is no word that there is.
    """
    lanes, whole = result.channels, _joined_blocks([_in_line(source) for source in sources])
    begins = np.cumsum([0, *(source.pixel.size for source in sources)])
    numbers = [_numbers(layout) + begin * lanes for layout, begin in zip(layouts, begins, strict=False)]
    held = np.concatenate([
        np.repeat([len(layout.channels_of(block)) for block in range(layout.blocks)], layout.shape[1] * layout.shape[2])
        for layout in layouts
    ])  # fmt: skip
    moved, found = moved_values(op, numbers), []
    for block in range(result.blocks):
        channels = result.channels_of(block)
        own = moved[channels.start : channels.stop]
        word = own[0] // lanes
        if (own != word * lanes + np.arange(len(own))[:, None, None]).any() or (held[word] != len(own)).any():
            raise UserError(
                f"the engine moves whole words of up to {lanes} channels of a pixel, which {op.name!r} takes apart"
            )
        found.append(word)
    words = np.array(found)
    return WordMove(tensors=whole.tensors, tensor=whole.tensor.reshape(-1)[words], pixel=whole.pixel.reshape(-1)[words])


def _in_line(move: WordMove) -> WordMove:
    return WordMove(tensors=move.tensors, tensor=move.tensor.reshape(-1, 1, 1), pixel=move.pixel.reshape(-1, 1, 1))


def _numbers(layout: TensorLayout) -> Ints:
    """(C, H, W): of each element the number of its word times the lanes, and its lane."""
    _, height, width = layout.shape
    places = [block * height * width * layout.channels + lane for block in range(layout.blocks)
              for lane in range(len(layout.channels_of(block)))]  # fmt: skip
    return np.array(places)[:, None, None] + np.arange(height * width).reshape(height, width) * layout.channels


class TensorViews:
    """What layers read beside results of others: tensors that are joined, cut and moved, and constants.

    Attributes
    ----------
    joined, moves, constants : see `EngineNetwork`
    sizes : channels of a part, see `parts`
    stored : the name of the stored tensor, or the view, behind a name of the Program
    """

    def __init__(self, program: Program, plan: EnginePlan, stored: Callable[[str], str]):
        self.program, self.plan, self.stored = program, plan, stored
        self.joined: dict[str, tuple[BlockRange, ...]] = {}
        self.moves: dict[str, WordMove] = {}
        self.constants: dict[str, Ints] = {}
        self.sizes = head_sizes(program, plan)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all of them."""
        return (*self.joined, *self.moves, *self.constants)

    def parts(self, name: str) -> tuple[BlockRange, ...]:
        """The blocks of a stored tensor or of a view."""
        stored = self.stored(name)
        if stored in self.joined:
            return self.joined[stored]
        channels, part = self.program.shape(stored)[0], self.sizes.get(stored, 0)
        blocks = blocks_of(channels, self.plan.channels) if not part else blocks_up_to(channels, part, self.plan)
        assert blocks is not None
        return (BlockRange(tensor=stored, first=0, blocks=blocks),)

    def join(self, op: Concat) -> None:
        """Blocks of several tensors, which are read one behind the other and are not stored again."""
        if op.axis != "C":
            self.move(op)
            return
        parts: list[BlockRange] = []
        for source in op.sources:
            begins = blocks_up_to(self._begins(op, source), self.sizes.get(op.name, 0), self.plan)
            if sum(part.blocks for part in parts) != begins:
                raise UserError(
                    f"the engine joins whole blocks of {self.plan.channels} channels: in {op.name!r} {source!r} does "
                    "not begin with one"
                )
            parts += self.parts(source)
        self.joined[op.name] = tuple(parts)

    def _begins(self, op: Concat, source: str) -> int:
        """Channels that stand in front of ``source``."""
        before = op.sources[: op.sources.index(source)]
        return sum(self.program.shape(name)[0] for name in before)

    def cut(self, op: Slice) -> None:
        """Whole blocks of channels of a tensor, or some of its rows or columns."""
        if op.axis != "C":
            self.move(op)
            return
        word, channels, size = self.plan.channels, self.program.shape(op.source)[0], self.sizes.get(op.source, 0)
        begin, end = (blocks_up_to(at, size, self.plan) for at in (op.start, op.stop))
        if end is None and op.stop == channels:
            end = blocks_of(channels, word)
        if op.step != 1 or begin is None or end is None:
            whole = f"heads of {size}" if size else f"blocks of {word}"
            raise UserError(f"the engine cuts whole {whole} channels only, which {op.name!r} does not")
        first, left, parts = begin, end - begin, []
        for part in self.parts(op.source):
            skipped = min(first, part.blocks)
            taken = min(part.blocks - skipped, left)
            if taken:
                parts.append(replace(part, first=part.first + skipped, blocks=taken))
            first, left = first - skipped, left - taken
        self.joined[op.name] = tuple(parts)

    def keep(self, op: Constant) -> None:
        """A tensor that stands in memory before a run."""
        self.constants[op.name] = op.value

    def move(self, op: Concat | Rearrange | Slice) -> None:
        """Words of other tensors, which are read where they stand."""
        names = [self.stored(source) for source in op.sources]
        for name, source in zip(names, op.sources, strict=True):
            if self.program.shape(name) != self.program.shape(source):
                raise UserError(f"the engine moves no words of what is flattened, as {op.name!r} does of {source!r}")
        layouts = [self._layout(name) for name in names]
        self.moves[op.name] = word_move(op, [self._words(name) for name in names], layouts, self._layout(op.name))

    def _layout(self, name: str) -> TensorLayout:
        shape, fmt = self.program.shape(name), self.program.format(name)
        return TensorLayout(
            shape=shape, format=fmt, channels=self.plan.channels, bits=self.plan.bits, head=self.sizes.get(name, 0)
        )  # fmt: skip

    def _words(self, name: str) -> WordMove:
        """Where the words of a stored tensor, a view or a move stand."""
        if name in self.moves:
            return self.moves[name]
        if name not in self.joined:
            return _stored_words(name, self._layout(name))
        parts = []
        for part in self.joined[name]:
            whole, blocks = self._words(part.tensor), slice(part.first, part.first + part.blocks)
            parts.append(replace(whole, tensor=whole.tensor[blocks], pixel=whole.pixel[blocks]))
        return _joined_blocks(parts)
