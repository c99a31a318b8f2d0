"""Choices of pixels: the number of the largest channel, one of several tensors by such a number, sums of channels."""

from dataclasses import replace

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format, signed, unsigned
from .....quant.ops.window import Window
from .....quant.program import ArgMax, Convolution, Reduce, Select
from ...plan import LANES, RESIDUAL_BITS, EnginePlan
from ...records import Across, Unit
from .layers import EngineLayer, Shape
from .operands import grid_top

__all__ = ["across", "added_channels", "check_choices", "chosen"]

_MOST_STACKED = 62
"""Tensors among which a pixel chooses, at most: a window has no more rows."""


def check_choices(name: str, plan: EnginePlan) -> None:
    """Refuse what ``name`` does where the engine has no choices."""
    if not plan.choices:
        raise UserError(f"the engine has no choices, which {name!r} makes: build it with --choices")


def across(layer: EngineLayer, op: ArgMax | Reduce, read: Format, plan: EnginePlan) -> EngineLayer:
    """``layer``, which makes what ``op`` reads, in the format ``read``, with the comparison of its channels behind it.

    Raises
    ------
    UserError
        for more channels than rows, and for channels of more bits than are compared.
    """
    channels = len(layer.multiplier)
    if channels > plan.pout:
        fits = [lanes for lanes in LANES if lanes >= channels]
        advice = f"build it with --pout {fits[0]}" if fits else f"no engine has more than {LANES[-1]}"
        raise UserError(f"{op.name!r} compares {channels} channels; the engine has {plan.pout} rows; {advice}")
    if read.bits > RESIDUAL_BITS:
        raise UserError(f"{op.name!r} compares channels of {read}; the engine compares at most {RESIDUAL_BITS} bits")
    return replace(layer, name=op.name, across=Across.NUMBER if isinstance(op, ArgMax) else Across.LARGEST)


def added_channels(op: Reduce, channels: int, plan: EnginePlan) -> Convolution:
    """The sums of ``channels`` that ``op`` makes, as those of lanes whose weight is 1, or 0 for channels of other
    parts: all parts are then in one block of rows, as far as it has room."""
    kernel = "shift" if "shift" in plan.kernels and "mult" not in plan.kernels else "mult"
    weight = np.repeat(np.eye(op.parts, dtype=np.int64), channels // op.parts, axis=1)[..., None, None]
    return Convolution(
        name=op.name, source=op.source, kernel=kernel, weight=weight,
        weight_format=unsigned(4) if kernel == "shift" else signed(2), pad=np.zeros(channels, np.int64),
    )  # fmt: skip


def chosen(
    op: Select, mask: tuple[str, Format], branches: tuple[str, ...], shape: Shape, fmt: Format, plan: EnginePlan
) -> EngineLayer:  # fmt: skip
    """The layer of a choice among the stored ``branches``, of ``shape`` and ``fmt``, by the numbers ``mask``: a pool
    over them, whose first tap is the number of the one that it keeps.

    Raises
    ------
    UserError
        for more branches than a window has rows, and for numbers as wide as an element.
    """
    check_choices(op.name, plan)
    if len(branches) > _MOST_STACKED:
        raise UserError(f"{op.name!r} chooses among {len(branches)} tensors; the engine has {_MOST_STACKED} at most")
    if mask[1].bits >= plan.bits:
        raise UserError(
            f"{op.name!r} chooses by {mask[0]!r}, which has {mask[1]}; the engine has at most {plan.bits - 1} bits"
        )
    zeros = np.zeros(shape[0], np.int64)
    return EngineLayer(
        name=op.name, source=branches[0], unit=Unit.CHOICE, window=Window(kernel=(1, 1)), pad=zeros,
        multiplier=zeros + 1, offset=zeros - grid_top(fmt, plan), shift=zeros, residual_multiplier=zeros, low=fmt.lo,
        high=fmt.hi, stacked=(mask[0], *branches),
    )  # fmt: skip
