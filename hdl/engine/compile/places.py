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
    areas : of each stored tensor
    words : of the whole memory
    """

    descriptors: int
    writes: int
    weights: tuple[int, ...]
    areas: Mapping[str, int]
    words: int


def places(
    plan: EnginePlan, *, reads: int, descriptors: int, writes: int, weights: Sequence[int],
    layouts: Mapping[str, TensorLayout],
) -> Places:  # fmt: skip
    """Places for so many read commands, descriptors, write commands and words of weights of each layer."""
    bits = plan.word_bits
    first_descriptor = reads * READ.words(bits)
    first_write = first_descriptor + descriptors * descriptor_record(plan).words(bits)
    at = first_write + writes * WRITE.words(bits)
    starts = []
    for words in weights:
        starts.append(at)
        at += words
    areas = {}
    for name, layout in layouts.items():
        areas[name] = at
        at += layout.words
    return Places(descriptors=first_descriptor, writes=first_write, weights=tuple(starts), areas=areas, words=at)
