"""Layout of what a stream carries in one transfer."""

from amaranth.hdl import unsigned
from amaranth.lib import data

__all__ = ["elements"]


def elements(bits: int, count: int) -> data.ArrayLayout:
    """Layout of a beat: ``count`` elements of ``bits`` bits, the first one lowest."""
    return data.ArrayLayout(unsigned(bits), count)
