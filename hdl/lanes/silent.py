"""Circuits that are described without being made: whatever they ask a fabric for is a value of the right width.

So a description says how it goes, how many levels it has and what it asks for, in much less time than one that is made.
"""

from collections.abc import Sequence
from functools import cache

from amaranth.hdl import Module, Value, unsigned
from amaranth.hdl._ast import AnyConst  # private: values that nothing drives

from ..cells.fabric import Fabric
from ..cells.words import Word, plain

__all__ = ["SilentFabric", "silent_value"]


@cache
def _template(bits: int) -> Value:
    return AnyConst(unsigned(bits))


def silent_value(bits: int) -> Value:
    """Something of ``bits`` bits, and nothing more. A `Signal` would look for its name, and any value for the line that
    it comes from; that takes longer than all the rest of a description."""
    template = _template(bits)
    value: Value = object.__new__(type(template))
    vars(value).update(vars(template))
    return value


class SilentFabric(Fabric):
    """A fabric of which circuits ask the same as of ``inner``, and which makes nothing."""

    def __init__(self, inner: Fabric):
        self.inner = inner
        self.name, self.arity = inner.name, inner.arity
        self.cell_inputs, self.lut_inputs = inner.cell_inputs, inner.lut_inputs

    def group(self, words: Sequence[Word]) -> int:
        """How many words ``inner`` takes."""
        return self.inner.group(words)

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        """A value for the sum."""
        return silent_value(bits)

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        """A value for the comparison."""
        return silent_value(1)

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """Values for the difference and its borrow."""
        return plain(silent_value(a.width)), silent_value(1)

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """A value for the count."""
        return silent_value(3)

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """A value for the count."""
        return silent_value(2)

    def select(self, m: Module, word: Word, name: str) -> Value:
        """A value for the word."""
        return silent_value(word.width)
