"""Who reads a value of the graph, and on which grid they want it."""

import torch
from torch import fx

from ..fold.scheme import Scheme
from .graph.nodes import is_call
from .graph.weights import is_convolution, weighted

__all__ = ["is_edge", "wanted"]


def is_edge(traced: fx.GraphModule, node: fx.Node, source: str) -> bool:
    """Whether the convolution ``node``, which reads the result of operation ``source``, is the first or the last of the
    network."""
    return source == "pixels" or not _readers(traced, node)[0]


def wanted(traced: fx.GraphModule, node: fx.Node, scheme: Scheme) -> tuple[int, float | None]:
    """Bits of the grid on which the readers of ``node`` want it, and its step where training has settled it."""
    if is_convolution(traced, node):
        readers, joins = [node], False
    else:
        readers, joins = _readers(traced, node)
    bits = [scheme.residual_bits] if joins else []
    steps = []
    for reader in readers:
        layer = weighted(traced, reader)
        if layer.grid is not None:
            steps.append(layer.grid)
        last = not _readers(traced, reader)[0]
        bits.append(scheme.of(layer.path, edge=last))
    if len(steps) == len(readers) == 1:
        return steps[0].format.bits, steps[0].step
    return max(bits, default=scheme.bits), None


def _readers(traced: fx.GraphModule, node: fx.Node) -> tuple[list[fx.Node], bool]:
    """The convolutions that read what ``node`` leads to, and whether an addition does."""
    found, joins = [], False
    follow = list(node.users)
    while follow:
        user = follow.pop()
        if is_convolution(traced, user):
            found.append(user)
            continue
        joins |= is_call(user, torch.ops.aten.add, torch.ops.aten.sub)
        follow.extend(user.users)
    return found, joins
