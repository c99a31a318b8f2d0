"""Operators of training that torch does not have, and what computes them on each kind of device."""
