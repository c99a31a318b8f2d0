"""The input operation, counted as stages are: pixels onto a grid, or compared with levels."""

from ....hdl.activation.entry import entry_latency
from ....hdl.dataflow.joints import Entrance
from ....quant.formats import Format, format_for
from ....quant.program import Requantise, Threshold
from ..counting import Product, Structure, add_clamp
from ..structure import structure

__all__ = ["entry_structure"]


@structure.register
def entry_structure(entrance: Entrance) -> Structure:
    """The counts of what turns beats of the input into features; its constants are part of the RTL."""
    found, op = Structure(), entrance.op
    found.of("activation")["valid.ff"] += entry_latency(op)
    for number in range(entrance.channels):
        if isinstance(op, Threshold):
            _levels(found, op, entrance.x)
        else:
            _affine(found, op, number % len(op.multiplier), entrance.x)
    return found


def _levels(found: Structure, op: Threshold, x: Format) -> None:
    counts = found.of("activation")
    levels = op.thresholds.shape[1]
    counts[f"reached/{x.bits}"] += levels
    counts["count"] += levels * op.format.bits if levels > 1 else 0


def _affine(found: Structure, op: Requantise, channel: int, x: Format) -> None:
    counts = found.of("activation")
    factor, offset = int(op.multiplier[channel]), int(op.offset[channel])
    second, lower = int(op.seconds[channel]), int(op.second_offsets[channel])
    ends = (0, *(scale * end for scale in (factor, second) for end in (x.lo, x.hi)))
    bits = format_for(min(ends) + min(offset, lower, 0), max(ends) + max(offset, lower, 0)).bits + 1
    left = max(bits - int(op.shifts[channel]), 1)
    counts["product.ff"] += bits
    counts["shifted.ff"] += left
    counts["y.ff"] += min(op.format.bits, left)
    counts[f"wide constant/{bits}"] += 1
    add_clamp(counts, op.format, left, bits, 1)
    if op.bends:
        counts[f"reached/{x.bits}"] += 1
        counts["reached.ff"] += 1
        counts["narrow"] += 2 * bits
    for number in [factor, second] if op.bends else [factor]:
        found.products.append(
            Product(
                where="requantise", count=1, a=x.bits, b=max(abs(number).bit_length() + (number < 0), 1),
                a_signed=x.signed, b_signed=number < 0, rows=abs(number).bit_count(), constant=True,
            )
        )  # fmt: skip
