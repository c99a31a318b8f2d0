"""Lowering: a trained torch network and calibration images to an integer Program."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...common.errors import UserError
from ..fold.assembly import Bits, Pending, Stored
from ..fold.calibrate import Grid
from ..fold.regrid import requantised_once
from ..fold.scheme import Scheme, chosen_scheme
from ..ops.ends import PIXEL
from ..program import Program
from .aten import (  # noqa: F401  they fill the table
    activations,
    choices,
    convolutions,
    curves,
    factors,
    joins,
    moves,
    pads,
    pools,
    shapes,
)  # fmt: skip
from .aten.choices import left_to_readers
from .aten.table import lower_call
from .aten.tokens import attention, norm  # noqa: F401  they, too
from .aten.tokens.places import tokens_of
from .calibration import Calibration, calibrate
from .graph.nodes import argument, constant, given, is_call, name_of, path_of, said, sizes, tensor
from .layout import Layout
from .state import PIXEL_STEP, Lowering

__all__ = ["ARRANGEMENTS", "ORIGINS", "feature_grids", "lower"]

ORIGINS = "origins"
"""Key of a Program's metadata: which value of the float network each operation stands for, as JSON."""
ARRANGEMENTS = "arrangements"
"""Key of a Program's metadata: into which sizes the result of an operation is cut, and in which order the float value
has them, 0 the images, 1 the first of the sizes, as JSON; only of tensors that are no maps."""
aten = torch.ops.aten
_MONOTONOUS = (aten.softmax, aten.log_softmax, aten.sigmoid)
"""What leaves the order of scores as it is."""


