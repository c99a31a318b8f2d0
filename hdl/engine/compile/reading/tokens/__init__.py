"""Layers of tokens: norms, softmaxes and products, heads of channels, and tensors that are moved by reading them."""
