"""Sums and sums of squares over the channels of tokens: one word of a memory for each token."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import EnginePlan
from .wide import added
from .widths import POWER_BITS, NormTiming, NormWidths

__all__ = ["TokenSums"]


class TokenSums(wiring.Component):
    """Adds words of channels to the sums of their tokens, and hands sums out.

    A step adds one block of channels of every token, in the order of the tokens; a token may come again three cycles
    later. Nothing waits: whoever drives this reads sums only when none is on its way to the same token.

    Members
    -------
    word, signed : In, features, ``timing.arrival`` cycles behind their tap, and whether they have a sign
    powers : In, with them, by how many places the channels are moved up: the lowest bits of each element
    pixel : In, number of the token, in the cycle of its tap
    adds, fresh : In, in the cycle of the tap: its features are added; its sums begin with them
    look, place : In, the sums of this token are read instead, for whoever looks; no tap that came
        ``timing.summed - 2`` cycles before is added then
    moved : Out, the features moved up, a cycle behind them, ``pin`` of `NormWidths.value`
    total, squares : Out, the sums of the token whose ``place`` was told two cycles before
    """

    def __init__(self, plan: EnginePlan, timing: NormTiming):
        self.plan, self.timing, self.widths = plan, timing, NormWidths.of(plan)
        super().__init__({
            "word": In(plan.word_bits), "signed": In(1), "powers": In(plan.word_bits), "pixel": In(range(plan.pixels)),
            "adds": In(1), "fresh": In(1), "look": In(1), "place": In(range(plan.pixels)),
            "moved": Out(plan.pin * self.widths.value.bits), "total": Out(signed_shape(self.widths.total.bits)),
            "squares": Out(self.widths.squares.bits),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        widths, summed = self.widths, self.timing.summed
        total, squares = self._of_word(m)
        layout = widths.total.bits + widths.squares.bits
        m.submodules.held = held = memory.Memory(shape=layout, depth=self.plan.pixels, init=[])
        write = held.write_port()
        read = held.read_port(transparent_for=(write,))
        fetched = later(m, self.pixel, summed - 2, name="fetched")
        m.d.comb += read.addr.eq(Mux(self.look, self.place, fetched))
        # What comes out of block RAM gets a register before any arithmetic.
        before = Signal(layout, reset_less=True)
        first = later(m, self.fresh, summed, name="first")
        m.d.sync += before.eq(read.data)
        m.d.comb += [
            self.total.eq(before[: widths.total.bits].as_signed()),
            self.squares.eq(before[widths.total.bits :]),
        ]
        after = Cat(
            (Mux(first, 0, self.total) + total)[: widths.total.bits],
            (Mux(first, 0, self.squares) + squares)[: widths.squares.bits],
        )
        m.d.sync += [
            write.data.eq(after), write.addr.eq(later(m, fetched, 2, name="place")),
            write.en.eq(later(m, self.adds, summed, name="adds")),
        ]  # fmt: skip
        return m

    def _of_word(self, m: Module) -> tuple[Value, Value]:
        """The sums of a word, ``timing.summed`` cycles behind its tap."""
        plan, widths = self.plan, self.widths
        values, squares = [], []
        for channel in range(plan.pin):
            element = self.word.word_select(channel, plan.bits)
            power = self.powers.word_select(channel, plan.bits)[:POWER_BITS]
            value = Signal(signed_shape(widths.value.bits), name=f"value{channel}", reset_less=True)
            square = Signal(2 * widths.value.bits - 2, name=f"square{channel}", reset_less=True)
            own = Cat(element, element[-1] & self.signed).as_signed()
            m.d.sync += [value.eq(own << power), square.eq(value * value)]
            values.append(value)
            squares.append(square)
        m.d.comb += self.moved.eq(Cat(values))
        total = added(m, values, widths.total.bits, "total")
        kept = Signal(signed_shape(widths.total.bits), name="total", reset_less=True)
        m.d.sync += kept.eq(total if total.shape().signed else total.as_signed())
        return kept, added(m, squares, widths.squares.bits, "squares")