def lower(
    module: nn.Module,
    calibration: NDArray[np.uint8] | Calibration,
    *,
    bits: int = 8,
    scheme: Scheme | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Program:
    """Quantise a trained network after training, with one scale shared by the weights and features of adder layers.

    Parameters
    ----------
    module : built of what `aten.table` lowers, as layers or as functions: AdderConv2d, BinaryConv2d, ShiftConv2d,
        convolutions and dense layers, batch norm, ReLU and other clamps, Sign, Normalise, pools, means over the map,
        SpatialShift2d, PixelShuffle, nearest upsampling, views that flatten, additions, constant factors, zero pads
        and concatenations of channels, functions of every value by itself (SiLU, GELU, sigmoid, ..), products of two
        maps or of a map and a gate, sums and maxima of channels, choices by an argmax of channels, layer norms,
        products of two tensors and softmaxes, as of attention, views and transpositions; takes images scaled to 0..1,
        ends in (B, classes) scores or in a map (B, C, H, W), which the Program then gives raw. A softmax,
        log-softmax or sigmoid at its end is left out.
    calibration : (N, C, H, W) uint8 images from the training split, or what `calibrate` made of them, when the same
        network is lowered several times
    bits : 2..16, of features and weights; short for ``scheme=Scheme(bits=bits)``
    scheme : every other choice

    Raises
    ------
    UserError
        bits out of range, NaN or infinite weights, an unsupported layer (named with its path), calibration images that
        are no unsigned bytes, all alike or white, factors that no multiplier holds.
    """
    scheme = scheme or chosen_scheme(bits=bits)
    found = calibration if isinstance(calibration, Calibration) else calibrate(module, calibration, scheme=scheme)
    return _program(Lowering(found, scheme), metadata or {})


def feature_grids(calibration: Calibration, scheme: Scheme) -> dict[str, tuple[Grid | None, int]]:
    """For each layer, by path: the grid of the features that it reads (None for pixels), the bits of its weights."""
    lowering = Lowering(calibration, scheme)
    _program(lowering, {})
    return lowering.grids


def _program(lowering: Lowering, metadata: Mapping[str, str]) -> Program:
    """The Program of the whole graph, node by node."""
    end, left_out = _scores(lowering)
    unread = _unread(lowering.traced)
    for node in lowering.traced.graph.nodes:
        if node not in left_out and node not in unread and not left_to_readers(node):
            _lower_node(lowering, node, end)
    try:
        formats = {name: fmt for name, (_, fmt) in lowering.inferred.items()}
        ordered = requantised_once(
            list(lowering.ops.values()), lowering.steps, formats, terms=lowering.terms, values=lowering.functions
        )
        lowering.ops = {op.name: op for op in ordered}
        said = {ORIGINS: json.dumps(lowering.origins, sort_keys=True)}
        if lowering.arrangements:
            said[ARRANGEMENTS] = json.dumps(lowering.arrangements, sort_keys=True)
        return lowering.assembled({**metadata, **said})
    except ValueError as error:
        raise UserError(f"the network does not make a program: {error}") from error


def _unread(traced: fx.GraphModule) -> set[fx.Node]:
    """Tensors of which nothing but the shape is read."""
    found: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        readers = [user for user in node.users if not isinstance(user.meta.get("val"), int | torch.SymInt)]
        alone = all(user in found or constant(traced, user) is not None for user in readers)
        if node.op.startswith("call_") and node.users and alone:
            found.add(node)
    return found


def _scores(lowering: Lowering) -> tuple[fx.Node, list[fx.Node]]:
    """The node whose values are the result, and those behind it that are left out and said: a softmax or sigmoid at
    the end."""
    output = next(node for node in lowering.traced.graph.nodes if node.op == "output")
    node = tensor(output.args[0])
    chain, left_out = [node], 0
    if lowering.scheme.result == "pixels":  # of an image not the order counts, but every value
        return node, []
    while len(node.users) == 1 and is_call(node, *_MONOTONOUS, aten.squeeze, aten.flatten, aten.view, aten.reshape):
        if is_call(node, *_MONOTONOUS):
            if given(node).get("dim", 1) not in (1, 1 - len(sizes(node))):
                break
            left_out = len(chain)
            what = "scores are" if len(sizes(node)) == 2 else "the result is"
            lowering.note(f"{name_of(node)} at {path_of(node)!r} is left out: {what} what it reads, in the same order")
        node = argument(node)
        chain.append(node)
    return chain[left_out], chain[:left_out]


def _lower_node(lowering: Lowering, node: fx.Node, end: fx.Node) -> None:
    values = lowering.values
    match node.op:
        case "placeholder":
            if values:
                raise UserError(f"the network must take one tensor, the images; it also takes {node.name!r}")
            values[node] = Stored(op="pixels", step=PIXEL_STEP)
        case "call_function" if constant(lowering.traced, node) is not None:
            pass  # their readers look it up
        case "call_module" | "call_function" if isinstance(node.meta.get("val"), Tensor):
            values[node] = lower_call(lowering, node)
        case "output":
            _end(lowering, end)
        case _:
            pass  # constants and sizes, which their readers look up


def _as_pixels(lowering: Lowering, value: Stored | Bits) -> Stored:
    """``value`` on the grid of pixels, where it is not yet: whatever else read it wanted another."""
    if isinstance(value, Stored) and (lowering.format(value.op), value.step) == (PIXEL, PIXEL_STEP):
        return value
    return lowering.requantise(lowering.unique("image"), lowering.pending_of(value), PIXEL_STEP, PIXEL)


def _check_images(lowering: Lowering, node: fx.Node) -> None:
    if not lowering.layout(node).keeps_images:
        shape = "x".join(str(n) if isinstance(n, int) else "batch" for n in sizes(node))
        raise UserError(f"the network must keep the batch: it makes {shape}, of which no dimension is the images alone")


def _as_tokens(lowering: Lowering, node: fx.Node, raw: Stored | Bits) -> Stored | Bits:
    """A raw result that is no map, with its last dimension in the channels."""
    layout = lowering.layout(node)
    place = layout.as_map if len(layout.dims) == 4 else tokens_of(layout, layout.dims[-1])
    if place is None or len(layout.dims) > 4:
        raise UserError(f"the network must end in scores, a map or tokens, not in {len(layout.dims)} dimensions")
    lowering.layouts[node] = Layout(dims=layout.dims, place=place)
    found = lowering.arranged(raw, layout, place)
    if found != raw:
        lowering.stands_for(found.op, node)
    return found


def _end(lowering: Lowering, node: fx.Node) -> None:
    """The end of the Program: class scores and their arg-max, or a raw map."""
    _check_images(lowering, node)
    value = lowering.values[node]
    if lowering.shape_of(node)[1:] != (1, 1):
        raw = value if isinstance(value, Bits) else lowering.store(node)
        if lowering.scheme.result == "pixels":
            raw = _as_pixels(lowering, raw)
        if node in lowering.layouts:
            raw = _as_tokens(lowering, node, raw)
        lowering.origins.setdefault(lowering.ending(raw.op), node.name)
        return
    if is_call(node, aten.argmax):
        raise UserError(f"argmax at {said(node)} must be left out: a Program of class scores ends in one of its own")
    if not isinstance(value, Pending):
        raise UserError("the network must end in a convolution, a dense layer or their batch norm")
    if value.relu or value.residual is not None:
        raise UserError("class scores must not pass a ReLU or a residual addition")
    lowering.origins[lowering.scores(value).op] = node.name
