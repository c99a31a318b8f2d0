"""Lookup tables: what functions of single bits give for every assignment of their inputs."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Value
from amaranth.hdl._ast import Slice  # private; the only way to see that two bits are the same

from .words import Bit, bit_of

__all__ = ["LookupTable", "bits_of", "init_of"]


class LookupTable:
    """Several functions over the union of their inputs, constants removed."""

    def __init__(self, *bits: Bit):
        self.inputs: list[Value] = []
        places: dict[Any, int] = {}
        self._readers = []
        for bit in bits:
            reader: list[tuple[bool, int]] = []
            for value in bit.inputs:
                value = bit_of(value, 0, signed=False)
                if isinstance(value, Const):
                    reader.append((True, value.value & 1))
                    continue
                key = (id(value.value), value.start) if isinstance(value, Slice) else id(value)
                if key not in places:
                    places[key] = len(self.inputs)
                    self.inputs.append(value)
                reader.append((False, places[key]))
            self._readers.append((bit.function, reader))

    def __call__(self, index: int, assignment: Sequence[int]) -> int:
        """Value of function ``index`` when the inputs are ``assignment``."""
        function, reader = self._readers[index]
        return int(function(*(place if is_const else assignment[place] for is_const, place in reader))) & 1

    def column(self, index: int) -> tuple[int, ...]:
        """Function ``index`` for every assignment, the first input counting fastest."""
        count = len(self.inputs)
        return tuple(self(index, bits_of(k, count)) for k in range(1 << count))


def bits_of(number: int, count: int) -> tuple[int, ...]:
    """The lowest ``count`` bits of ``number``, the lowest first: an assignment of as many inputs."""
    return tuple((number >> k) & 1 for k in range(count))


def init_of(table: Sequence[int]) -> Const:
    """``table`` as the parameter of a lookup table: the entry of the lowest assignment is the lowest bit."""
    return Const(sum(bit << k for k, bit in enumerate(table)), len(table))
