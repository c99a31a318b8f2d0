"""Training loops and the recipes of the embedded checkpoints."""
