# amaranth: UnusedElaboratable=no
"""What the ring of a move promises to synthesis, proved by reachability for any pixels, pauses and ``go``."""

import pytest
from addax.hdl.maps.move import MoveBuffer, MoveShape
from amaranth.hdl import Assume, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from collisions import submodule_without_collisions
from prove import reached_violation


class FreeMove(wiring.Component):
    """A move whose pixels come, and whose beats leave, whenever they like."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({"data": In(len(dut.i.payload.as_value())), "valid": In(1), "go": In(1)})

    def elaborate(self, platform):
        m = Module()
        submodule_without_collisions(m, self.dut, platform)
        m.d.comb += [
            Assume(~ResetSignal()), self.dut.i.payload.as_value().eq(self.data), self.dut.i.valid.eq(self.valid),
            self.dut.go.eq(self.go),
        ]  # fmt: skip
        return m


SHIFT = {"kind": "spatial_shift", "channels": 2, "height": 3, "width": 2, "simd": 1, "rows": 4}
SHUFFLE = {"kind": "pixel_shuffle", "channels": 4, "height": 2, "width": 2, "factor": 2}
MOVES = {
    "down and up": {**SHIFT, "offsets": ((1, 0), (-1, 0))},
    "to the sides": {**SHIFT, "offsets": ((0, 1), (0, -1)), "rows": 2},
    "both channels at once": {**SHIFT, "offsets": ((1, 1), (-1, 0)), "simd": 2},
    "shuffle": {**SHUFFLE, "simd": 1, "rows": 2},
    "shuffle of all at once": {**SHUFFLE, "simd": 4, "rows": 2},
    "upsampling": {"kind": "upsample", "channels": 2, "height": 2, "width": 2, "simd": 1, "factor": 2, "rows": 2},
}


@pytest.mark.parametrize("name", MOVES)
def test_no_word_is_read_while_it_is_written(tmp_path, name):
    """Synthesis leaves out what would give such a read the old word, so there must be none, ever."""
    found = reached_violation(FreeMove(MoveBuffer(MoveShape(bits=1, **MOVES[name]))), tmp_path)
    assert found is None, found


class Overwriting(MoveBuffer):
    """A move whose write side takes the ring to have a row more than it has."""

    def _write_side(self, m, banks, rows):
        class OneLess:
            level, row_done = rows.level - 1, rows.row_done

        super()._write_side(m, banks, OneLess)


def test_a_row_too_many_is_found(tmp_path):
    """Protects the proof: a ring that is written over before it has been read."""
    assert reached_violation(FreeMove(Overwriting(MoveShape(bits=1, **MOVES["down and up"]))), tmp_path) is not None
