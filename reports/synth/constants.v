// For yosys' techmap: a memory of constants that is read without a clock, and that is neither block RAM nor distributed
// RAM, in lookup tables, a function of its address for every column. Left to itself, synthesis makes multiplexers of it
// and minimises these together with whatever computes the address; that takes up to six times the tables.
(* techmap_celltype = "$mem_v2" *)
module constants (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
    parameter MEMID = "", SIZE = 1, OFFSET = 0, ABITS = 1, WIDTH = 1, INIT = 1'bx, RD_PORTS = 1, WR_PORTS = 0;
    parameter RD_CLK_ENABLE = 0, RD_CLK_POLARITY = 0, RD_TRANSPARENCY_MASK = 0, RD_COLLISION_X_MASK = 0;
    parameter RD_WIDE_CONTINUATION = 0, RD_CE_OVER_SRST = 0, RD_INIT_VALUE = 0, RD_ARST_VALUE = 0, RD_SRST_VALUE = 0;
    parameter WR_CLK_ENABLE = 0, WR_CLK_POLARITY = 0, WR_PRIORITY_MASK = 0, WR_WIDE_CONTINUATION = 0;
    input RD_CLK, RD_EN, RD_ARST, RD_SRST, WR_CLK, WR_EN, WR_ADDR, WR_DATA;
    input [ABITS-1:0] RD_ADDR;
    output [WIDTH-1:0] RD_DATA;

    // Up to 16 words are as well left to synthesis, which then shares what columns have in common.
    wire _TECHMAP_FAIL_ = WR_PORTS != 0 || RD_PORTS != 1 || RD_CLK_ENABLE != 0 || OFFSET != 0 || SIZE <= 16;

    // A site of tables, with the multiplexers behind them, has eight inputs.
    localparam SITES = (SIZE + 255) / 256;

    // Beyond the last word it goes on as it began, so that what never changes is seen to be constant.
    function [255:0] column(input integer bit, input integer site, input integer words);
        integer k;
        for (k = 0; k < 256; k = k + 1)
            column[k] = INIT[(256 * site + (k < words ? k : 0)) * WIDTH + bit];
    endfunction

    genvar bit, site;
    generate
        for (bit = 0; bit < WIDTH; bit = bit + 1) begin : columns
            wire [SITES-1:0] read;
            for (site = 0; site < SITES; site = site + 1) begin : sites
                localparam WORDS = SIZE - 256 * site < 256 ? SIZE - 256 * site : 256;
                localparam INPUTS = WORDS <= 32 ? 5 : WORDS <= 64 ? 6 : WORDS <= 128 ? 7 : 8;
                localparam [(1 << INPUTS)-1:0] TABLE = column(bit, site, WORDS);
                if (TABLE == 0) assign read[site] = 1'b0;
                else if (&TABLE) assign read[site] = 1'b1;
                else \$lut #(.WIDTH(INPUTS), .LUT(TABLE)) lut (.A(RD_ADDR[INPUTS-1:0]), .Y(read[site]));
            end
            if (SITES == 1) assign RD_DATA[bit] = read;
            else assign RD_DATA[bit] = read[RD_ADDR[ABITS-1:8]];
        end
    endgenerate
endmodule
