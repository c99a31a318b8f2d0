"""Floats to integers: observed ranges, factors and shifts, thresholds, the Program in the making."""
