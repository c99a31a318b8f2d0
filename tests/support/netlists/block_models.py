"""What block RAMs and multiplier blocks of netlists do, written from their data sheets: yosys has black boxes for them.

Models are strict where devices promise nothing: a port that reads what the other port writes in the same cycle gets the
complement, not the word, unless its memory is said to give the old one. Settings that no model knows are refused by
`check_blocks`.
"""

CORE = """
module block_memory #(parameter ROW = 32, parameter ADDRESS = 14)(
    input clk, input sees_old,
    input ena, input [ROW/8-1:0] wea, input [ADDRESS-1:0] ada, input [6:0] ra, input [6:0] wa, input [1:0] modea,
    input [ROW-1:0] dia, input [ROW/8-1:0] pia, output reg [ROW-1:0] doa, output reg [ROW/8-1:0] poa,
    input enb, input [ROW/8-1:0] web, input [ADDRESS-1:0] adb, input [6:0] rb, input [6:0] wb, input [1:0] modeb,
    input [ROW-1:0] dib, input [ROW/8-1:0] pib, output reg [ROW-1:0] dob, output reg [ROW/8-1:0] pob
);
    localparam BYTES = ROW / 8, ROWS = 1 << (ADDRESS - $clog2(ROW));
    reg [ROW-1:0] data [0:ROWS-1];
    reg [BYTES-1:0] parity [0:ROWS-1];
    integer k;
    initial begin
        for (k = 0; k < ROWS; k = k + 1) begin data[k] = 0; parity[k] = 0; end
        doa = 0; poa = 0; dob = 0; pob = 0;
    end

    // Of a row: where the bits of an address begin, which of them a width takes, and which are written.
    function integer begins(input [ADDRESS-1:0] address, input [6:0] width);
        begins = width == 0 ? 0 : address % ROW / width * width;
    endfunction
    function [ROW-1:0] ones(input [6:0] width);
        ones = width >= ROW ? {ROW{1'b1}} : (1 << width) - 1;
    endfunction
    function [ROW-1:0] bits_of(input [BYTES-1:0] bytes);
        for (k = 0; k < ROW; k = k + 1) bits_of[k] = bytes[k / 8];
    endfunction

    reg [ROW-1:0] olda, oldb, newa, newb, touched, maska, maskb;
    reg [BYTES-1:0] polda, poldb, pnewa, pnewb, pmaska, pmaskb;
    integer rowa, rowb, ba, bb;
    always @(posedge clk) begin
        rowa = ada / ROW;
        rowb = adb / ROW;
        olda = data[rowa]; polda = parity[rowa];
        oldb = data[rowb]; poldb = parity[rowb];
        maska = 0; pmaska = 0; newa = olda; pnewa = polda;
        maskb = 0; pmaskb = 0; newb = oldb; pnewb = poldb;
        if (ena === 1 && wa != 0 && |wea) begin
            ba = begins(ada, wa);
            maska = (ones(wa) & bits_of(wea)) << ba;
            pmaska = wa >= 8 ? (ones(wa / 8) & wea) << (ba / 8) : 0;
            newa = olda & ~maska | (dia << ba) & maska;
            pnewa = polda & ~pmaska | (pia << (ba / 8)) & pmaska;
        end
        if (enb === 1 && wb != 0 && |web) begin
            bb = begins(adb, wb);
            maskb = (ones(wb) & bits_of(web)) << bb;
            pmaskb = wb >= 8 ? (ones(wb / 8) & web) << (bb / 8) : 0;
            newb = oldb & ~maskb | (dib << bb) & maskb;
            pnewb = poldb & ~pmaskb | (pib << (bb / 8)) & pmaskb;
        end
        if (ena === 1 && ra != 0 && !(|maska && modea == 0)) begin
            touched = rowa == rowb && !sees_old ? maskb : 0;
            doa <= (((|maska && modea == 2 ? newa : olda) ^ touched) >> begins(ada, ra)) & ones(ra);
            touched = rowa == rowb && !sees_old ? pmaskb : 0;
            poa <= (((|maska && modea == 2 ? pnewa : polda) ^ touched) >> (begins(ada, ra) / 8)) & ones(ra / 8);
        end
        if (enb === 1 && rb != 0 && !(|maskb && modeb == 0)) begin
            touched = rowa == rowb && !sees_old ? maska : 0;
            dob <= (((|maskb && modeb == 2 ? newb : oldb) ^ touched) >> begins(adb, rb)) & ones(rb);
            touched = rowa == rowb && !sees_old ? pmaska : 0;
            pob <= (((|maskb && modeb == 2 ? pnewb : poldb) ^ touched) >> (begins(adb, rb) / 8)) & ones(rb / 8);
        end
        if (|maska) begin data[rowa] = newa; parity[rowa] = pnewa; end
        if (|maskb) begin
            data[rowb] = data[rowb] & ~maskb | (dib << bb) & maskb;
            parity[rowb] = parity[rowb] & ~pmaskb | (pib << (bb / 8)) & pmaskb;
        end
    end
endmodule
"""
"""A memory of rows with two ports, addressed by the bit: ``ra`` and ``wa`` are the data bits that port A reads and
writes, 0 for none; every eight have one of parity. While a port writes, what it reads stays (mode 0), is the old word
(1) or the new one (2)."""

