"""Costs in standard cells: mapping to a library, timing, simulation of gates, power."""
