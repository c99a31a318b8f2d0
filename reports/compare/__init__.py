"""Kernels side by side in one network."""
