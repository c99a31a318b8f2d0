"""Lowering of what acts on each channel by itself: normalisation, batch norm, ReLU and sign."""

from dataclasses import replace

import numpy as np
import torch
from torch import fx, nn

from ...common.errors import UserError
from ...models.layers.binary import Sign
from ...models.layers.normalize import Normalise
from ..fold.assembly import Bits, Pending, Stored
from ..fold.factors import fold_sign
from ..formats import unsigned
from ..program import Threshold
from .graph import argument, numpy_of
from .state import Lowering, Value
from .table import Layer, lowers, lowers_calls

__all__ = ["batch_norm", "normalize", "relu", "relu_call", "sign"]


@lowers(Normalise)
def normalize(lowering: Lowering, layer: Layer) -> Pending:
    """Pixels less their mean, by their deviation: in the factors of what follows."""
    value = lowering.values[layer.source]
    if not isinstance(value, Stored) or value.op != "pixels":
        raise UserError(f"normalisation at {layer.path!r} must be the first layer")
    mean, deviation = numpy_of(layer.module.mean).reshape(-1), numpy_of(layer.module.deviation).reshape(-1)
    return Pending(op=value.op, gain=value.step / deviation, centre=mean / value.step, bias=np.zeros_like(mean))


@lowers(nn.BatchNorm2d, nn.BatchNorm1d)
def batch_norm(lowering: Lowering, layer: Layer) -> Pending:
    """A batch norm, in the gain, centre and bias of the sums in front of it."""
    value, norm = lowering.values[layer.source], layer.module
    if not isinstance(value, Pending) or value.relu or value.residual:
        raise UserError(f"batch norm at {layer.path!r} must follow a convolution directly")
    if norm.running_mean is None or norm.running_var is None:
        raise UserError(f"batch norm at {layer.path!r} has no running statistics")
    deviation = np.sqrt(numpy_of(norm.running_var) + norm.eps)
    gamma = numpy_of(norm.weight) if norm.affine else np.ones_like(deviation)
    beta = numpy_of(norm.bias) if norm.affine else np.zeros_like(deviation)
    mean = numpy_of(norm.running_mean) - value.bias
    constant = value.gain == 0  # behind another batch norm that switched the channel off
    return replace(
        value,
        gain=value.gain * gamma / deviation,
        centre=value.centre + np.divide(mean, value.gain, out=np.zeros_like(mean), where=~constant),
        bias=beta - np.where(constant, mean * gamma / deviation, 0.0),
    )


@lowers(nn.ReLU)
def relu(lowering: Lowering, layer: Layer) -> Value:
    """A ReLU: the requantise behind it gives nothing below zero."""
    return _relu(lowering, layer.node, layer.path, layer.source)


@lowers_calls(torch.relu, nn.functional.relu, "relu")
def relu_call(lowering: Lowering, node: fx.Node) -> Value:
    """As `relu`."""
    return _relu(lowering, node, node.name, argument(node))


def _relu(lowering: Lowering, node: fx.Node, path: str, source: fx.Node) -> Value:
    value = lowering.values[source]
    if isinstance(value, Pending):
        return replace(value, relu=True)
    if isinstance(value, Bits) or lowering.format(value.op).signed:
        raise UserError(f"ReLU at {path!r} must follow a convolution, a batch norm or an addition")
    return lowering.same(node, source)


@lowers(Sign)
def sign(lowering: Lowering, layer: Layer) -> Bits:
    """The sign of each channel, as a threshold of its sums."""
    value = lowering.pending(layer.source)
    if value.relu or value.residual is not None:
        value = lowering.pending_of(lowering.store(layer.source))
    found = fold_sign(
        gain=value.gain, centre=value.centre, bias=value.bias, accumulator=lowering.format(value.op),
        at_zero=layer.module.at_zero,
    )  # fmt: skip
    name = lowering.emit(
        Threshold(
            name=lowering.unique(layer.path), source=value.op, thresholds=found.levels, falling=found.falling,
            format=unsigned(1),
        )
    )  # fmt: skip
    lowering.origins[name] = layer.node.name
    return Bits(op=name)
