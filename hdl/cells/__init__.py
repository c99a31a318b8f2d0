"""Lookup tables and carry chains, generic and as the cells of FPGA families."""
