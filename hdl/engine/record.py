"""Records: what hardware, compiler and software read from memory, each described once as a table of fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ...quant.formats import Format

__all__ = ["Record", "RecordField"]


@dataclass(frozen=True, kw_only=True)
class RecordField:
    """A number in a record: ``bits`` of it, two's complement if ``signed``."""

    name: str
    bits: int
    meaning: str
    signed: bool = False

    @property
    def format(self) -> Format:
        """The numbers that it holds."""
        return Format(bits=self.bits, signed=self.signed)


@dataclass(frozen=True)
class Record:
    """Fields one above the other, the first one lowest.

    In memory a record takes whole words of the engine, the lowest bits first; what is left of the last word is 0.
    """

    name: str
    fields: tuple[RecordField, ...]

    @property
    def bits(self) -> int:
        """Bits of all fields."""
        return sum(field.bits for field in self.fields)

    @cached_property
    def layout(self) -> data.StructLayout:
        """The record as hardware reads it."""
        return data.StructLayout({f.name: (signed if f.signed else unsigned)(f.bits) for f in self.fields})

    def words(self, word_bits: int) -> int:
        """Words that the record takes in memory."""
        return -(-self.bits // word_bits)

    def pack(self, values: Mapping[str, int]) -> int:
        """The record as one number.

        Raises
        ------
        ValueError
            for a value that its field does not hold, by name, and for fields that are missing or unknown.
        """
        if set(values) != {field.name for field in self.fields}:
            odd = sorted(set(values) ^ {field.name for field in self.fields})
            raise ValueError(f"{self.name} has other fields: {', '.join(odd)}")
        number = 0
        for field in reversed(self.fields):
            try:
                word = field.format.encode(values[field.name])
            except ValueError as error:
                raise ValueError(f"{field.name} of {self.name}: {error}") from error
            number = number << field.bits | word
        return number

    def unpack(self, number: int) -> dict[str, int]:
        """The fields of `pack`'s number."""
        values = {}
        for field in self.fields:
            values[field.name] = field.format.decode(number & ((1 << field.bits) - 1))
            number >>= field.bits
        return values

    def split(self, values: Mapping[str, int], word_bits: int) -> list[int]:
        """The record as words of memory."""
        number = self.pack(values)
        return [number >> k * word_bits & ((1 << word_bits) - 1) for k in range(self.words(word_bits))]

    def joined(self, words: list[int], word_bits: int) -> dict[str, int]:
        """The fields of the record that `split` made."""
        return self.unpack(sum(word << k * word_bits for k, word in enumerate(words)) & ((1 << self.bits) - 1))
