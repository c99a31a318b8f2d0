"""The fabric of no device in particular: operators of Verilog."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value

from .fabric import Fabric, full_adders
from .words import Word, plain

__all__ = ["Generic"]


class Generic(Fabric):
    """Operators of the language; any synthesis tool knows what to do with them."""

    name = "generic"
    arity = 2
    cell_inputs = 4
    lut_inputs = 6

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        result = Signal(bits, name=name)
        m.d.comb += result.eq(_sum_of(words, carries, bits))
        return result

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        result = Signal(name=name)
        smaller = a.value() < b.value()
        m.d.comb += result.eq(smaller if enable is None else smaller & enable)
        return result

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        difference, borrow = Signal(a.width, name=name), Signal(name=f"{name}_borrow")
        m.d.comb += Cat(difference, borrow).eq(a.value() - b.value())
        return plain(difference), borrow

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        return full_adders(self, m, bits, name)

    def select(self, m: Module, word: Word, name: str) -> Value:
        result = Signal(word.width, name=name)
        m.d.comb += result.eq(word.value())
        return result


def _sum_of(words: Sequence[Word], carries: Sequence[Value], bits: int) -> Value:
    """Plain operators; the first carry enters below the lowest bit, so that it takes no adder of its own."""
    values = [_extended(word, bits) for word in words]
    total = values[0]
    rest = list(carries)
    for value in values[1:]:
        if rest:
            carry = rest.pop(0)
            total = ((Cat(Const(1, 1), total) + Cat(carry, value)) >> 1)[:bits]
        else:
            total = (total + value)[:bits]
    for carry in rest:
        total = (total + carry)[:bits]
    return total


def _extended(word: Word, bits: int) -> Value:
    """A signed word in ``bits`` bits; an unsigned one stays narrow, so that no adder is wider than it must."""
    value = word.value()
    if not value.shape().signed:
        return value
    return Cat(value, value[-1].replicate(max(0, bits - len(value))))[:bits]
