"""Layers without multiplications, as torch modules."""
