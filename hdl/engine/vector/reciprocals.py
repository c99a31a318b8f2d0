"""From the sums of a band's tokens to the reciprocals of their deviations, some tokens at a time."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import CHANNEL_BITS, FRACTION_BITS, STEP_BITS, EnginePlan
from .roots import Reciprocals, Roots
from .wide import product, shifted_up
from .widths import NormTiming, NormWidths, variance_ranks

__all__ = ["TokenReciprocals"]


class TokenReciprocals(wiring.Component):
    """``(1 << reciprocal) // max(isqrt((v << 2 * fraction) + eps), 1)`` of the tokens of a band, moved up.

    They stand in a memory. ``plan.norms`` tokens take a round together. In its first cycles the sums of those whose
    turn it is are asked for, one token in a cycle, and what was found two rounds ago is stored; then roots of the
    former and reciprocals of those between make a digit in every cycle. Fields of the layer stand still from
    ``begin`` to ``there``.

    Members
    -------
    begin : In, for a cycle: the sums of all tokens are whole
    again : In, the sums of another band begin
    pixels, channels, fraction, eps : In, of the band and the layer
    digits, places, longest : In, ``reciprocal + 1``, that and the places by which quotients are moved up, and the
        larger one of that and the bits of a root
    look, place : Out, whether sums are asked for, and of which token
    total, squares : In, they, two cycles later
    wanted : In, number of a token
    reciprocal : Out, its reciprocal, two cycles later
    there : Out, they are those of this band
    """

    def __init__(self, plan: EnginePlan, timing: NormTiming):
        self.plan, self.timing, self.widths = plan, timing, NormWidths.of(plan)
        widths, token = self.widths, range(plan.pixels)
        super().__init__({
            "begin": In(1), "again": In(1), "pixels": In(range(plan.pixels + 1)), "channels": In(CHANNEL_BITS),
            "fraction": In(FRACTION_BITS), "eps": In(widths.wide.bits), "digits": In(STEP_BITS),
            "places": In(STEP_BITS), "longest": In(STEP_BITS), "look": Out(1), "place": Out(token),
            "total": In(signed_shape(widths.total.bits)), "squares": In(widths.squares.bits), "wanted": In(token),
            "reciprocal": Out(widths.product), "there": Out(1, init=1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, widths, count = self.plan, self.widths, self.plan.norms
        told = self._rounds(m)
        # What is told comes with what is under the root of the token that was asked for.
        names = {name: later(m, value, self.timing.variance, name=name) for name, value in told.items()}
        m.submodules.roots = roots = Roots(count, widths.root.bits)
        m.submodules.quotients = quotients = Reciprocals(count, widths.root.bits, widths.product)
        lane = [names["lane"] == number for number in range(count)]
        m.d.comb += [
            roots.value.eq(self._variance(m)), roots.load.eq(Cat(names["loads"] & own for own in lane)),
            roots.step.eq(names["roots"]), quotients.divisors.eq(roots.roots), quotients.begin.eq(names["turns"]),
            quotients.step.eq(names["moves"]), quotients.digit.eq(names["digit"]),
        ]  # fmt: skip
        m.submodules.held = held = memory.Memory(shape=widths.product, depth=plan.pixels, init=[])
        write, read = held.write_port(), held.read_port()
        each = Array(quotients.quotients.word_select(number, widths.product) for number in range(count))
        m.d.comb += [
            write.addr.eq(names["stored"]), write.data.eq(each[names["lane"]]), write.en.eq(names["stores"]),
            read.addr.eq(self.wanted),
        ]  # fmt: skip
        m.d.sync += self.reciprocal.eq(read.data)
        with m.If(names["ends"]):
            m.d.sync += self.there.eq(1)
        with m.Elif(self.again):
            m.d.sync += self.there.eq(0)
        return m

    def _rounds(self, m: Module) -> dict[str, Value]:
        """Counts rounds and their cycles; returns what happens in each, when the sums that it asks for have come."""
        plan, count, roots = self.plan, self.plan.norms, self.widths.root.bits
        runs, cycle = Signal(), Signal(STEP_BITS + 1)
        rounds = range(plan.pixels // count + 3)
        number, last = Signal(rounds), Signal(rounds)
        lane = cycle[: count.bit_length() - 1]
        first, at_end = cycle < count, cycle == self.longest + (count - 1)
        ends = (number == last) & (cycle == count - 1)
        m.d.comb += [self.look.eq(runs), self.place.eq(Cat(lane, number))]
        with m.If(runs):
            m.d.sync += cycle.eq(cycle + 1)
            with m.If(at_end):
                m.d.sync += [cycle.eq(0), number.eq(number + 1)]
            with m.If(ends):
                m.d.sync += runs.eq(0)
        with m.If(self.begin):
            m.d.sync += [
                runs.eq(1), cycle.eq(0), number.eq(0),
                last.eq(((self.pixels + (count - 1)) >> count.bit_length() - 1) + 1),
            ]  # fmt: skip
        behind = cycle - count
        stored = Cat(lane, (number - 2)[: len(number)])
        return {
            "lane": lane, "loads": runs & first, "turns": runs & (cycle == 0),
            "roots": runs & ~first & (behind < roots), "moves": runs & ~first & (behind < self.places),
            "digit": behind < self.digits, "stores": runs & first & (number >= 2), "stored": stored[: len(self.place)],
            "ends": runs & ends,
        }  # fmt: skip

    def _variance(self, m: Module) -> Value:
        """What is under the root of a token, ``timing.variance`` cycles after it was asked for."""
        widths, ranks = self.widths, variance_ranks(self.widths)
        bits = widths.wide.bits
        more = product(m, self.squares, self.channels, bits, "more")
        less = product(m, self.total, self.total, bits, "less")
        more, less = (
            later(m, value, max(ranks) - own, name=f"{name}_later")
            for name, value, own in zip(("more", "less"), (more, less), ranks, strict=True)
        )
        variance, under = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        m.d.sync += variance.eq(more - less)
        m.d.sync += under.eq(shifted_up(m, variance, self.fraction, 2, bits, "variance") + self.eps)
        return under
