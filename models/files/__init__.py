"""Checkpoints and published weights, read without unpickling."""
