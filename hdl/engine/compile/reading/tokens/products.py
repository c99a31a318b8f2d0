"""Products of tokens, as layers: the tokens of one stored tensor pass by the lanes, those of the other are weights."""

import numpy as np

from ......common.errors import UserError
from ......quant.formats import Format, signed
from ......quant.ops.window import Window
from ......quant.program import MatMul, Requantise
from ....plan import WIDEST, EnginePlan
from ....records import Unit
from ..layers import EngineLayer, EngineNetwork
from ..operands import check_lanes
from ..slopes import of_sums, second_slope

__all__ = ["check_fillers", "check_tokens", "tokens_layer"]


def check_tokens(op: MatMul, other: Format, plan: EnginePlan) -> None:
    """Refuse a product of tokens that the engine does not have, by name; ``other`` is the format of its weights."""
    if not plan.matmul:
        raise UserError(f"the engine multiplies no tokens, as {op.name!r} does: build it with --matmul")
    check_lanes(op.name, op.kernel, plan)
    weights = signed(plan.bits)
    if op.kernel == "mult" and other.hi > weights.hi:
        advice = "build it with --bits 16" if other.bits < WIDEST else f"no engine reads more than {WIDEST} bits"
        raise UserError(
            f"{op.name!r} multiplies by tokens of {op.other!r}, which has {other}; the lanes' weights have {weights}; "
            f"{advice}"
        )


def check_fillers(network: EngineNetwork, plan: EnginePlan) -> None:
    """Refuse products of tokens whose operands have channels that are never 0 where those fill no whole blocks: what
    fills them up counts, too, and is clamped as they are."""
    makers = {layer.name: layer for layer in network.layers}
    for layer in network.layers:
        for name in (layer.source, layer.other) if layer.other is not None else ():
            size = network.heads.get(name, 0) or network.program.shape(name)[0]
            for part in network.stored(name):
                made = makers.get(part)
                if size % plan.pin and made is not None and made.table is None and not made.low <= 0 <= made.high:
                    raise UserError(
                        f"{layer.name!r} multiplies tokens of {size} channels, which fill no blocks of {plan.pin}, as "
                        f"{part!r} is in {made.low}..{made.high}, which has no 0"
                    )


def tokens_layer(
    made: MatMul, op: Requantise, stored: tuple[str, str], channels: int, macs: int
) -> EngineLayer:  # fmt: skip
    """The layer of the sums ``made``, which ``op`` requantises.

    Parameters
    ----------
    stored : names of the tensors whose tokens pass by, and are the weights
    channels : of the first one
    """
    layer = EngineLayer(
        name=op.name, source=stored[0], unit=Unit.ARRAY, window=Window(kernel=(1, 1)), pad=np.zeros(channels, np.int64),
        multiplier=op.multiplier, offset=op.offset, shift=op.shifts, residual_multiplier=op.residual_multipliers,
        low=op.lo, high=op.hi, second=second_slope(op), kernel=made.kernel, groups=made.heads, macs=macs,
        other=stored[1], turned=made.form == "context",
    )  # fmt: skip
    # The lanes of an adder sum distances, of which the kernel is the negative.
    return of_sums(layer, -1 if made.kernel == "adder" else 1, 0)
