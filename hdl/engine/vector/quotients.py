"""Quotients of rows, digit by digit: what a `Divide` has behind its factors."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ....quant.formats import Format

__all__ = ["QuotientBank", "RowQuotients", "quotient_cycles", "quotient_pace"]


def quotient_cycles(result: Format) -> int:
    """Cycles from the one in which a set is taken to its results, in which the next one may be: the comparison, a digit
    in each, the clamp."""
    return result.bits + 3


def quotient_pace(result: Format, dividers: int) -> int:
    """Cycles from a set to the next one that a `QuotientBank` of so many ``dividers`` takes."""
    return -(-quotient_cycles(result) // dividers)


class RowQuotients(wiring.Component):
    """``clamp(numerator // denominator, low, high)`` of ``rows`` pairs at once, ``//`` floors, 0 counts as 1 below.

    ``(num*M + d*B) // (d << S)`` of a `quant.ops.tokens.softmax.Divide` is ``((num*M + d*B) >> S) // d``: in front of
    this stands a requantiser to which d comes as a residual and B as its factor. A negative numerator is inverted, and
    so is its quotient, which makes the floor of it. Where the quotient has more digits than a result, which one
    comparison tells, it is as large as they are; the digits follow, one in a cycle, the lowest last.

    A set of rows is taken when the one before is handed on, `quotient_cycles` later at the
    earliest. Results wait for whoever takes them.

    Parameters
    ----------
    rows : pairs at once
    numerator, denominator, result : formats; the denominator has no sign

    Members
    -------
    low, high : In, of ``result``; must not change while a set is on its way
    i : In stream of ``numerators`` and ``denominators``, the first row lowest
    o : Out stream of ``rows`` of ``result``
    """

    def __init__(self, rows: int, numerator: Format, denominator: Format, result: Format):
        if denominator.signed:
            raise ValueError(f"denominators must have no sign, not {denominator}")
        self.rows, self.numerator, self.denominator, self.result = rows, numerator, denominator, result
        pair = data.StructLayout({"numerators": rows * numerator.bits, "denominators": rows * denominator.bits})
        super().__init__({
            "low": In(result.bits), "high": In(result.bits), "i": In(stream.Signature(pair)),
            "o": Out(stream.Signature(rows * result.bits)),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digits = self.result.bits
        # Of a set that has been taken: the comparison, digits, the clamp.
        left, busy = Signal(range(digits + 2)), Signal()
        take, first, last = self.i.valid & self.i.ready, left == digits + 1, left == 0
        m.d.comb += self.i.ready.eq(~busy & (~self.o.valid | self.o.ready))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += [busy.eq(1), left.eq(digits + 1)]
        with m.If(busy):
            m.d.sync += left.eq(left - 1)
            with m.If(last):
                m.d.sync += [busy.eq(0), self.o.valid.eq(1)]
        found = [self._row(m, row, take, busy & first, busy & ~first & ~last) for row in range(self.rows)]
        with m.If(busy & last):
            m.d.sync += self.o.payload.eq(Cat(found))
        return m

    def _row(self, m: Module, row: int, take: Value, compare: Value, step: Value) -> Value:
        """The clamped quotient of a row, whole in the cycle in which no digit is left."""
        digits, wide = self.result.bits, self.denominator.bits
        given = self.i.payload.numerators.word_select(row, self.numerator.bits)
        below = self.i.payload.denominators.word_select(row, wide)
        sign = given[-1] & self.numerator.signed
        negative, over = Signal(name=f"negative{row}"), Signal(name=f"over{row}")
        divisor = Signal(wide, name=f"divisor{row}", reset_less=True)
        # In the place of the quotient stand the digits of the numerator that are still to come down.
        rest = Signal(max(self.numerator.bits - digits, wide), name=f"rest{row}", reset_less=True)
        quotient = Signal(digits, name=f"quotient{row}", reset_less=True)
        brought, less = Signal(wide + 1, name=f"brought{row}"), Signal(wide + 2, name=f"less{row}")
        m.d.comb += [brought.eq(Cat(quotient[-1], rest)), less.eq(brought - divisor)]
        fits = ~less[-1]
        with m.If(take):
            positive = given ^ sign.replicate(self.numerator.bits)
            m.d.sync += [
                negative.eq(sign), divisor.eq(Cat(below[0] | (below == 0), below[1:])), Cat(quotient, rest).eq(positive)
            ]  # fmt: skip
        with m.If(compare):
            m.d.sync += over.eq(rest >= divisor)
        with m.If(step):
            m.d.sync += [rest.eq(Mux(fits, less, brought)[:wide]), quotient.eq(Cat(fits, quotient))]
        return self._clamped(m, row, Cat((quotient | over.replicate(digits)) ^ negative.replicate(digits), negative))

    def _clamped(self, m: Module, row: int, value: Value) -> Value:
        """``value``, which has a sign, within the bounds."""

        def wider(bound: Value) -> Value:
            return Cat(bound, bound[-1] & self.result.signed).as_signed()

        own, kept = Signal(signed_shape(self.result.bits + 1), name=f"value{row}"), Signal(self.result.bits)
        m.d.comb += own.eq(value)
        m.d.comb += kept.eq(
            Mux(own < wider(self.low), self.low, Mux(own > wider(self.high), self.high, own[: self.result.bits]))
        )
        return kept


class QuotientBank(wiring.Component):
    """Several `RowQuotients` that take sets in turn, so that sets may come `quotient_pace` cycles after each other.

    Results leave in the order of their sets, `quotient_cycles` behind them; neither waits for anybody.

    Parameters
    ----------
    dividers : how many
    rows, numerator, denominator, result : of each of them

    Members
    -------
    low, high, numerators, denominators : In, see `RowQuotients`
    valid : In, a set is there; there was none in the ``quotient_pace - 1`` cycles before
    quotients : Out, ``rows`` of ``result``
    done : Out, they are those of a set
    """

    def __init__(self, dividers: int, rows: int, numerator: Format, denominator: Format, result: Format):
        self.dividers = [RowQuotients(rows, numerator, denominator, result) for _ in range(dividers)]
        super().__init__({
            "low": In(result.bits), "high": In(result.bits), "numerators": In(rows * numerator.bits),
            "denominators": In(rows * denominator.bits), "valid": In(1), "quotients": Out(rows * result.bits),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = len(self.dividers)
        found: Value = Const(0, len(self.quotients))
        turn = Signal(range(max(count, 2)))  # of one bit where it never moves, for Verilog has none of no bits
        with m.If(self.valid):
            m.d.sync += turn.eq(Mux(turn == count - 1, 0, turn + 1))
        for number, divider in enumerate(self.dividers):
            m.submodules[f"divider{number}"] = divider
            given = divider.i.payload
            m.d.comb += [
                divider.low.eq(self.low), divider.high.eq(self.high), divider.o.ready.eq(1),
                given.numerators.eq(self.numerators), given.denominators.eq(self.denominators),
                divider.i.valid.eq(self.valid & (turn == number)),
            ]  # fmt: skip
            found = found | Mux(divider.o.valid, divider.o.payload, 0)
        m.d.comb += [self.quotients.eq(found), self.done.eq(Cat(own.o.valid for own in self.dividers).any())]
        return m