SETTINGS = {
    "DP16KD": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG", "CLKAMUX": "CLKA", "CLKBMUX": "CLKB",
               "CSDECODE_A": "0b000", "CSDECODE_B": "0b000"},
    "MULT18X18D": {"REG_PIPELINE_CLK": "NONE", "RESETMODE": "SYNC", "MULT_BYPASS": "DISABLED"},
    "RAMB18E1": {"DOA_REG": 0, "DOB_REG": 0, "IS_CLKARDCLK_INVERTED": 0, "IS_CLKBWRCLK_INVERTED": 0,
                 "IS_ENARDEN_INVERTED": 0, "IS_ENBWREN_INVERTED": 0},
}  # fmt: skip
SETTINGS["RAMB36E1"] = SETTINGS["RAMB18E1"] | {"RAM_EXTENSION_A": "NONE", "RAM_EXTENSION_B": "NONE"}
"""The settings that models know; a cell that leaves one out has the same."""
AT_REST = {
    "DP16KD": ("RSTA", "RSTB", "CSA0", "CSA1", "CSA2", "CSB0", "CSB1", "CSB2"), "MULT18X18D": ("SOURCEA", "SOURCEB"),
    "RAMB18E1": ("RSTRAMARSTRAM", "RSTRAMB"), "RAMB36E1": ("RSTRAMARSTRAM", "RSTRAMB"),
}  # fmt: skip
"""Pins that must be 0 all the time."""
KINDS = ("NORMAL", "READBEFOREWRITE", "WRITETHROUGH")
MODES = ("NO_CHANGE", "READ_FIRST", "WRITE_FIRST")


def check_blocks(cells):
    """Whether models know every setting of the blocks among ``cells`` of yosys' JSON."""
    for name, cell in cells.items():
        kind = cell["type"]
        for key, known in SETTINGS.get(kind, {}).items():
            found = cell["parameters"].get(key, known)
            value = int(found, 2) if isinstance(known, int) and isinstance(found, str) else found
            assert value == known, f"{name}: {key} is {found}"
        for pin in AT_REST.get(kind, ()):
            assert cell["connections"].get(pin, ["0"])[0] in ("0", "x"), f"{name}: {pin}"


def _pins(name, width):
    return ", ".join(f"{name}{k}" for k in reversed(range(width)))


