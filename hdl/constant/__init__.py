"""Layers of fixed weights as circuits: no weight is stored, and what sums share is computed once."""
