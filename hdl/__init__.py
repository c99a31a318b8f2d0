"""From a Program and a Plan to an Amaranth design, its Verilog and its memory files."""
