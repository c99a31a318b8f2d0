"""How wide the numbers of a layer norm are in an engine, and in how many cycles they come: written once."""

from dataclasses import dataclass

from ....quant.formats import Format, signed, unsigned
from ....quant.ops.tokens.norm import MAX_POWER
from ....quant.ops.tokens.width import MOST_WIDE_BITS
from ..plan import CHANNEL_BITS, EnginePlan
from .wide import product_ranks

__all__ = ["POWER_BITS", "NormTiming", "NormWidths", "variance_ranks"]

POWER_BITS = MAX_POWER.bit_length()
_POINT_BITS = 16
"""With the bits of an element, those that a product with a reciprocal loses."""
_GUARD_BITS = 12
"""With the bits of an element, those of a normalised value."""


@dataclass(frozen=True, kw_only=True)
class NormWidths:
    """Formats of a layer norm, see `quant.ops.tokens.norm.Norm`.

    Attributes
    ----------
    value : x', an element moved up
    total, squares : s1 and s2
    wide : of v and of what is under the root
    root : r
    point : bits that the product with q loses; q is moved up until it loses so many
    product : of that product, and of q: everything is modulo 2 to the power of this, of which only what a token of
        equal channels has is more, and that is multiplied by 0
    """

    value: Format
    total: Format
    squares: Format
    wide: Format
    root: Format
    point: int
    product: int

    @classmethod
    def of(cls, plan: EnginePlan) -> "NormWidths":
        """Those of ``plan``."""
        value = signed(plan.bits + 1 + MAX_POWER)
        point = plan.bits + _POINT_BITS
        return cls(
            value=value, total=signed(value.bits + CHANNEL_BITS), squares=unsigned(2 * value.bits - 2 + CHANNEL_BITS),
            wide=unsigned(MOST_WIDE_BITS), root=unsigned(MOST_WIDE_BITS // 2), point=point,
            product=point + plan.bits + _GUARD_BITS,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NormTiming:
    """Cycles of the ways through `norms.Norms`.

    Attributes
    ----------
    arrival : from a tap to its features
    summed : from a tap to the sums over the channels of its word
    variance : from the address of a token's sums to what is under its root
    scales : from the address of a token's sums and reciprocal to what its features are multiplied by and less
    latency : from a tap to its normalised values
    """

    arrival: int
    summed: int
    variance: int
    scales: int
    latency: int

    @classmethod
    def of(cls, plan: EnginePlan, arrival: int) -> "NormTiming":
        """Those of ``plan``, where features come ``arrival`` cycles behind their taps."""
        widths = NormWidths.of(plan)
        total, bits = widths.total.bits, widths.product
        shared = max(product_ranks(bits, CHANNEL_BITS, bits), product_ranks(bits, total, bits))
        varies = max(variance_ranks(widths))
        moved, scales = arrival + 1, 2 + shared
        return cls(
            arrival=arrival, summed=moved + 1 + (plan.pin - 1).bit_length(), variance=2 + varies + 1 + 2 + 1,
            scales=scales,
            latency=max(scales, moved) + product_ranks(bits, widths.value.bits, bits, more=1),
        )  # fmt: skip

    def rooted(self, plan: EnginePlan, pixels: int, steps: int) -> int:
        """Cycles from the last tap of ``pixels`` tokens to the one in which their reciprocals are there.

        Each ``plan.norms`` of them take a round: they are loaded one after the other, and then all make a root, or a
        reciprocal, whichever takes longer, in ``steps`` steps. A token is in three rounds: that of its root, that of
        its reciprocal, and the beginning of the next, in which that is stored.
        """
        rounds = -(-pixels // plan.norms) + 1
        return self.summed + 1 + rounds * (plan.norms + steps) + plan.norms + self.variance + 1


def variance_ranks(widths: NormWidths) -> tuple[int, int]:
    """Ranks of the products C * s2 and s1 * s1."""
    bits = widths.wide.bits
    total = widths.total.bits
    return product_ranks(CHANNEL_BITS, widths.squares.bits, bits), product_ranks(total, total, bits)
