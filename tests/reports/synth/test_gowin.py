"""A Gowin device: how its cells are counted, and pins for a design that is placed to be measured."""

import json
import re

import pytest
from addax.common.errors import UserError
from addax.reports.devices.devices import device
from addax.reports.devices.parts import cut
from addax.reports.devices.resources import Resources
from addax.reports.synth.gowin_pins import constraints

TARGET = device("gw2a-18")


def netlist(folder, **ports):
    file = folder / "netlist.json"
    made = {name: {"direction": "input", "bits": list(range(width))} for name, width in ports.items()}
    file.write_text(json.dumps({"modules": {"addax": {"ports": made}}}))
    return file


def test_cells_are_counted():
    """Tables and carry cells share sites; what joins tables to wider ones has sites of its own."""
    cells = {
        "LUT1": 1, "LUT2": 2, "LUT3": 3, "LUT4": 4, "ALU": 10, "MUX2_LUT5": 7, "RAM16SDP4": 2, "DFF": 5, "DFFRE": 6,
        "SDPX9B": 1, "SPX9": 2, "pROM": 3, "MULT18X18": 4, "MULT9X9": 3, "GND": 1, "IBUF": 9,
    }  # fmt: skip

    assert Resources.of_cells(cells, "gowin") == Resources(lut=28, ff=11, bram=6, dsp=6, carry=10, lutram=2)


def test_every_bit_has_a_pin_and_the_clock_one_for_clocks(tmp_path):
    found = constraints(netlist(tmp_path, aclk=1, s_axis_tdata=16, s_axis_tvalid=1), "addax", TARGET.pins_of)

    chosen = dict(re.fullmatch(r'IO_LOC "(\S+)" (\w+);', line).groups() for line in found.splitlines())
    assert set(chosen) == {"aclk", "s_axis_tvalid", *(f"s_axis_tdata[{bit}]" for bit in range(16))}
    assert len(set(chosen.values())) == len(chosen)
    other = constraints(netlist(tmp_path, aclk=1), "addax", TARGET.pins_of)
    assert other == f'IO_LOC "aclk" {chosen["aclk"]};\n'


def test_too_many_ports(tmp_path):
    with pytest.raises(UserError, match=r"999 ports are too many for the \d+ pins of GW2A-LV18PG484C8/I7"):
        constraints(netlist(tmp_path, wide=999), "addax", TARGET.pins_of)


def test_only_the_outermost_part_has_pads():
    """Parts are joined with others; pads between them could not be placed."""
    text = "".join(f"module {name} (a);\n  input a;\nendmodule\n" for name in ("one", "two"))
    text += "module addax (a);\n  input a;\n  one first (.a(a));\n  two second (.a(a));\nendmodule\n"

    parts = cut(text, top="addax", inner=[("one", ["first"]), ("two", ["second"])], rest="rest")

    assert {part.name: part.outer for part in parts} == {"one": False, "two": False, "rest": True}
