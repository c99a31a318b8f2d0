"""Products of tokens: which words of a stored tensor are the weights of a step.

A set has a word for each output channel, or, turned, for each lane of a row. Scores of the tokens j ask for the words
of those tokens, which stand one behind the other. The sums of a context run over tokens, and are asked for by channels
of them: the same words, each of which has a weight of every row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import TensorLayout
from ..plan import EnginePlan
from .reading.layers import EngineLayer

__all__ = ["TokenSet", "token_set", "zeros_of"]


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """Some ``tokens`` of a row of a ``block`` of channels."""

    block: int
    tokens: range


def token_set(layer: EngineLayer, block: int, inner: int, layouts: Mapping[str, TensorLayout]) -> TokenSet:
    """The weights of a ``block`` of outputs of a product of tokens, and of block ``inner`` of its head's inputs."""
    assert layer.other is not None
    source, result = layouts[layer.source], layouts[layer.name]
    head = block // (result.blocks // layer.groups)
    read = head * (source.blocks // layer.groups) + inner
    tokens = (source if layer.turned else result).channels_of(read if layer.turned else block)
    before = head * layouts[layer.other].shape[2]
    return TokenSet(
        block=block if layer.turned else read, tokens=range(tokens.start - before, tokens.stop - before)
    )  # fmt: skip


def zeros_of(layer: EngineLayer, layouts: Mapping[str, TensorLayout], plan: EnginePlan) -> int:
    """Words of 0 that a set of ``layer`` lacks at most."""
    if layer.other is None:
        return 0
    counted = layouts[layer.source if layer.turned else layer.name]
    return max(plan.pout - len(counted.channels_of(block)) for block in range(counted.blocks))
