"""Registers behind AXI4-Lite or Wishbone, and the reload of memories."""
