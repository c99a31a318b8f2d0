"""Multiplying by a factor that memory gives: in DSP blocks, in lookup tables, or by shifting.

A factor of ``pow2`` is stored as the signed powers of two whose sum it is, so that shifters and adders do what a
multiplier would.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...quant.formats import signed as number_format
from ...quant.program import powers_of_two

__all__ = ["SCALES", "Factor"]

SCALES = ("dsp", "halves", "lut", "pow2")
"""How requantisers multiply: a product that synthesis puts where it likes, into DSP blocks if the device has them; two
such products, of the lowest bits and of the rest, and their sum one rank later, for sums that are wider than a DSP
block takes; rows of a product, added in lookup tables; sums of shifted operands, for factors with few powers of two."""
HALF = 17
"""Bits of the lower half of ``halves``: with the zero that makes them signed they fill an operand of 18 bits."""
FAN_IN = 4
"""Operands of a sum between two ranks of registers: two additions, one behind the other."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """How factors are stored, and how something is multiplied by them.

    Attributes
    ----------
    scale : one of `SCALES`
    bits : a factor is a signed number of so many bits, an even number
    terms : the most signed powers of two in a factor of ``pow2``
    """

    scale: str
    bits: int
    terms: int = 0

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, not {self.scale!r}")
        if self.scale == "pow2" and self.terms < 1:
            raise ValueError("scale pow2 is for factors that are sums of a given number of powers of two")

    @property
    def width(self) -> int:
        """Bits in memory."""
        return self.terms * self._digit if self.scale == "pow2" else self.bits

    @property
    def latency(self) -> int:
        """Ranks of registers of `product`."""
        if self.scale in ("dsp", "halves"):
            return 1 + (self.scale == "halves")
        left = self.terms if self.scale == "pow2" else self.bits // FAN_IN
        ranks = 1
        while left > 1:
            left, ranks = -(-left // FAN_IN), ranks + 1
        return ranks

    @property
    def _digit(self) -> int:
        """Bits of a signed power of two: whether there is one, whether it is subtracted, its exponent."""
        return 2 + (self.bits - 1).bit_length()

    def encode(self, value: int) -> int:
        """The word of a factor; raises ``ValueError`` for one that it cannot hold."""
        if self.scale != "pow2":
            return number_format(self.bits).encode(value)
        number_format(self.bits).encode(value)
        digits = powers_of_two(value)
        if len(digits) > self.terms:
            raise ValueError(f"factor {value} is no sum of {self.terms} signed powers of two")
        word = 0
        for place, digit in enumerate(digits):
            exponent = abs(digit).bit_length() - 1
            word |= (1 | (digit < 0) << 1 | exponent << 2) << place * self._digit
        return word

    def decode(self, word: int) -> int:
        """The factor in a word."""
        if self.scale != "pow2":
            return number_format(self.bits).decode(word)
        value = 0
        for place in range(self.terms):
            digit = word >> place * self._digit & ((1 << self._digit) - 1)
            value += (digit & 1) * (-1 if digit & 2 else 1) << (digit >> 2)
        return value

    def product(self, m: Module, x: Value, word: Value, *, name: str) -> Value:
        """``x`` times the factor in ``word``, `latency` ranks behind them; both come out of registers."""
        width = len(x) + self.bits + (0 if x.shape().signed else 1)
        if self.scale == "dsp":
            product = Signal(signed(width), name=name)
            m.d.sync += product.eq(x * word.as_signed())
            return product
        if self.scale == "halves":
            operands = self._halves(x, word)
        elif self.scale == "pow2":
            operands = [self._shifted(x, word.word_select(place, self._digit)) for place in range(self.terms)]
        else:
            operands = self._rows(x, word)
        rank = 1
        while True:
            ranked = []
            for place, operand in enumerate(operands):
                kept = Signal(signed(min(width, len(operand))), name=f"{name}_rank{rank}_{place}")
                m.d.sync += kept.eq(operand)
                ranked.append(kept)
            if len(ranked) == 1:
                break
            operands, rank = _sums(ranked, FAN_IN), rank + 1
        return ranked[0]

    @staticmethod
    def _halves(x: Value, word: Value) -> list[Value]:
        """Products of the lowest bits and of those above them."""
        factor = word.as_signed()
        if len(x) <= HALF:
            return [x * factor, Const(0, 1)]
        above = x[HALF:].as_signed() if x.shape().signed else x[HALF:]
        return [x[:HALF] * factor, _times(above * factor, HALF)]

    @staticmethod
    def _shifted(x: Value, digit: Value) -> Value:
        return Mux(digit[0], Mux(digit[1], -x, x), 0) << digit[2:]

    def _rows(self, x: Value, word: Value) -> list[Value]:
        """Sums of four rows each; the row of the sign is subtracted. Rows are added in pairs first, which takes one
        lookup table with its carry per bit."""
        pairs = []
        for low in range(0, self.bits, 2):
            even, odd = (Mux(word[place], x, 0) for place in (low, low + 1))
            odd = Cat(Const(0, 1), odd).as_signed() if x.shape().signed else Cat(Const(0, 1), odd)
            pair = even - odd if low + 2 == self.bits else even + odd
            pairs.append(_times(pair, low))
        return _sums(pairs, FAN_IN // 2)


def _times(x: Value, places: int) -> Value:
    """``x`` times two to the power of ``places``."""
    moved = Cat(Const(0, places), x)
    return moved.as_signed() if x.shape().signed else moved


def _sums(operands: list[Value], fan_in: int) -> list[Value]:
    """Sums of neighbours, so many each, as balanced trees."""
    return [_tree(operands[at : at + fan_in]) for at in range(0, len(operands), fan_in)]


def _tree(operands: list[Value]) -> Value:
    if len(operands) == 1:
        return operands[0]
    half = -(-len(operands) // 2)
    return _tree(operands[:half]) + _tree(operands[half:])
