"""What the carry logic of a device can do: chains, and adders of two or three `Word`.

How large a function a cell holds in front of its sum is what distinguishes devices:

=========  =======================================  =====================================================
fabric     cell                                     adds per cell
=========  =======================================  =====================================================
generic    ``+``; synthesis decides                 two words
xilinx     LUT6_2 with CARRY4 (CARRY8)              two words of five inputs together, six if one is a
                                                    plain signal; three words of four inputs together
ecp5       half a CCU2C                             two words of four inputs together, with a restriction
=========  =======================================  =====================================================

A function is written once, as a Python function of ``&``, ``|``, ``^`` and ``~`` that is evaluated on signals in the
generic form and on zeros and ones for the lookup tables of the device forms. Tests prove by SAT that the forms agree.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value

from .words import Word

__all__ = ["Fabric", "full_adders"]


class Fabric(ABC):
    """The arithmetic of a family of devices. Widths are free, results are exact.

    Attributes
    ----------
    name : what users call it
    arity : words that one adder takes
    cell_inputs : inputs that the two words of a carry cell may read together
    lut_inputs : inputs of a lookup table
    """

    name: str
    arity: int
    cell_inputs: int
    lut_inputs: int

    def group(self, words: Sequence[Word]) -> int:
        """How many of the first ``words`` one adder takes: at least two, unless there is only one."""
        return min(2, len(words))

    @abstractmethod
    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        """``sum(words) + sum(carries)`` modulo ``2**bits``, of `group` words and up to one carry fewer."""

    @abstractmethod
    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        """``a < b`` of two unsigned words of equal width; 0 while ``enable`` is low."""

    @abstractmethod
    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """``a - b`` of two unsigned words of equal width, in as many bits, and whether ``a < b``."""

    @abstractmethod
    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """How many of seven bits are set, in three bits."""

    @abstractmethod
    def select(self, m: Module, word: Word, name: str) -> Value:
        """The value of ``word`` in lookup tables."""

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """How many of three bits are set, in two bits."""
        a, b, c = bits
        result = Signal(2, name=name)
        m.d.comb += result.eq(Cat(a ^ b ^ c, (a & b) | (c & (a | b))))
        return result


def full_adders(fabric: Fabric, m: Module, bits: Sequence[Value], name: str) -> Value:
    """Count seven bits, the last of which may be constantly zero."""
    low = fabric.count3(m, bits[:3], f"{name}_a")
    high = fabric.count3(m, bits[3:6], f"{name}_b")
    ones = fabric.count3(m, [low[0], high[0], bits[6]], f"{name}_1")
    twos = fabric.count3(m, [low[1], high[1], ones[1]], f"{name}_2")
    return Cat(ones[0], twos)
