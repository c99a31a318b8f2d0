"""Cycle-accurate simulation: Verilator builds, the generated harness, cocotb, stalls, waveforms, activity."""