def dp16kd():
    """The block RAM of ECP5: 18 kbit, words of 18 bits in slices of 20 as its first contents; a word of 36 comes by the
    data pins of both ports, and addresses' lowest bits say which bytes of a wide one are written."""
    fields = [f"INITVAL_{k:02X}" for k in range(64)]
    parameters = "".join(f"    parameter [319:0] {field} = 0;\n" for field in fields)
    inputs = ", ".join(
        f"{_pins(f'DI{p}', 18)}, {_pins(f'AD{p}', 14)}, CE{p}, OCE{p}, CLK{p}, WE{p}, RST{p}, {_pins(f'CS{p}', 3)}"
        for p in "AB"
    )
    fills = "".join(
        f"        for (k = 0; k < 16; k = k + 1) begin word = {field} >> (20 * k);"
        f" memory.data[{8 * n} + k / 2][16 * (k % 2) +: 16] = {{word[16:9], word[7:0]}};"
        f" memory.parity[{8 * n} + k / 2][2 * (k % 2) +: 2] = {{word[17], word[8]}}; end\n"
        for n, field in enumerate(fields)
    )
    sides = "".join(
        f"""
    wire [13:0] ad{p} = {{{_pins(f"AD{p.upper()}", 14)}}};
    wire [35:0] di{p} = DATA_WIDTH_{p.upper()} == 36 ? {{{_pins("DIB", 18)}, {_pins("DIA", 18)}}}
        : {{{_pins(f"DI{p.upper()}", 18)}}};
    wire [3:0] we{p} = WE{p.upper()} !== 1 ? 4'b0 : DATA_WIDTH_{p.upper()} >= 18 ? ad{p}[3:0] : 4'b1;
    wire [6:0] width{p} = DATA_WIDTH_{p.upper()} < 9 ? DATA_WIDTH_{p.upper()} : DATA_WIDTH_{p.upper()} / 9 * 8;
    wire [31:0] d{p};
    wire [3:0] p{p};
    wire [35:0] word{p} = {{p{p}[3], d{p}[31:24], p{p}[2], d{p}[23:16], p{p}[1], d{p}[15:8], p{p}[0], d{p}[7:0]}};
"""
        for p in "ab"
    )
    split = {p: (
        f"{{di{p}[34:27], di{p}[25:18], di{p}[16:9], di{p}[7:0]}}", f"{{di{p}[35], di{p}[26], di{p}[17], di{p}[8]}}"
    ) for p in "ab"}  # fmt: skip
    return f"""
module DP16KD(input {inputs}, output {_pins("DOA", 18)}, {_pins("DOB", 18)});
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "AUTO";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB", WID = 0;
    parameter [127:0] WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
{parameters}{sides}
    block_memory #(.ROW(32), .ADDRESS(14)) memory(
        .clk((CLKA === 1'b1) | (CLKB === 1'b1)), .sees_old(1'b0),
        .ena(CEA), .wea(wea), .ada(ada), .ra(widtha), .wa(widtha), .modea({_mode("A", KINDS)}),
        .dia({split["a"][0]}), .pia({split["a"][1]}), .doa(da), .poa(pa),
        .enb(CEB), .web(web), .adb(adb), .rb(widthb), .wb(widthb), .modeb({_mode("B", KINDS)}),
        .dib({split["b"][0]}), .pib({split["b"][1]}), .dob(db), .pob(pb)
    );
    // A wide word of one port takes the pins of both; the other port then has none.
    wire [35:0] wide = DATA_WIDTH_B == 36 ? wordb : worda;
    assign {{{_pins("DOA", 18)}}} = DATA_WIDTH_B == 36 || DATA_WIDTH_A == 36 ? wide[17:0] : worda[17:0];
    assign {{{_pins("DOB", 18)}}} = DATA_WIDTH_B == 36 ? wide[35:18] : wordb[17:0];
    integer k;
    reg [17:0] word;
    initial #0 begin
{fills}    end
endmodule
"""


def _mode(port, names):
    """The number of a port's write mode."""
    parameter = f"WRITE{'' if names is KINDS else '_'}MODE_{port}"
    return f'({parameter} == "{names[1]}" ? 2\'d1 : {parameter} == "{names[2]}" ? 2\'d2 : 2\'d0)'


