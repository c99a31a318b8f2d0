"""Cutting a design into parts: every module lands in exactly one, and each part is complete."""

import json

import pytest
from addax.common.errors import UserError
from addax.hdl.folder.generate import generate
from addax.reports.devices.devices import device
from addax.reports.devices.parts import cut
from addax.reports.devices.resources import Resources
from addax.reports.synth.synth import joined, map_parts, parts_of
from marks import guarded
from networks import random_images, random_plan, random_program

DESIGN = """\
/* made by hand */
module net(clk, a, y);
  input clk;
  wire clk;
  input [3:0] a;
  output [3:0] y;
  net__one one (.clk(clk), .a(a), .y(y));
endmodule

module net__one (clk, a, y);
  input clk;
  input [3:0] a;
  output [3:0] y;
  reg [3:0] y;
  net__deep \\join (.a(a));
  assign _1 = _12[3:0] + 4'h_1;
  rom #(.FILE("w.mem")) words (.clk(clk));
  always @(posedge clk) y <= a;
endmodule

module net__deep (a);
  input [3:0] a;
endmodule

module net__one__rous (a);
  input [3:0] a;
endmodule

module rom #(
    parameter FILE = ""
) (
    input clk
);
endmodule
"""


def test_a_part_takes_what_is_below_it_and_leaves_its_ports():
    """``net__one__rous`` only looks like a module below ``net__one``."""
    one, rest = cut(DESIGN, top="net", inner=[("first", ["one"])], rest="joins", shared=["rom"])

    assert (one.name, one.top, one.files) == ("first", "net__one", ("w.mem",))
    assert [line for line in one.text.splitlines() if line.startswith("module")] == [
        "module net__one (clk, a, y);", "module net__deep (a);", "module rom #(",
    ]  # fmt: skip
    assert (rest.name, rest.top, rest.files) == ("joins", "net", ())
    shell = rest.text[rest.text.index("(* blackbox *)") :].splitlines()[:6]
    assert shell == [
        "(* blackbox *)", "module net__one (clk, a, y);", "  input clk;", "  input [3:0] a;", "  output [3:0] y;",
        "endmodule",
    ]  # fmt: skip
    assert "net__one__rous" in rest.text and "deep" not in rest.text


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"the Verilog has no module net\.two"):
        cut(DESIGN, top="net", inner=[("first", ["two"])], rest="joins")
    with pytest.raises(UserError, match="the Verilog ends inside a module"):
        cut(DESIGN.rpartition("endmodule")[0], top="net", inner=[], rest="joins")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    program = random_program(300)
    return generate(
        program, random_plan(program, 300), tmp_path_factory.mktemp("parts") / "build",
        vectors=random_images(program, 1, 300),
    )  # fmt: skip


def test_the_parts_hold_every_module_and_every_memory_once(build):
    parts = parts_of(build)

    texts = [part.text for part in parts]
    modules = [line.split()[1] for line in build.sources[0].read_text().splitlines() if line.startswith("module ")]
    own = [name for name in modules if not name.endswith(("__rom", "__table"))]
    for name in own:
        holders = [t for t in texts if f"module {name} " in t.replace(f"(* blackbox *)\nmodule {name} ", "")]
        assert len(holders) == 1, name
    files = [name for part in parts for name in part.files]
    assert sorted(files) == sorted(entry["file"] for entry in build.manifest["memories"])


@pytest.mark.parametrize("name", guarded(["xc7z020", "xczu7ev"], "xc7z020", "xczu7ev"))
def test_xilinx_designs_count_in_their_own_units(build, name):
    """Every part by itself: totals are sums, small functions are paired, weights stand in memories of the device."""
    found = map_parts(parts_of(build), build.path, device(name))

    assert sum(found.parts.values(), Resources()) == found.total
    assert found.paired is not None and found.paired.keys() == found.parts.keys()
    assert 0 < sum(found.paired.values()) <= found.total.lut
    assert all(found.parts[stage.name].lut > 0 for stage in build.plan.stages)
    assert found.netlists == ()


def test_netlists_join_to_one_that_holds_all_cells(build):
    """What is placed is what was counted."""
    found = map_parts(parts_of(build), build.path, device("ecp5-45k"))

    document = json.loads(joined(found.netlists, build.prefix).read_text())
    modules = document["modules"]
    assert [name for name, m in modules.items() if int(m["attributes"].get("top", "0"), 2)] == [build.prefix]
    for part in parts_of(build):
        assert modules[part.top]["cells"] and "blackbox" not in modules[part.top]["attributes"]
    kinds = [cell["type"] for m in modules.values() for cell in m["cells"].values()]
    assert kinds.count("TRELLIS_FF") == found.total.ff
    assert kinds.count("DP16KD") == found.total.bram
