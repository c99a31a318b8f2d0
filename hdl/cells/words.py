"""Words: numbers whose bit ``i`` is a small function of bit ``i`` of a few signals, for instance ``d[i] ^ s``.

Everything a lane computes is a sum of words. A carry chain has one cell per bit with a lookup table in front of it, so
a function of the right size costs nothing beside the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Value
from amaranth.hdl._ast import Concat, Slice  # private; the only way to see that two bits are the same

from .functions import same, zero

__all__ = ["Bit", "Function", "Word", "bit_of", "plain"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Bit:
    """A function of single bits."""

    inputs: tuple[Value, ...]
    function: Function


@dataclass(frozen=True, kw_only=True)
class Word:
    """A number whose bit ``i`` is ``function`` of bit ``i`` of the inputs.

    Attributes
    ----------
    inputs : the words and single bits that the function reads; a single bit is read at every position
    function : of as many arguments; called with signals, and with zeros and ones
    bits : width; by default that of the widest input
    signed : beyond its width, and beyond that of its inputs, the word repeats the top bit; else it is zero there
    flip : its top bit is inverted, which turns a signed number into one that counts from the lowest
    places : it stands so many places to the left, above zeros
    """

    inputs: tuple[Any, ...]
    function: Function
    bits: int | None = None
    signed: bool = False
    flip: bool = False
    places: int = 0

    @property
    def width(self) -> int:
        """Bits of the word, the places below it included."""
        return self.places + (self.bits or max(len(value) for value in self.inputs))

    @property
    def extends(self) -> bool:
        """Whether the word repeats its top bit beyond its width."""
        return self.signed and not self.flip

    @property
    def is_plain(self) -> bool:
        """Whether the word is just a signal."""
        return self.function is same and not self.flip

    def value(self) -> Value:
        """The word as an expression, unsigned or signed."""
        width = self.width - self.places
        wide = []
        for value in self.inputs:
            if len(value) == 1:
                wide.append(value.replicate(width))
            else:
                top = value[-1] if self.signed else Const(0, 1)
                wide.append(Cat(value, top.replicate(width - len(value))) if len(value) < width else value[:width])
        result = self.function(*wide)[:width]
        if self.flip:
            result = result ^ Const(1 << (width - 1), width)
        result = Cat(Const(0, self.places), result)
        return result.as_signed() if self.extends else result

    def bit(self, position: int) -> "Bit":
        """What stands at ``position``."""
        position -= self.places
        width = self.width - self.places
        if position < 0 or (position >= width and not self.extends):
            return Bit((), zero)
        position = min(position, width - 1)
        reads = tuple(bit_of(value, position, signed=self.signed) for value in self.inputs)
        if self.flip and position == width - 1:
            function = self.function
            return Bit(reads, lambda *values: ~function(*values))
        return Bit(reads, self.function)


def plain(value: Value, *, signed: bool = False) -> Word:
    """The word that is just ``value``."""
    return Word(inputs=(value,), function=same, signed=signed)


def bit_of(value: Value, position: int, *, signed: bool) -> Value:
    """Bit ``position`` of ``value``, through slices and concatenations, so that equal bits are recognised."""
    if len(value) == 1:
        position = 0
    elif position >= len(value):
        if not signed:
            return Const(0, 1)
        position = len(value) - 1
    while True:
        if isinstance(value, Const):
            return Const((value.value >> position) & 1, 1)
        if isinstance(value, Slice):
            value, position = value.value, position + value.start
        elif isinstance(value, Concat):
            for part in value.parts:
                if position < len(part):
                    value = part
                    break
                position -= len(part)
        else:
            return value[position]
