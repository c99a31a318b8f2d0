"""What layers compute with: operators and gradients that torch does not have."""
