"""Devices: their resources, memories, multiplier blocks, packages."""
