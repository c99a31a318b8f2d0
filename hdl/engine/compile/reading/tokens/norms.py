"""Layer norms: channels of a token, in the place of sums, with the requantise that a layer norm ends in."""

import numpy as np

from ......common.errors import UserError
from ......quant.ops.window import Window
from ......quant.program import Norm
from ....plan import CHANNEL_BITS, FRACTION_BITS, EnginePlan
from ....records import Unit
from ....vector.widths import NormWidths
from ..layers import EngineLayer, TokenNorm

__all__ = ["normed"]


def normed(op: Norm, source: str, channels: int, plan: EnginePlan) -> EngineLayer:
    """The layer of ``op``, which reads the stored tensor ``source``.

    The product with a reciprocal loses as many bits as the engine's always does: the reciprocal is moved up by what
    ``cut`` has fewer.

    Raises
    ------
    UserError
        for an engine without layer norms, and for fields that are wider than it has.
    """
    if not plan.norms:
        raise UserError(f"the engine has no layer norms, which {op.name!r} is: build it with --norms 4")
    widths, up = NormWidths.of(plan), NormWidths.of(plan).point - op.cut
    values = (op.normalised(channels) << max(up, 0)).bit_length() + 1
    limits = {
        "channels": (channels, (1 << CHANNEL_BITS) - 1),
        "bits of a root behind the point": (op.fraction, (1 << FRACTION_BITS) - 1),
        "bits that a product with a reciprocal loses": (op.cut, widths.point),
        "bits of a normalised value": (values - widths.point, widths.product - widths.point),
    }  # fmt: skip
    for what, (value, most) in limits.items():
        if value > most:
            raise UserError(f"the layer norm {op.name!r} needs {value} {what}; the engine has {most}")
    places = op.reciprocal + 1 + up
    return EngineLayer(
        name=op.name, source=source, unit=Unit.SUM, window=Window(kernel=(1, 1)), pad=op.exponents(channels),
        multiplier=op.multiplier, offset=op.offset, shift=np.full(channels, op.shift),
        residual_multiplier=np.zeros(channels, np.int64), low=op.lo, high=op.hi,
        norm=TokenNorm(
            channels=channels, fraction=op.fraction, eps=op.eps, digits=op.reciprocal + 1, places=places,
            longest=max(places, widths.root.bits),
        ),
    )  # fmt: skip
