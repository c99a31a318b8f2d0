"""Weights as the lanes take them, and the order of output channels behind which pixels are shuffled."""

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format, signed
from .....quant.program import Convolution, weight_values
from ...plan import EnginePlan
from .layers import Ints

__all__ = ["check_lanes", "grid_top", "lane_words", "shuffled_channels"]


def check_lanes(name: str, kernel: str, plan: EnginePlan) -> None:
    """Refuse the layer ``name`` with a `UserError` where the engine has no lanes of its ``kernel``."""
    if kernel not in plan.kernels:
        raise UserError(
            f"{name!r} needs {kernel} lanes; the engine has {', '.join(plan.kernels)}: build it with --kernels "
            f"{','.join([*plan.kernels, kernel])}"
        )


def lane_words(op: Convolution, x: Format, plan: EnginePlan) -> Ints:
    """Weights as the lanes take them, without sign, in ``plan.bits`` bits."""
    mask = (1 << plan.bits) - 1
    if op.kernel in ("shift", "xnor"):
        return op.weight
    if op.kernel == "adder":
        # Both operands of an adder count from the lowest value of its grid, which only inverts the top bit.
        return (op.weight & mask) ^ grid_top(x, plan)
    if op.kernel == "mult":
        values = weight_values(op)
        if not signed(plan.bits).allows(values):
            raise UserError(f"weights of {op.name!r} leave {signed(plan.bits)}: {values.min()}..{values.max()}")
        return values & mask
    raise UserError(f"the engine has no {op.kernel} layers so far, which {op.name!r} is")


def grid_top(x: Format, plan: EnginePlan) -> int:
    """The bit that is inverted where both operands of an adder have a sign."""
    return 1 << plan.bits - 1 if x.signed else 0


def shuffled_channels(channels: int, factor: int, word: int) -> Ints:
    """The output channels of a convolution behind which pixels are shuffled, block by block: of each ``word`` of
    shuffled channels first those of row 0 and column 0 of a pixel, then of column 1, ..; -1 where a block has none."""
    parts = factor * factor
    shuffled = -(-channels // parts // word) * word
    c = np.arange(shuffled).reshape(-1, 1, word)
    order = c * parts + np.arange(parts)[:, None]
    return np.where(c < channels // parts, order, -1).reshape(-1)
