"""Lowering of what acts on each channel by itself: normalisation, batch norm, ReLU, clamps and sign."""

from dataclasses import replace

import numpy as np
import torch
from torch import fx, nn

from ....common.errors import UserError
from ....models.layers.binary import Sign
from ....models.layers.normalize import Normalise
from ...fold.assembly import Bits, Pending, Stored
from ...fold.factors import fold_sign
from ...fold.slopes import Bend
from ...formats import unsigned
from ...program import Threshold
from ..graph.nodes import Floats, constant, is_call, kind_of, numpy_of, said
from ..state import Curve, Lowering, MaskedScores, Value
from .curves import behind
from .joins import shortcut
from .table import Call, lowers, refused

__all__ = ["batch_norm", "clamp", "hardtanh", "leaky_relu", "normalize", "prelu", "relu", "relu6", "sign"]

aten = torch.ops.aten


@lowers(Normalise)
def normalize(lowering: Lowering, call: Call) -> Pending:
    """Pixels less their mean, by their deviation: in the factors of what follows."""
    value = lowering.values[call.source]
    if not isinstance(value, Stored) or value.op != "pixels":
        raise UserError(f"normalisation at {call.path!r} must be the first layer")
    mean, deviation = numpy_of(call.module.mean).reshape(-1), numpy_of(call.module.deviation).reshape(-1)
    return Pending(op=value.op, gain=value.step / deviation, centre=mean / value.step, bias=np.zeros_like(mean))


@lowers(aten.batch_norm)
def batch_norm(lowering: Lowering, call: Call) -> Pending:
    """A batch norm, in the gain, centre and bias of the sums in front of it."""
    value, given = lowering.values[call.source], call.given
    if isinstance(value, Curve):
        value = lowering.pending(call.source)
    if not isinstance(value, Pending) or not value.open:
        raise UserError(
            f"batch norm at {call.path!r} must follow a convolution directly, or an activation such as SiLU"
        )
    mean_of, variance = (constant(lowering.traced, given[name]) for name in ("running_mean", "running_var"))
    if mean_of is None or variance is None:
        raise UserError(f"batch norm at {call.path!r} has no running statistics")
    weight, shift = (constant(lowering.traced, given[name]) for name in ("weight", "bias"))
    deviation = np.sqrt(numpy_of(variance) + given["eps"])
    gamma = numpy_of(weight) if weight is not None else np.ones_like(deviation)
    beta = numpy_of(shift) if shift is not None else np.zeros_like(deviation)
    deviation, gamma, beta, mean = (
        np.repeat(values, value.shuffle**2) for values in (deviation, gamma, beta, numpy_of(mean_of))
    )
    if value.bend is not None:
        return replace(value, bend=value.bend.then(gamma / deviation, beta - mean * gamma / deviation))
    mean = mean - value.bias
    constant_channel = value.gain == 0  # behind another batch norm that switched the channel off
    return replace(
        value,
        gain=value.gain * gamma / deviation,
        centre=value.centre + np.divide(mean, value.gain, out=np.zeros_like(mean), where=~constant_channel),
        bias=beta - np.where(constant_channel, mean * gamma / deviation, 0.0),
    )


@lowers(aten.relu, layouts="each")
def relu(lowering: Lowering, call: Call) -> Value:
    """A ReLU: the requantise behind it gives nothing below zero."""
    return _clamped(lowering, call, 0.0, None)


@lowers(aten.relu6, layouts="each")
def relu6(lowering: Lowering, call: Call) -> Value:
    """A ReLU that gives at most 6."""
    return _clamped(lowering, call, 0.0, 6.0)


@lowers(aten.hardtanh, layouts="each")
def hardtanh(lowering: Lowering, call: Call) -> Value:
    """A clamp; nn.ReLU6 is one."""
    return _clamped(lowering, call, float(call.given["min_val"]), float(call.given["max_val"]))


@lowers(aten.clamp, aten.clamp_min, aten.clamp_max, aten.clip, layouts="each")
def clamp(lowering: Lowering, call: Call) -> Value:
    """A clamp between two numbers, or on one side."""
    ends = [call.given.get(name) for name in ("min", "max")]
    if not all(end is None or isinstance(end, int | float) for end in ends):
        raise refused(call.node)
    floor, ceiling = (None if end is None else float(end) for end in ends)
    return _clamped(lowering, call, floor, ceiling)


