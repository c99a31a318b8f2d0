"""Layout of what a stream carries in one transfer."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from ...quant.formats import Format

__all__ = ["element_bits", "elements"]


def element_bits(fmt: Format) -> int:
    """Bits that an element of the input or of a raw result takes in a beat of the accelerator: whole bytes."""
    return -(-fmt.bits // 8) * 8


def elements(bits: int, count: int) -> data.ArrayLayout:
    """Layout of a beat: ``count`` elements of ``bits`` bits, the first one lowest."""
    return data.ArrayLayout(unsigned(bits), count)
