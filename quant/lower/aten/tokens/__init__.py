"""Lowering of what transformers say: parts of tokens, layer norms, attention, patches."""
