"""Networks whose operations are put into the order that hardware wants, with equal results."""

import torch
from torch import fx

from ....models.layers.binary import Sign
from .nodes import argument, is_call, kind_of

__all__ = ["pools_behind_relus"]

aten = torch.ops.aten


def pools_behind_relus(traced: fx.GraphModule) -> fx.GraphModule:
    """A network whose max pools in front of a ReLU or a sign come behind it, where sums have become features: the
    largest of a window is the same before and after what never falls."""
    for pool in list(traced.graph.nodes):
        if not is_call(pool, aten.max_pool2d):
            continue
        relu, source = next(iter(pool.users), None), argument(pool)
        if len(pool.users) != 1 or len(source.users) != 1 or relu is None:
            continue
        if not is_call(relu, aten.relu) and kind_of(traced, relu) is not Sign:
            continue
        relu.replace_all_uses_with(pool)
        pool.replace_input_with(source, relu)
        relu.replace_input_with(pool, source)
        pool.prepend(relu)
    traced.graph.lint()
    traced.recompile()
    return traced
