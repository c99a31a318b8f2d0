"""A Program for C: a header with its integers, and a plain program that computes with them."""

from .header import c_header
from .network import c_network

__all__ = ["c_header", "c_network"]
