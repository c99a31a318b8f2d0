"""Square roots and reciprocals by restoring steps, one digit in a cycle, of several tokens side by side."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Reciprocals", "Roots"]


class Roots(wiring.Component):
    """``isqrt(value)``, the exact floor, of ``count`` values: all step at once, so that they share one control.

    A value is loaded into one of them; ``bits`` steps behind the last load each root is whole. The two highest bits of
    what is left come down to the remainder; where it is more than four times the root and one, that is taken away, and
    the digit is 1. No step waits for anything, so there is no back-pressure: whoever drives this says when.

    Parameters
    ----------
    count : roots side by side
    bits : of a root; a value has twice as many

    Members
    -------
    value : In, without a sign
    load : In, which of them takes ``value``; its root begins at 0
    step : In, all make one digit
    roots : Out, ``count`` of ``bits``, whole ``bits`` steps behind their loads, until they are loaded again
    """

    def __init__(self, count: int, bits: int):
        self.count, self.bits = count, bits
        super().__init__({"value": In(2 * bits), "load": In(count), "step": In(1), "roots": Out(count * bits)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits, found = self.bits, []
        for lane in range(self.count):
            left = Signal(2 * bits, name=f"left{lane}", reset_less=True)
            # The remainder is at most twice the root.
            rest = Signal(bits + 1, name=f"rest{lane}", reset_less=True)
            root = Signal(bits, name=f"root{lane}", reset_less=True)
            brought, less = Signal(bits + 3, name=f"brought{lane}"), Signal(bits + 4, name=f"less{lane}")
            m.d.comb += [
                brought.eq(Cat(left[-2:], rest)), less.eq(brought - Cat(Const(1, 2), root))
            ]  # fmt: skip
            fits = ~less[-1]
            with m.If(self.load[lane]):
                m.d.sync += [left.eq(self.value), rest.eq(0), root.eq(0)]
            with m.Elif(self.step):
                m.d.sync += [left.eq(left << 2), rest.eq(Mux(fits, less, brought)), root.eq(Cat(fits, root))]
            found.append(root)
        m.d.comb += self.roots.eq(Cat(found))
        return m


class Reciprocals(wiring.Component):
    """``2**k // divisor`` of ``count`` divisors, and that moved up, by so many steps as there shall be digits.

    The first step brings down the one of ``2**k``, each further one a 0; so k + 1 steps make the quotient. Behind them
    ``step`` without ``digit`` moves it up by a place. What does not fit ``width`` bits leaves at their top: the result
    is the quotient modulo ``2**width``. A divisor of 0 counts as 1.

    Parameters
    ----------
    count : of them side by side
    bits, width : of a divisor and of a quotient

    Members
    -------
    divisors : In, ``count`` of ``bits``
    begin : In, all take their divisor
    step, digit : In, all move, and the digit that comes in is that of the quotient, else 0
    quotients : Out, ``count`` of ``width``, until the first step behind the next ``begin``
    """

    def __init__(self, count: int, bits: int, width: int):
        self.count, self.bits, self.width = count, bits, width
        super().__init__({
            "divisors": In(count * bits), "begin": In(1), "step": In(1), "digit": In(1),
            "quotients": Out(count * width),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits, found, first = self.bits, [], Signal()
        with m.If(self.begin):
            m.d.sync += first.eq(1)
        with m.Elif(self.step):
            m.d.sync += first.eq(0)
        for lane in range(self.count):
            divisor, rest = (Signal(bits, name=f"{name}{lane}", reset_less=True) for name in ("divisor", "rest"))
            quotient = Signal(self.width, name=f"quotient{lane}", reset_less=True)
            brought, less = Signal(bits + 1, name=f"brought{lane}"), Signal(bits + 2, name=f"less{lane}")
            m.d.comb += [brought.eq(Cat(first, rest)), less.eq(brought - divisor)]
            fits, given = ~less[-1], self.divisors.word_select(lane, bits)
            with m.If(self.begin):
                m.d.sync += [divisor.eq(Cat(given[0] | (given == 0), given[1:])), rest.eq(0)]
            with m.Elif(self.step):
                before = Mux(first, 0, quotient)
                m.d.sync += [rest.eq(Mux(fits, less, brought)), quotient.eq(Cat(fits & self.digit, before))]
            found.append(quotient)
        m.d.comb += self.quotients.eq(Cat(found))
        return m
