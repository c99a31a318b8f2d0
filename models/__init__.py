"""Torch networks, their training, their data and their checkpoints. Nothing here is an integer yet."""
