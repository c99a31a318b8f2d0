"""Lanes of every kernel, the trees that add them, and what they are made of."""