def mult18x18d():
    """The multiplier block of ECP5, with its registers for operands and product."""
    parameters = "".join(
        f'    parameter REG_{what}_CLK = "NONE", REG_{what}_CE = "CE0", REG_{what}_RST = "RST0";\n'
        for what in ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT")
    )
    registers = "".join(
        f"""
    wire reset_{name} = REG_{what}_RST == "RST1" ? RST1 : REG_{what}_RST == "RST2" ? RST2
        : REG_{what}_RST == "RST3" ? RST3 : RST0;
    reg [{width - 1}:0] kept_{name} = 0;
    always @(posedge CLK0) if (reset_{name} === 1) kept_{name} <= 0; else if (CE0 !== 0) kept_{name} <= {name};
    wire [{width - 1}:0] used_{name} = REG_{what}_CLK == "NONE" ? {name} : kept_{name};
"""
        for name, what, width in (("a", "INPUTA", 18), ("b", "INPUTB", 18), ("p", "OUTPUT", 36))
    )
    controls = ", ".join(f"{name}{k}" for name in ("CLK", "CE", "RST") for k in range(4))
    return f"""
module MULT18X18D(input {_pins("A", 18)}, {_pins("B", 18)}, {_pins("C", 18)}, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    {controls}, output {_pins("P", 36)}, SIGNEDP);
{parameters}    parameter CLK0_DIV = "ENABLED", CLK1_DIV = "ENABLED", CLK2_DIV = "ENABLED", CLK3_DIV = "ENABLED";
    parameter HIGHSPEED_CLK = "NONE", GSR = "ENABLED", CAS_MATCH_REG = "FALSE", SOURCEB_MODE = "B_SHIFT";
    parameter MULT_BYPASS = "DISABLED", RESETMODE = "SYNC";
    wire [17:0] a = {{{_pins("A", 18)}}}, b = {{{_pins("B", 18)}}};
    wire [35:0] p;
{registers}
    wire [35:0] x = {{{{18{{SIGNEDA & used_a[17]}}}}, used_a}}, y = {{{{18{{SIGNEDB & used_b[17]}}}}, used_b}};
    assign p = x * y;
    assign {{{_pins("P", 36)}}} = used_p;
    assign SIGNEDP = SIGNEDA | SIGNEDB;
endmodule
"""