def _clamped(lowering: Lowering, call: Call, floor: float | None, ceiling: float | None) -> Value:
    """What ``call`` keeps within ``floor..ceiling``."""
    if floor is not None and ceiling is not None and floor >= ceiling:
        raise UserError(f"clamp at {said(call.node)} keeps nothing: its bounds are {floor:g} and {ceiling:g}")
    value = lowering.values[call.source]
    if isinstance(value, Curve):
        return behind(lowering, call.source, lambda x: np.clip(x, floor, ceiling))
    only_relu = (floor, ceiling) == (0.0, None)
    if not isinstance(value, Pending):
        if isinstance(value, Bits) and only_relu:
            raise UserError(f"ReLU at {call.path!r} must follow a convolution, a batch norm or an addition")
        if only_relu and not isinstance(value, MaskedScores) and not lowering.format(value.op).signed:
            return lowering.same(call.node, call.source)
        value = lowering.pending(call.source)
    if only_relu and not value.clamped and value.bend is None:
        return replace(value, relu=True)
    low = _within(0.0 if value.relu and value.floor is None else value.floor, floor, ceiling, otherwise=floor)
    high = _within(value.ceiling, floor, ceiling, otherwise=ceiling)
    return replace(value, relu=low is not None and low >= 0, floor=low, ceiling=high)


def _within(
    end: float | None, floor: float | None, ceiling: float | None, *, otherwise: float | None
) -> float | None:  # fmt: skip
    """An end of what is clamped already, once more clamped to ``floor..ceiling``; ``otherwise`` where it had none."""
    if end is None:
        return otherwise
    end = end if floor is None else max(end, floor)
    return end if ceiling is None else min(end, ceiling)


@lowers(aten.leaky_relu, layouts="each")
def leaky_relu(lowering: Lowering, call: Call) -> Value:
    """A ReLU with a second slope, a number."""
    return _bent(lowering, call, np.array([float(call.given["negative_slope"])]))


@lowers(aten.prelu)
def prelu(lowering: Lowering, call: Call) -> Value:
    """A ReLU with a second slope, of all channels or of each."""
    weight = constant(lowering.traced, call.given["weight"])
    if weight is None:
        raise refused(call.node)
    return _bent(lowering, call, numpy_of(weight).reshape(-1))


def _bent(lowering: Lowering, call: Call, slope: Floats) -> Value:
    """What ``call`` multiplies by ``slope`` (1,) or (C,) below zero."""
    value = lowering.values[call.source]
    if isinstance(value, Stored) and not lowering.format(value.op).signed:
        return lowering.same(call.node, call.source)
    if not isinstance(value, Pending) or not value.affine:
        value = lowering.pending_of(lowering.store(call.source))
    channels = len(value.gain)
    return replace(value, bend=Bend.of(np.repeat(slope, channels // len(slope))))


def _joins(lowering: Lowering, node: fx.Node) -> bool:
    """Whether an addition reads ``node`` as it is: a sign then reads what is stored for that."""
    return any(
        is_call(user, aten.add, aten.sub) or (kind_of(lowering.traced, user) is nn.Identity and _joins(lowering, user))
        for user in node.users
    )


@lowers(Sign, layouts="each")
def sign(lowering: Lowering, call: Call) -> Bits:
    """The sign of each channel, as a threshold of its sums; where others read them, too, of what is stored for those:
    sums have one reader."""
    value = lowering.pending(call.source)
    straight = value.open and (value.bend is None or value.bend.monotonous)
    if not straight or value.shuffle > 1 or not lowering.alone(call.source):
        stored = shortcut(lowering, call.source) if _joins(lowering, call.source) else lowering.store(call.source)
        value = lowering.pending_of(stored)
    found = fold_sign(
        gain=value.gain, centre=value.centre, bias=value.bias, accumulator=lowering.format(value.op),
        at_zero=call.module.at_zero, bend=value.bend,
    )  # fmt: skip
    name = lowering.emit(
        Threshold(
            name=lowering.unique(call.path), source=value.op, thresholds=found.levels, falling=found.falling,
            format=unsigned(1),
        )
    )  # fmt: skip
    lowering.origins[name] = call.node.name
    return Bits(op=name)
