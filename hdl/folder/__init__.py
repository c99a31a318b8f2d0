"""The BUILD folder: Verilog, memory files, harness and test bench, manifest, headers."""
