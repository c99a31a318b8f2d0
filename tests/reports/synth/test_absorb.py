"""Registers around ECP5's multipliers: which are moved into the blocks, which stay, and that nothing changes by it."""

import json
from copy import deepcopy

import pytest
from addax.common.errors import UserError
from addax.reports.synth.absorb import absorb_registers
from addax.reports.tools.run import run_tool, yosys_command

CLOCK = 2


def register(data, q, *, reset="0", **settings):
    """A flip-flop as yosys writes it."""
    parameters = {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET", **settings}
    pins = {"CLK": [CLOCK], "DI": [data], "LSR": [reset], "Q": [q]}
    return cell("TRELLIS_FF", pins, {"Q"}, parameters)


def cell(kind, pins, outputs, parameters=None):
    ways = {pin: "output" if pin in outputs else "input" for pin in pins}
    return {"type": kind, "connections": pins, "port_directions": ways, "parameters": parameters or {}}


def product(a, b, p):
    """A block of operands of one bit each."""
    pins = {f"{side}{k}": ["0"] for side in "AB" for k in range(18)} | {f"P{k}": [] for k in range(36)}
    return cell("MULT18X18D", pins | {"A0": [a], "B0": [b], "P0": [p]}, {f"P{k}" for k in range(36)})


def registered_product(**settings):
    """Signals 10 and 11 through a register each, their product, and its register, 15."""
    return {
        "a": register(10, 12, **settings), "b": register(11, 13), "block": product(12, 13, 14), "p": register(14, 15)
    }  # fmt: skip


def inside(block):
    return {name for name in ("INPUTA", "INPUTB", "OUTPUT") if f"REG_{name}_CLK" in block["parameters"]}


def test_operands_and_product_move_into_the_block():
    cells = registered_product(reset=9)

    gone = absorb_registers(cells, [10, 11, 15])

    assert gone == {"TRELLIS_FF": 3}
    assert list(cells) == ["block"]
    pins = cells["block"]["connections"]
    assert [pins[pin] for pin in ("A0", "B0", "P0", "CLK0", "CE0")] == [[10], [11], [15], [CLOCK], ["1"]]
    resets = [pins[cells["block"]["parameters"][f"REG_{what}_RST"]] for what in ("INPUTA", "INPUTB", "OUTPUT")]
    assert resets == [[9], ["0"], ["0"]]


def test_an_operand_that_something_else_reads_keeps_its_register_beside_that_in_the_block():
    cells = registered_product()

    gone = absorb_registers(cells, [10, 11, 12, 15])

    assert gone == {"TRELLIS_FF": 2}
    assert set(cells) == {"a", "block"}
    assert inside(cells["block"]) == {"INPUTA", "INPUTB", "OUTPUT"}


def test_operands_out_of_block_ram_stay_outside():
    """The word comes late: its registers must be free to lie beside the memory."""
    cells = registered_product()
    cells["ram"] = cell("DP16KD", {"DOA0": [10]}, {"DOA0"})

    absorb_registers(cells, [11, 15])

    assert set(cells) == {"ram", "a", "b", "block"}
    assert inside(cells["block"]) == {"OUTPUT"}


@pytest.mark.parametrize("settings", [
    {"CEMUX": "CE"}, {"REGSET": "SET"}, {"SRMODE": "ASYNC"}, {"CLKMUX": "INV"}, {"LSRMUX": "INV"},
])  # fmt: skip
def test_registers_that_do_more_than_follow_the_clock_stay_outside(settings):
    cells = registered_product(**settings)

    absorb_registers(cells, [10, 11, 15])

    assert set(cells) == {"a", "b", "block"}


@pytest.mark.parametrize("change", ["read elsewhere", "no register", "another clock"])
def test_a_product_that_goes_elsewhere_leaves_all_as_it_is(change):
    cells = registered_product()
    ports = [10, 11, 15]
    if change == "read elsewhere":
        ports.append(14)
    elif change == "no register":
        cells["p"] = cell("LUT4", {"A": [14], "Z": [15]}, {"Z"})
    else:
        cells["p2"] = register(16, 17)
        cells["p2"]["connections"]["CLK"] = [3]
        cells["block"]["connections"]["P1"] = [16]
        ports.append(17)
    before = deepcopy(cells)

    assert not absorb_registers(cells, ports)
    assert cells == before


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_a_register_between_two_blocks_goes_into_one(order):
    blocks = {"first": product(12, 13, 14), "second": product(15, 13, 16)}
    cells = {
        **{name: blocks[name] for name in order},
        "a": register(10, 12), "b": register(11, 13), "between": register(14, 15), "p": register(16, 17),
    }  # fmt: skip

    absorb_registers(cells, [10, 11, 17])

    driven = [bit for one in cells.values() for pin, way in one["port_directions"].items() if way == "output"
              for bit in one["connections"][pin]]  # fmt: skip
    read = {bit for one in cells.values() for pin, way in one["port_directions"].items() if way == "input"
            for bit in one["connections"][pin] if isinstance(bit, int)}  # fmt: skip
    assert len(driven) == len(set(driven))
    assert read - {CLOCK, 10, 11} <= set(driven)
    between = inside(blocks["first"]) & {"OUTPUT"}, inside(blocks["second"]) & {"INPUTA"}
    assert sorted(map(bool, between)) == [False, True]


DESIGN = """
module top (input clk, input rst, input signed [7:0] x, input signed [4:0] v, input signed [3:0] w,
            output reg signed [12:0] p, output reg signed [11:0] q, output reg signed [7:0] seen);
  reg signed [7:0] a = 0; reg signed [4:0] b = 0; reg signed [3:0] c = 0;
  initial {p, q} = 0;
  always @(posedge clk) begin
    a <= x; seen <= a;
    b <= rst ? 0 : v; c <= w;
    p <= rst ? 0 : a * b; q <= a * c;
  end
endmodule
"""
BLOCK = """
module MULT18X18D (ports);
  // Which function it is does not matter: only when it sees what.
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "", REG_INPUTB_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "", REG_OUTPUT_RST = "RST0";
  declarations
  wire [17:0] a = {as}, b = {bs};
  reg [17:0] ra = 0, rb = 0;
  reg [35:0] rp = 0;
  wire [17:0] ia = REG_INPUTA_CLK == "NONE" ? a : ra, ib = REG_INPUTB_CLK == "NONE" ? b : rb;
  wire [35:0] made = {ia ^ {ib[8:0], ib[17:9]}, ia & ib};
  assign {ps} = REG_OUTPUT_CLK == "NONE" ? made : rp;
  wire resets_a = REG_INPUTA_RST == "RST0" ? RST0 : REG_INPUTA_RST == "RST1" ? RST1 : RST2;
  wire resets_b = REG_INPUTB_RST == "RST0" ? RST0 : REG_INPUTB_RST == "RST1" ? RST1 : RST2;
  wire resets_p = REG_OUTPUT_RST == "RST0" ? RST0 : REG_OUTPUT_RST == "RST1" ? RST1 : RST2;
  always @(posedge CLK0) begin
    ra <= resets_a ? 0 : a; rb <= resets_b ? 0 : b; rp <= resets_p ? 0 : made;
  end
endmodule
"""


def block_model():
    """`BLOCK` with its pins written out."""
    ends = {name: [f"{name}{k}" for k in reversed(range(count))] for name, count in (("A", 18), ("B", 18), ("P", 36))}
    more = [f"C{k}" for k in range(18)] + ["SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB", "CLK0", "CE0", "RST0", "RST1",
                                          "RST2"]  # fmt: skip
    inputs = [*ends["A"], *ends["B"], *more]
    lines = f"input {', '.join(inputs)}; output {', '.join(ends['P'])};"
    joined = {name.lower() + "s": ", ".join(pins) for name, pins in ends.items()}
    text = BLOCK.replace("ports", ", ".join([*inputs, *ends["P"]]), 1).replace("declarations", lines)
    for name, pins in joined.items():
        text = text.replace(f"{{{name}}}", f"{{{pins}}}")
    return text


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True])
def test_what_the_registers_do_does_not_change(tmp_path, wrong):
    """Proved by induction, with a reset and an operand that two products share and something else reads; a register too
    many is found."""
    (tmp_path / "top.v").write_text(DESIGN)
    (tmp_path / "block.v").write_text(block_model())
    run_tool([*yosys_command(), "-q", "-p", "read_verilog top.v; synth_ecp5 -top top; write_json before.json"],
             tmp_path, "yosys")  # fmt: skip
    document = json.loads((tmp_path / "before.json").read_text())
    document["modules"] = {"top": (module := document["modules"]["top"])}
    (tmp_path / "before.json").write_text(json.dumps(document))
    gone = absorb_registers(module["cells"], [bit for port in module["ports"].values() for bit in port["bits"]])
    assert gone["TRELLIS_FF"] == 5 + 4 + 13 + 12
    if wrong:
        block = next(one for one in module["cells"].values() if one["type"] == "MULT18X18D")
        del block["parameters"]["REG_INPUTB_CLK"]
    (tmp_path / "after.json").write_text(json.dumps(document))
    for name in ("before", "after"):
        steps = [
            f"read_json {name}.json", "read_verilog -overwrite +/ecp5/cells_sim.v",
            "read_verilog -overwrite block.v", "hierarchy -top top", "proc", "flatten", "opt_clean -purge",
            f"rename top {name}", f"write_rtlil {name}.il",
        ]  # fmt: skip
        run_tool([*yosys_command(), "-q", "-p", "; ".join(steps)], tmp_path, "yosys")
    proof = [
        "read_rtlil before.il", "read_rtlil after.il", "miter -equiv -flatten before after both", "hierarchy -top both",
        "sat -verify -tempinduct -prove trigger 0 -maxsteps 6 both",
    ]  # fmt: skip
    command = [*yosys_command(), "-q", "-p", "; ".join(proof)]
    if not wrong:
        run_tool(command, tmp_path, "yosys")
        return
    with pytest.raises(UserError, match="proof did fail"):
        run_tool(command, tmp_path, "yosys")
