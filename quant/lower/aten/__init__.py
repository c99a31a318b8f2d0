"""What becomes of every operation of ATen, and of our own layers: one table of functions."""
