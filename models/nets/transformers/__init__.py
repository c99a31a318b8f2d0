"""Transformers, one per file, the kernel of each layer a parameter, scores of attention included."""
