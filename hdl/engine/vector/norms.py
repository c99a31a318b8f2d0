"""Layer norms: the channels of a token, less their mean, over their deviation."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.hdl import signed as signed_shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import CHANNEL_BITS, FRACTION_BITS, STEP_BITS, EnginePlan
from .reciprocals import TokenReciprocals
from .statistics import TokenSums
from .wide import product, product_ranks
from .widths import NormTiming, NormWidths

__all__ = ["Norms"]


class Norms(wiring.Component):
    """``((C * x' - s1) * q) >> point`` of every channel, in the place of sums in front of the requantisers.

    A band of tokens goes by twice. The first time, block of channels by block of channels, their sums and sums of
    squares are added up; behind it their reciprocals are made, for which the second time has to wait (``there``). Then
    each block goes by again, and ``(x' * (C*q) - s1*q) >> point`` of its channels is there ``timing.latency`` cycles
    behind the tap of a token: a multiplication in each lane, two for all of them.

    Members
    -------
    word, signed, powers : In, see `statistics.TokenSums`
    pixel, issued : In, number of the token, in the cycle of its tap; there is one
    scaling, opens, closes : In, with it: the band goes by the second time; the first block of the first time; the
        last tap of the last one
    pixels, channels, fraction, eps, digits, places, longest : In, see `reciprocals.TokenReciprocals`; ``channels`` must
        not change before the cycle behind the last tap
    there : Out, a band may go by the second time
    sums : Out, ``pout`` of ``plan.total``
    done : Out, ``sums`` are those of a token
    """

    def __init__(self, plan: EnginePlan, arrival: int):
        self.plan, self.timing, self.widths = plan, NormTiming.of(plan, arrival), NormWidths.of(plan)
        super().__init__({
            "word": In(plan.word_bits), "signed": In(1), "powers": In(plan.word_bits),
            "pixel": In(range(plan.pixels)), "issued": In(1), "scaling": In(1), "opens": In(1), "closes": In(1),
            "pixels": In(range(plan.pixels + 1)), "channels": In(CHANNEL_BITS), "fraction": In(FRACTION_BITS),
            "eps": In(self.widths.wide.bits), "digits": In(STEP_BITS), "places": In(STEP_BITS),
            "longest": In(STEP_BITS), "there": Out(1), "sums": Out(plan.pout * plan.sum_bits), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, timing = self.plan, self.timing
        m.submodules.tokens = tokens = TokenSums(plan, timing)
        m.submodules.reciprocals = reciprocals = TokenReciprocals(plan, timing)
        again = self.issued & self.scaling
        m.d.comb += [
            tokens.word.eq(self.word), tokens.signed.eq(self.signed), tokens.powers.eq(self.powers),
            tokens.pixel.eq(self.pixel), tokens.adds.eq(self.issued & ~self.scaling), tokens.fresh.eq(self.opens),
            tokens.look.eq(again | reciprocals.look), tokens.place.eq(Mux(again, self.pixel, reciprocals.place)),
            reciprocals.total.eq(tokens.total), reciprocals.squares.eq(tokens.squares),
            reciprocals.wanted.eq(self.pixel), reciprocals.again.eq(tokens.adds),
            reciprocals.begin.eq(later(m, self.closes, timing.summed + 1, name="closes")),
            self.there.eq(reciprocals.there), self.done.eq(later(m, again, timing.latency, name="done")),
        ]  # fmt: skip
        fields = ("pixels", "channels", "fraction", "eps", "digits", "places", "longest")
        m.d.comb += [getattr(reciprocals, name).eq(getattr(self, name)) for name in fields]
        self._scaled(m, tokens, reciprocals)
        return m

    def _scaled(self, m: Module, tokens: TokenSums, reciprocals: TokenReciprocals) -> None:
        """The normalised values of a word of features."""
        plan, widths, timing = self.plan, self.widths, self.timing
        bits, inverse = widths.product, reciprocals.reciprocal
        channels = later(m, self.channels, 2, name="channels")
        factor = product(m, inverse, channels, bits, "factor")
        less = product(m, inverse, tokens.total, bits, "less")
        behind = max(timing.scales, timing.arrival + 1)
        ranks = [product_ranks(bits, own, bits) for own in (CHANNEL_BITS, widths.total.bits)]
        factor = later(m, factor, behind - 2 - ranks[0], name="factor_later")
        less = later(m, less, behind - 2 - ranks[1] + 1, name="less_later")
        moved = later(m, tokens.moved, behind - timing.arrival - 1, name="moved")
        results = []
        for row in range(plan.pout):
            value = moved.word_select(row, widths.value.bits).as_signed()
            whole = product(m, factor[:bits], value, bits, f"row{row}", [-less[:bits]])
            result = Signal(signed_shape(plan.sum_bits), name=f"result{row}")
            m.d.comb += result.eq(whole[widths.point : bits].as_signed())
            results.append(result)
        m.d.comb += self.sums.eq(Cat(results))
