"""Lowering: a trained torch network and calibration images to an integer Program."""

import json
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from ...common.errors import UserError
from ..fold.assembly import Bits, Pending, Stored
from ..fold.calibrate import Grid
from ..fold.regrid import requantised_once
from ..fold.scheme import Scheme
from ..program import Program
from . import activations, convolutions, joins, moves, pools, shapes  # noqa: F401  they fill the table
from .calibration import Calibration, calibrate
from .graph import argument, tensor
from .state import Lowering
from .table import Layer, lower_function, lower_layer, lower_method

__all__ = ["ORIGINS", "feature_grids", "lower"]

ORIGINS = "origins"
"""Key of a Program's metadata: which value of the float network each operation stands for, as JSON."""


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
    module : built of AdderConv2d, BinaryConv2d, ShiftConv2d, Conv2d, Linear, BatchNorm, ReLU, Sign, Normalise,
        MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), SpatialShift2d, PixelShuffle, Upsample(mode="nearest"), Flatten,
        Unflatten to 1x1, Identity, Dropout, residual additions and concatenations of channels; takes images scaled to
        0..1, ends in (B, classes) scores or in a map (B, C, H, W), which the Program then gives raw
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
    if scheme is None:
        try:
            scheme = Scheme(bits=bits)
        except ValueError as error:
            raise UserError(str(error)) from error
    found = calibration if isinstance(calibration, Calibration) else calibrate(module, calibration, scheme=scheme)
    return _program(Lowering(found, scheme), metadata or {})


def feature_grids(calibration: Calibration, scheme: Scheme) -> dict[str, tuple[Grid | None, int]]:
    """By path of layer: the grid of the features that it reads (None for pixels), and the bits of its weights."""
    lowering = Lowering(calibration, scheme)
    _program(lowering, {})
    return lowering.grids


def _program(lowering: Lowering, metadata: Mapping[str, str]) -> Program:
    """The Program of the whole graph, node by node."""
    for node in lowering.traced.graph.nodes:
        _lower_node(lowering, node)
    try:
        formats = {name: fmt for name, (_, fmt) in lowering.inferred.items()}
        ordered = requantised_once(list(lowering.ops.values()), lowering.steps, formats, terms=lowering.terms)
        lowering.ops = {op.name: op for op in ordered}
        return lowering.assembled({**metadata, ORIGINS: json.dumps(lowering.origins, sort_keys=True)})
    except ValueError as error:
        raise UserError(f"the network does not make a program: {error}") from error


def _lower_node(lowering: Lowering, node: fx.Node) -> None:
    values = lowering.values
    match node.op:
        case "placeholder":
            if values:
                raise UserError(f"the network must take one tensor, the images; it also takes {node.name!r}")
            values[node] = Stored(op="pixels", step=1 / 255)
        case "call_module":
            path = str(node.target)
            module = lowering.traced.get_submodule(path)
            values[node] = lower_layer(lowering, Layer(node=node, path=path, module=module, source=argument(node)))
        case "call_function" if node.target is getattr and node.args[1] == "shape":
            pass  # the batch size of a view
        case "call_function" if node.target is operator.getitem and node.args[0] not in values:
            pass  # of that shape
        case "call_function":
            values[node] = lower_function(lowering, node)
        case "call_method" if node.target == "size":
            pass  # likewise
        case "call_method":
            values[node] = lower_method(lowering, node)
        case "output":
            _end(lowering, node.args[0])
        case _:
            raise UserError(f"unsupported {node.op} {node.target!r} in the network")


def _end(lowering: Lowering, result: Any) -> None:
    """The end of the Program: class scores and their arg-max, or a raw map."""
    node = tensor(result)
    value = lowering.values[node]
    if lowering.shape(value.op)[1:] != (1, 1):
        raw = value if isinstance(value, Bits) else lowering.store(node)
        lowering.origins.setdefault(lowering.ending(raw.op), node.name)
        return
    if not isinstance(value, Pending):
        raise UserError("the network must end in a convolution, a dense layer or their batch norm")
    if value.relu or value.residual is not None:
        raise UserError("class scores must not pass a ReLU or a residual addition")
    lowering.origins[lowering.scores(value).op] = node.name
