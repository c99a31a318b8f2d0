"""Descriptions without cells: they go as those go that make something."""

import pytest
from addax.hdl.cells.known import FABRICS
from addax.hdl.lanes.ranks import settled
from addax.hdl.lanes.shape import ArrayShape, run_circuit
from addax.hdl.lanes.structures import STRUCTURES
from addax.quant.formats import Format, unsigned
from addax.quant.program import check_operands
from amaranth.hdl import Const, Fragment, Module, Signal

FORMATS = [Format(bits=bits, signed=is_signed) for bits in (1, 2, 4, 5, 8) for is_signed in (False, True)]


def levels_made(shape):
    """Levels of one row in the cells of its fabric."""
    xs = [Signal(shape.x.bits) for _ in range(shape.pin)]
    ws = [[Signal(shape.w.bits) for _ in range(shape.pin)]]
    passed = []

    def count(level, state):
        passed.append(level)
        return settled(state)

    m = Module()
    run_circuit(m, FABRICS[shape.fabric], shape, xs, ws, Const(1, 1), count)
    Fragment.get(m, None)
    return len(passed)


def formats_of(kernel):
    """Pairs of formats that ``kernel`` takes."""
    for x in FORMATS:
        for w in (unsigned(1), unsigned(4), *FORMATS):
            try:
                check_operands(kernel, x, w)
            except ValueError:
                continue
            yield x, w


@pytest.mark.parametrize("fabric", FABRICS)
@pytest.mark.parametrize("kernel", STRUCTURES)
def test_a_row_has_the_levels_that_are_made(kernel, fabric):
    """Ranks of registers stand behind them, in designs and in the cycle model."""
    pairs, seen = sorted(set(formats_of(kernel)), key=str), 0
    for structure in STRUCTURES[kernel]:
        for number, pin in enumerate((1, 2, 3, 7, 13)):
            x, w = pairs[number * 3 % len(pairs)]
            try:
                shape = ArrayShape(kernel=kernel, structure=structure, fabric=fabric, pin=pin, pout=2, x=x, w=w)
            except ValueError:
                continue
            assert shape.levels == levels_made(shape), shape
            seen += 1
    assert seen
