"""The same in standard cells: mapping, timing, simulation of gates, power."""
