"""Training with the rounding that the integers will have."""
