"""The search for combinational loops in wide circuits: it finds what Amaranth's own finds, and follows edges once."""

import pytest
from addax.hdl.verilog.edges import edges_followed_once
from addax.hdl.verilog.emit import to_verilog
from amaranth.hdl import Module, Signal
from amaranth.hdl._nir import CombinationalCycle, Operator, Part
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

HOWS = {
    "shift": lambda value, other: value >> 3,
    "sum": lambda value, other: value + other,
    "product": lambda value, other: (value * 3) >> 1,
    "part": lambda value, other: value.bit_select(other[:3], len(value)),
}
"""Circuits of which every bit reads all bits."""


class Wide(wiring.Component):
    """Something of ``bits`` bits, of which one is read again where ``loops``."""

    def __init__(self, how, bits, *, loops=False):
        self.how, self.loops = how, loops
        super().__init__({"x": In(bits), "other": In(bits), "y": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        value = Signal.like(self.x)
        m.d.comb += [value.eq(self.x), self.y.eq(HOWS[self.how](value, self.other))]
        if self.loops:
            m.d.comb += value[-1].eq(self.y[0])
        return m


@pytest.mark.parametrize("how", HOWS)
def test_a_loop_through_one_bit_of_many_is_found(how):
    with pytest.raises(CombinationalCycle, match="bit 0"):
        to_verilog(Wide(how, 16, loops=True), "top")


@pytest.mark.parametrize("how", HOWS)
def test_edges_grow_with_the_width(how, monkeypatch):
    """Those of an operator of ``n`` bits are followed for one bit of its result, not for each: ``n``, not ``n * n``."""
    seen = []

    def counted(edges):
        def found(cell, bit):
            for edge in edges(cell, bit):
                seen.append(edge)
                yield edge

        return found

    for kind in (Operator, Part):
        monkeypatch.setattr(kind, "comb_edges_to", counted(kind.comb_edges_to))

    to_verilog(Wide(how, 200), "top")

    assert 200 <= len(seen) <= 6 * 200


def test_amaranth_is_left_as_it_was():
    own = Operator.comb_edges_to, Part.comb_edges_to

    with pytest.raises(ValueError, match="meant"), edges_followed_once():
        assert Operator.comb_edges_to is not own[0]
        raise ValueError("meant")

    assert (Operator.comb_edges_to, Part.comb_edges_to) == own
