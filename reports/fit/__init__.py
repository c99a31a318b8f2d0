"""Coefficients of the estimate, fitted to random stages that were synthesised."""
