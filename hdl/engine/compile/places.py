"""Where everything stands in the memory of an engine: commands first, then what they point to, tensors last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..layout import TensorLayout
from ..plan import EnginePlan
from ..records import READ, WRITE, descriptor_record

__all__ = ["BLOCK_COMMANDS", "Places", "places"]

BLOCK_COMMANDS = 16
"""Read commands that are fetched together; the first command of a block fetches the next block."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """First words of all parts.

    Attributes
    ----------
    weights : of each layer
    zeros : words of 0
    areas : of each stored tensor, constants included
    words : of the whole memory
    """

    descriptors: int
    writes: int
    weights: tuple[int, ...]
    zeros: int
    areas: Mapping[str, int]
    words: int


def places(
    plan: EnginePlan, *, reads: int, descriptors: int, writes: int, weights: Sequence[int],
    layouts: Mapping[str, TensorLayout], readers: Mapping[str, int], zeros: int = 0,
    constants: Mapping[str, TensorLayout] | None = None,
) -> Places:  # fmt: skip
    """Places for so many read commands, descriptors, write commands and words of weights of each layer.

    Parameters
    ----------
    layouts : of the stored tensors: the input, then the result of every layer in order
    readers : the layer, by its number, behind which a tensor may be overwritten; none for those that stay
    zeros : how many words of 0
    constants : layouts of tensors that are there before a run
    """
    bits = plan.word_bits
    first_descriptor = reads * READ.words(bits)
    first_write = first_descriptor + descriptors * descriptor_record(plan).words(bits)
    at = first_write + writes * WRITE.words(bits)
    starts = []
    for words in weights:
        starts.append(at)
        at += words
    begin, held = at + zeros, {}
    for name, layout in (constants or {}).items():
        held[name] = begin
        begin += layout.words
    areas = _areas(begin, layouts, readers)
    end = max(first + layouts[name].words for name, first in areas.items())
    return Places(
        descriptors=first_descriptor, writes=first_write, weights=tuple(starts), zeros=at, areas=areas | held, words=end
    )


def _areas(begin: int, layouts: Mapping[str, TensorLayout], readers: Mapping[str, int]) -> dict[str, int]:
    """The lowest place for each tensor where none stands that is still read when its layer writes it."""
    areas: dict[str, int] = {}
    for number, (name, layout) in enumerate(layouts.items()):
        layer = number - 1
        taken = sorted(
            (first, first + layouts[other].words) for other, first in areas.items()
            if other not in readers or readers[other] >= layer
        )  # fmt: skip
        at = begin
        for first, end in taken:
            if at + layout.words <= first:
                break
            at = max(at, end)
        areas[name] = at
    return areas
