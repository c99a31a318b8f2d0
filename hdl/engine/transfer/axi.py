"""The pins of an AXI4 master."""

from typing import Any

from amaranth.hdl import Cat, Const, Value
from amaranth.lib.wiring import In, Out

from ..plan import EnginePlan

__all__ = ["ADDRESS_BITS", "PREFIX", "read_pins", "tied_pins", "whole_words", "write_pins"]

PREFIX = "m_axi_"
ADDRESS_BITS = 40
"""Of a byte in memory."""


def read_pins(plan: EnginePlan) -> dict[str, Any]:
    """What reads, but for what never changes."""
    return {
        "araddr": Out(ADDRESS_BITS), "arlen": Out(8), "arvalid": Out(1), "arready": In(1),
        "rdata": In(plan.memory_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
    }  # fmt: skip


def write_pins(plan: EnginePlan) -> dict[str, Any]:
    """What writes, but for what never changes."""
    return {
        "awaddr": Out(ADDRESS_BITS), "awlen": Out(8), "awvalid": Out(1), "awready": In(1),
        "wdata": Out(plan.memory_bits), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
        "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    }  # fmt: skip


def tied_pins(plan: EnginePlan) -> dict[str, tuple[int, int]]:
    """Width and value of the pins that never change: one identifier, whole beats, INCR bursts, normal memory."""
    size, bytes_of_beat = (plan.memory_bits // 8).bit_length() - 1, plan.memory_bits // 8
    return {
        "arid": (1, 0), "arsize": (3, size), "arburst": (2, 1), "arcache": (4, 0b0011), "arprot": (3, 0),
        "awid": (1, 0), "awsize": (3, size), "awburst": (2, 1), "awcache": (4, 0b0011), "awprot": (3, 0),
        "wstrb": (bytes_of_beat, (1 << bytes_of_beat) - 1),
    }  # fmt: skip


def whole_words(plan: EnginePlan, more: Value) -> Value:
    """What AXI4 calls the length of a burst of ``more`` words and one: its beats but for the first."""
    return Cat(Const(plan.beats - 1, plan.beats.bit_length() - 1), more)
