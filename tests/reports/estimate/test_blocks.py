"""Which block a table works for: told by the flip-flop that it leads to, through carries and other tables."""

from addax.reports.estimate.counting import PIECES
from addax.reports.fit.blocks import Tables, tables_of

TEXT = """\
module \\top.window (a);
endmodule
module \\top.requantise (a);
endmodule
module top(a);
endmodule
"""
WINDOW, REQUANTISE = "part.v:2.1-2.5", "part.v:4.1-4.5"
DIRECTIONS = {
    "LUT4": {"A": "input", "Z": "output"},
    "CCU2C": {"A0": "input", "S0": "output"},
    "TRELLIS_FF": {"DI": "input", "Q": "output"},
}


def cell(kind, read, made, src=""):
    pins = dict(zip(DIRECTIONS[kind], ([read], [made]), strict=True))
    return {"type": kind, "port_directions": DIRECTIONS[kind], "connections": pins, "attributes": {"src": src}}


def netlist(cells, **names):
    nets = {name: {"bits": [bit]} for name, bit in names.items()}
    return {"cells": cells, "netnames": nets, "ports": {"o__valid": {"direction": "output", "bits": [90]}}}


def test_a_table_belongs_to_where_its_result_is_kept():
    cells = {
        "direct": cell("LUT4", 1, 2),
        "kept": cell("TRELLIS_FF", 2, 3, WINDOW),
        "far": cell("LUT4", 3, 4),
        "sum": cell("CCU2C", 4, 5),
        "near": cell("LUT4", 5, 6),
        "y": cell("TRELLIS_FF", 6, 7, REQUANTISE),
        "out": cell("LUT4", 7, 90),
    }

    found = tables_of(netlist(cells), TEXT, "top")

    expected = {"window": Tables(1, 0), "activation": Tables(2, 1), "queue": Tables(1, 0)}
    assert found == {block: expected.get(block, Tables(0, 0)) for block in PIECES}


def test_registers_of_memories_go_by_their_names():
    """The word that a memory gives has no line of its own, and the address of factors is no part of a requantiser."""
    cells = {
        "w": cell("LUT4", 1, 2),
        "word": cell("TRELLIS_FF", 2, 3),
        "step": cell("LUT4", 4, 5),
        "address": cell("TRELLIS_FF", 5, 6, REQUANTISE),
    }
    names = {"weights.memory.data": 3, "requantise.address": 6}

    found = tables_of(netlist(cells, **names), TEXT, "top")

    assert (found["weights"].logic, found["factors"].logic, found["activation"].logic) == (1, 1, 0)
