"""Who reads a value of the graph, and on which grid they want it."""

import torch
from torch import fx

from ..fold.scheme import Scheme
from .graph.nodes import constant, is_call
from .graph.weights import is_convolution, weighted

__all__ = ["POINTWISE", "is_edge", "is_result", "wanted"]

aten = torch.ops.aten
POINTWISE = (
    aten.silu, aten.gelu, aten.sigmoid, aten.hardswish, aten.hardsigmoid, aten.tanh, aten.mish, aten.elu, aten.celu,
    aten.selu, aten.softplus, aten.log_sigmoid, aten.exp, aten.erf, aten.sin, aten.cos, aten.abs,
    aten.square, aten.hardshrink, aten.softshrink,
)  # fmt: skip
"""What is computed of every value by itself, and has one whatever it reads."""
_NEW_GRIDS = (aten.layer_norm, aten.softmax, aten.matmul, aten.bmm, torch.ops.addax.adder_scores)
"""What gives other values than it reads, whatever the grid of those."""
_MOVES = (
    aten.pixel_shuffle, aten.upsample_nearest2d, aten._upsample_nearest_exact2d, aten.clone, aten.contiguous,
    aten.detach, aten.alias,
)  # fmt: skip
"""What gives pixels as they are, in other places."""


def is_edge(traced: fx.GraphModule, node: fx.Node, source: str) -> bool:
    """Whether the convolution ``node``, which reads the result of operation ``source``, is the first or the last of the
    network."""
    return source == "pixels" or not _readers(traced, node)[0]


def is_result(node: fx.Node) -> bool:
    """Whether ``node`` is what the network gives, or only moved to become that."""
    return bool(node.users) and all(
        user.op == "output" or (is_call(user, *_MOVES) and is_result(user)) for user in node.users
    )


def wanted(traced: fx.GraphModule, node: fx.Node, scheme: Scheme) -> tuple[int, float | None]:
    """Bits of the grid on which the readers of ``node`` want it, and its step where training has settled it."""
    if is_convolution(traced, node):
        readers, joins = [(node, True)], False
    else:
        readers, joins = _readers(traced, node)
    bits = [scheme.residual_bits] if joins else []
    steps = []
    for reader, direct in readers:
        layer = weighted(traced, reader)
        if layer.grid is not None and direct:
            steps.append(layer.grid)
        last = not _readers(traced, reader)[0]
        bits.append(scheme.of(layer.path, edge=last))
    if len(steps) == len(readers) == 1:
        return steps[0].format.bits, steps[0].step
    return max(bits, default=scheme.bits), None


def _readers(traced: fx.GraphModule, node: fx.Node) -> tuple[list[tuple[fx.Node, bool]], bool]:
    """The convolutions that read what ``node`` leads to, each with whether it does so on the grid of ``node``, and
    whether an addition does."""
    found, joins = [], False
    follow = [(user, True) for user in node.users]
    seen: set[tuple[fx.Node, bool]] = set()
    while follow:
        user, direct = follow.pop()
        if (user, direct) in seen:
            continue
        seen.add((user, direct))
        if is_convolution(traced, user):
            found.append((user, direct))
            continue
        if is_call(user, aten.argmax):
            continue  # it gives numbers of channels, which are on no grid
        joins |= is_call(user, aten.add, aten.sub)
        direct = direct and not is_call(user, *POINTWISE, *_NEW_GRIDS) and not _multiplies(traced, user)
        follow.extend((other, direct) for other in user.users)
    return found, joins


def _multiplies(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether ``node`` is a product of two tensors of the images."""
    return is_call(node, aten.mul) and not any(constant(traced, value) is not None for value in node.args)
