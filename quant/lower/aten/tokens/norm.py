"""Lowering of layer norms, over the last dimensions of a tensor, which come into its channels."""

import numpy as np
import torch

from .....common.errors import UserError
from ....fold.assembly import Stored
from ....fold.calibrate import Grid
from ....fold.tokens import norm_of
from ....formats import Format, signed
from ....program import Norm, infer
from ...graph.nodes import Floats, constant, numpy_of, path_of, said
from ...layout import Layout
from ...readers import wanted
from ...state import Lowering
from ..joins import shortcut
from ..table import Call, lowers, refused
from .places import tokens_of

__all__ = ["layer_norm"]

aten = torch.ops.aten
_MOST_READ_BITS = 12
"""Of what a norm reads: as many as a table, and few enough that squares of wide tokens fit."""
_LEAST_MADE_BITS = 8


@lowers(aten.layer_norm, layouts="any")
def layer_norm(lowering: Lowering, call: Call) -> Stored:
    """A norm over the channels of each token, on the grid that its readers want."""
    count, layout = len(call.given["normalized_shape"]), lowering.layout(call.source)
    channels = tuple(axis for group in layout.dims[-count:] for axis in group)
    if not channels:
        raise UserError(f"layer norm at {said(call.node)} must be over more than one number")
    place = tokens_of(layout, channels)
    lowering.lay(call.node, Layout(dims=layout.dims, place=place))
    read = lowering.arranged(_read(lowering, call), layout, place)
    weight, shift = (_factor(lowering, call, name) for name in ("weight", "bias"))
    size = lowering.shape(read.op)[0]
    gamma, beta = np.ones(size) if weight is None else weight, np.zeros(size) if shift is None else shift
    name = lowering.emit(_fitting(lowering, call, read, gamma, beta))
    step = _step(lowering, call, lowering.format(name))
    lowering.steps[name] = step
    lowering.stands_for(name, call.node)
    return Stored(op=name, step=step)


def _read(lowering: Lowering, call: Call) -> Stored:
    """What a norm reads: as an addition would, whose sum it mostly is, with more bits than features need."""
    stored = shortcut(lowering, call.source)
    fmt = lowering.format(stored.op)
    if fmt.bits <= _MOST_READ_BITS:
        return stored
    narrow = Format(bits=_MOST_READ_BITS, signed=fmt.signed)
    step = lowering.ranges.step(lowering.root(call.source).name, narrow, lowering.scheme)
    return lowering.requantise(lowering.unique(f"{stored.op}_narrow"), lowering.pending_of(stored), step, narrow)


def _fitting(lowering: Lowering, call: Call, read: Stored, gamma: Floats, beta: Floats) -> Norm:
    """The norm of as many bits as its readers want, or of the most whose steps fit into 62 bits."""
    bits, _ = wanted(lowering.traced, call.node, lowering.scheme)
    grid = Grid(format=lowering.format(read.op), step=read.step)
    name = lowering.unique(path_of(call.node))
    for fewer in range(bits, min(bits, _LEAST_MADE_BITS) - 1, -1):
        made = Grid(format=signed(fewer), step=_step(lowering, call, signed(fewer)))
        op = norm_of(name, read.op, grid, made, gamma, beta, float(call.given["eps"]))
        try:
            infer(op, lowering.inferred)
        except ValueError as error:
            fault = error
            continue
        if fewer < bits:
            lowering.note(f"{name}: of {fewer} bits, not {bits}, for what lies between its roundings is too wide")
        return op
    raise UserError(f"layer norm at {said(call.node)}: {fault}") from fault


def _step(lowering: Lowering, call: Call, fmt: Format) -> float:
    bits, step = wanted(lowering.traced, call.node, lowering.scheme)
    if step is not None and bits == fmt.bits:
        return step
    return lowering.ranges.step(call.node.name, fmt, lowering.scheme)


def _factor(lowering: Lowering, call: Call, name: str) -> Floats | None:
    """A factor or term of each channel; None where there is none."""
    if call.given[name] is None:
        return None
    found = constant(lowering.traced, call.given[name])
    if found is None:
        raise refused(call.node)
    return numpy_of(found).reshape(-1)
