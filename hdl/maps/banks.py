"""Which bank of a ring holds what a window begins with, where all its columns or all its rows are read at once."""

from amaranth.hdl import Const, Module, Mux, Signal, Value

__all__ = ["Turn"]


class Turn:
    """Which of ``banks`` banks holds the window's first column, or row.

    Columns ``spacing`` apart stand in one bank after the other; those between stand beside each other in one bank, so
    that the taps of a window, which are ``spacing`` apart, never share a bank.

    Attributes
    ----------
    value : the bank
    place : which of the ``spacing`` columns of its bank the first one is
    """

    def __init__(self, m: Module, banks: int, name: str, spacing: int = 1):
        self.m = m
        self.banks = banks
        self.spacing = spacing
        self.value = Signal(range(banks), name=name) if banks > 1 else Const(0, 1)
        self.place = Signal(range(spacing), name=f"{name}_place") if spacing > 1 else Const(0, 1)

    def advance(self, stride: int, words: int) -> Value:
        """Move by ``stride``, at most ``banks * spacing`` where there are several banks; returns how far that is inside
        a bank, where its next column or row is ``words`` further."""
        if self.banks == 1:
            return Const(stride * words)
        if self.spacing > 1:
            bank, place, shift, wraps = self.after(stride)
            self.set(bank, place)
            return shift * words + Mux(wraps, self.spacing * words, 0)
        further = self.value + stride
        wraps = further >= self.banks
        self.m.d.sync += self.value.eq(Mux(wraps, further - self.banks, further))
        return Mux(wraps, words, 0)

    def after(self, distance: int) -> tuple[Value, Value, Value, Value]:
        """Bank and place of the column ``distance`` further, by how much the place grows, and whether the bank comes
        around, so that it stands ``spacing`` places further in its bank."""
        whole, rest = divmod(distance, self.spacing)
        place = self.place + rest
        carry = place >= self.spacing
        further = self.value + whole + carry
        wraps = further >= self.banks
        bank = Mux(wraps, further - self.banks, further)
        shift = Mux(carry, rest - self.spacing, rest)
        return bank, self.place + shift, shift, wraps

    def set(self, bank: Value, place: Value) -> None:
        """There at the end of the cycle."""
        self.m.d.sync += [self.value.eq(bank), self.place.eq(place)]

    def clear(self) -> None:
        """Back to the first bank at the end of the cycle."""
        if self.banks > 1:
            self.m.d.sync += self.value.eq(0)
        if self.spacing > 1:
            self.m.d.sync += self.place.eq(0)