def ramb(kilobits):
    """The block RAM of 7-series, of 18 or 36 kbit: as two ports that read and write, or as one that reads (A) and one
    that writes (B), whose words may then take the pins of both."""
    row, address, half = (32, 14, 16) if kilobits == 18 else (64, 16, 32)
    count, rows = (64, 512) if kilobits == 18 else (128, 512)
    lanes, b_lanes = half // 8, half // 4
    data = [f"INIT_{k:02X}" for k in range(count)]
    parity = [f"INITP_{k:02X}" for k in range(count // 8)]
    parameters = "".join(f"    parameter [255:0] {field} = 0;\n" for field in data + parity)
    per, per_parity = 256 // row, 2048 // row
    fills = "".join(
        f"        for (k = 0; k < {per}; k = k + 1) memory.data[{per * n} + k] = {field} >> ({row} * k);\n"
        for n, field in enumerate(data)
    ) + "".join(
        f"        for (k = 0; k < {per_parity}; k = k + 1)"
        f" memory.parity[{per_parity * n} + k] = {field} >> ({row // 8} * k);\n"
        for n, field in enumerate(parity)
    )  # fmt: skip
    assert per * count == rows
    extension = "" if kilobits == 18 else '    parameter RAM_EXTENSION_A = "NONE", RAM_EXTENSION_B = "NONE";\n'
    extension += '    parameter EN_ECC_READ = "FALSE", EN_ECC_WRITE = "FALSE";\n' if kilobits == 36 else ""
    cascade = "" if kilobits == 18 else ", input CASCADEINA, CASCADEINB, output CASCADEOUTA, CASCADEOUTB"
    size = address - 1 if kilobits == 36 else address
    return f"""
module RAMB{kilobits}E1(input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB, RSTRAMARSTRAM, RSTRAMB,
    RSTREGARSTREG, RSTREGB, input [{address - 1}:0] ADDRARDADDR, ADDRBWRADDR, input [{half - 1}:0] DIADI, DIBDI,
    input [{lanes - 1}:0] DIPADIP, DIPBDIP, WEA, input [{b_lanes - 1}:0] WEBWE, output [{half - 1}:0] DOADO, DOBDO,
    output [{lanes - 1}:0] DOPADOP, DOPBDOP{cascade});
    parameter DOA_REG = 0, DOB_REG = 0, READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0;
    parameter INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0, INIT_FILE = "NONE", SIM_DEVICE = "7SERIES";
    parameter RDADDR_COLLISION_HWCONFIG = "DELAYED_WRITE", SIM_COLLISION_CHECK = "ALL";
    parameter RSTREG_PRIORITY_A = "RSTREG", RSTREG_PRIORITY_B = "RSTREG", RAM_MODE = "TDP";
    parameter IS_CLKARDCLK_INVERTED = 0, IS_CLKBWRCLK_INVERTED = 0, IS_ENARDEN_INVERTED = 0, IS_ENBWREN_INVERTED = 0;
    parameter IS_RSTRAMARSTRAM_INVERTED = 0, IS_RSTRAMB_INVERTED = 0;
    parameter IS_RSTREGARSTREG_INVERTED = 0, IS_RSTREGB_INVERTED = 0;
    parameter [127:0] WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST";
{extension}{parameters}
    localparam SDP = RAM_MODE == "SDP", OUT = SDP && READ_WIDTH_A == {half // 8 * 18};
    localparam IN = SDP && WRITE_WIDTH_B == {half // 8 * 18};
    function [6:0] bits(input integer width);
        bits = width < 9 ? width : width / 9 * 8;
    endfunction
    wire [{row - 1}:0] da, db;
    wire [{row // 8 - 1}:0] pa, pb;
    block_memory #(.ROW({row}), .ADDRESS({size})) memory(
        .clk((CLKARDCLK === 1'b1) | (CLKBWRCLK === 1'b1)), .sees_old(WRITE_MODE_A == "READ_FIRST"),
        .ena(ENARDEN), .wea({{{row // 8 - lanes}'b0, WEA}}), .ada(ADDRARDADDR[{size - 1}:0]), .ra(bits(READ_WIDTH_A)),
        .wa(bits(WRITE_WIDTH_A)), .modea({_mode("A", MODES)}), .dia({{{half}'b0, DIADI}}),
        .pia({{{lanes}'b0, DIPADIP}}), .doa(da), .poa(pa),
        .enb(ENBWREN), .web(WEBWE), .adb(ADDRBWRADDR[{size - 1}:0]), .rb(bits(READ_WIDTH_B)), .wb(bits(WRITE_WIDTH_B)),
        .modeb({_mode("B", MODES)}), .dib(IN ? {{DIBDI, DIADI}} : {{{half}'b0, DIBDI}}),
        .pib(IN ? {{DIPBDIP, DIPADIP}} : {{{lanes}'b0, DIPBDIP}}), .dob(db), .pob(pb)
    );
    assign DOADO = da[{half - 1}:0], DOBDO = OUT ? da[{row - 1}:{half}] : db[{half - 1}:0];
    assign DOPADOP = pa[{lanes - 1}:0], DOPBDOP = OUT ? pa[{2 * lanes - 1}:{lanes}] : pb[{lanes - 1}:0];
    integer k;
    initial #0 begin
{fills}    end
endmodule
"""


def block_models():
    """Verilog of every block by its name; all but ``MULT18X18D`` hold a `CORE`."""
    return {
        "DP16KD": dp16kd(), "MULT18X18D": mult18x18d(), "RAMB18E1": ramb(18), "RAMB36E1": ramb(36),
    }  # fmt: skip
